"""What audit tells operators: stories, dead letters, and whether the books balance. Amounts are in minor units."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from common.events import Currency
from web.clients.api import Api, Page, Refused

PAGE = 24
LetterState = Literal["open", "replayed", "discarded"]


class Hit(BaseModel):
    """Something a search has found."""

    kind: Literal["order", "item", "payment"]
    id: str
    label: str
    time: datetime


class Entry(BaseModel):
    """One thing that happened, and the id of what caused it."""

    id: str
    kind: str
    service: str
    subject: str
    time: datetime
    caused_by: str | None
    request_id: str | None
    fields: dict[str, Any]


class OrderThen(BaseModel):
    """An order at some moment."""

    id: str
    version: int
    status: str
    item_id: str
    item_title: str
    quantity: int
    unit_price: int
    total: int
    currency: Currency
    buyer_id: str
    seller_id: str
    expires_at: datetime
    payment_id: str | None
    cancel_reason: str | None
    late_payment: str | None
    refund_requested: bool


class StockThen(BaseModel):
    """What was left of an item at some moment."""

    item_id: str
    version: int
    quantity: int
    available: int


class PaymentThen(BaseModel):
    """A payment at some moment; until it has told of itself, its amount is not known."""

    id: str
    status: str
    amount: int | None
    currency: Currency | None
    reason: str | None


class State(BaseModel):
    """Order, stock and payments as they were at a moment; what did not exist yet is missing."""

    at: datetime
    order: OrderThen | None
    stock: StockThen | None
    payments: list[PaymentThen]


class OrderStory(BaseModel):
    """Everything that happened to an order; `states[n]` is how things stood after `story[n]`."""

    order: OrderThen | None
    story: list[Entry]
    states: list[State]


class ItemThen(BaseModel):
    """An item as it was last told."""

    id: str
    version: int
    title: str
    price: int
    currency: Currency
    quantity: int
    status: str
    seller_id: str


class ItemStory(BaseModel):
    """What happened to an item, and who ordered it."""

    item: ItemThen
    stock: StockThen | None
    story: list[Entry]
    orders: Page[Hit]


class PaymentStory(BaseModel):
    """What happened to a payment, and the order it pays."""

    order_id: str | None


class Letter(BaseModel):
    """A message that a handler gave up."""

    id: str
    state: LetterState
    service: str
    handler: str
    subject: str
    error: str
    deliveries: int
    failed_at: datetime
    order_id: str | None
    item_id: str | None
    payment_id: str | None
    body: str
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


class Letters(Page[Letter]):
    """A page of dead letters; `open` is how many wait for a decision in all."""

    open: int


class Violation(BaseModel):
    """Something that is off: what was expected and what was found, since when."""

    rule: str
    subject: dict[str, str]
    expected: str
    found: str
    since: datetime


class Balance(BaseModel):
    """Where the money of one currency is."""

    charged: int
    refunded: int
    sellers: int
    in_transit: int
    difference: int


class Books(BaseModel):
    """The last reconciliation."""

    checked_at: datetime
    seconds: float
    counts: dict[str, int]
    totals: dict[str, int]
    violations: list[Violation]
    balances: dict[Currency, Balance]


async def search(api: Api, q: str, cursor: str | None) -> Page[Hit]:
    """Orders, items and payments by their id, a person's mail or a title."""
    return Page[Hit].model_validate_json((await api.get("audit", "search", q=q, cursor=cursor, limit=PAGE)).content)


async def order_story(api: Api, order_id: str) -> OrderStory:
    """The whole story of an order."""
    return OrderStory.model_validate_json((await api.get("audit", "orders", order_id)).content)


async def item_story(api: Api, item_id: str, cursor: str | None) -> ItemStory:
    """What happened to an item, and a page of its orders."""
    answer = await api.get("audit", "items", item_id, cursor=cursor, limit=PAGE)
    return ItemStory.model_validate_json(answer.content)


async def payment_story(api: Api, payment_id: str) -> PaymentStory:
    """What happened to a payment."""
    return PaymentStory.model_validate_json((await api.get("audit", "payments", payment_id)).content)


async def letters(api: Api, state: LetterState, cursor: str | None = None, limit: int = PAGE) -> Letters:
    """Dead letters, newest first."""
    answer = await api.get("audit", "dead-letters", state=state, cursor=cursor, limit=limit)
    return Letters.model_validate_json(answer.content)


async def replay(api: Api, ids: Sequence[str]) -> None:
    """Give messages to their handlers again."""
    await api.send("POST", "audit", "dead-letters", "replay", json={"ids": list(ids)})


async def discard(api: Api, ids: Sequence[str], reason: str) -> None:
    """Give messages up for good."""
    await api.send("POST", "audit", "dead-letters", "discard", json={"ids": list(ids), "reason": reason})


async def books(api: Api) -> Books | None:
    """The last reconciliation; None before the first."""
    try:
        answer = await api.get("audit", "reconciliation")
    except Refused as refused:
        if refused.reason == "not_checked":
            return None
        raise
    return Books.model_validate_json(answer.content)
