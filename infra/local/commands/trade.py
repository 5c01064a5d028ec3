"""Who buys what in the seeded Souk: the same buyers and orders every time, and an operator."""

from collections.abc import Iterator
from typing import NamedTuple

from infra.local.commands.catalogue import SELLERS, Seller, items_of

PASSWORD = "market day"  # noqa: S105 - of people who do not exist, on a laptop
SOLD_OUT = 6
"""Items of which every unit is bought."""

_OUTCOMES = ("paid", "awaiting_payment", "refunded", "expired", "cancelled", "paid")
_LARGEST_ORDER = 10
"""Units of one item that a buyer may hold."""


class Account(NamedTuple):
    """Somebody who signs in with `PASSWORD`."""

    name: str
    email: str


BUYERS = (
    Account("Ada Okafor", "ada@souk.test"),
    Account("Ben Lindqvist", "ben@souk.test"),
    Account("Chiara Rossi", "chiara@souk.test"),
    Account("Dev Patel", "dev@souk.test"),
    Account("Emre Demir", "emre@souk.test"),
)
OPERATOR = Account("Ola Nordmann", "ola@souk.test")


class Sale(NamedTuple):
    """An order to place. No buyer orders the same title twice."""

    seller: Seller
    title: str
    buyer: Account
    quantity: int
    outcome: str
    """The status that the order ends in."""


def sales() -> Iterator[Sale]:
    """Yield orders in every status on items of every seller, and orders that sell small items out."""
    small: list[Sale] = []
    for number, seller in enumerate(SELLERS):
        items = [(str(item["title"]), int(item["quantity"])) for item in items_of(seller)]
        for turn, ((title, quantity), outcome) in enumerate(zip(items, _OUTCOMES, strict=False)):
            yield Sale(seller, title, _buyer(number + turn), min(1 + number % 3, quantity), outcome)
        small += [
            Sale(seller, title, _buyer(turn), quantity, "paid")
            for turn, (title, quantity) in enumerate(items[len(_OUTCOMES) :])
            if quantity <= _LARGEST_ORDER
        ]
    yield from small[:: max(1, len(small) // SOLD_OUT)][:SOLD_OUT]


def _buyer(turn: int) -> Account:
    return BUYERS[turn % len(BUYERS)]


def how_to_sign_in() -> list[str]:
    """Return lines that say who can sign in, and what each of them sees."""
    return [
        f'  sign in with the password "{PASSWORD}" as',
        f"    {SELLERS[0].email:<24} a seller, with items and sales",
        f"    {BUYERS[0].email:<24} a buyer, with orders in every state",
        f"    {OPERATOR.email:<24} the operator, who sees the story of every order",
    ]
