"""Each rule, with a history and an end state that break it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.availability import available
from tests.chaos.checker import check
from tests.chaos.end_state import DeadLetter, EndState, PublishedEvent
from tests.chaos.history import History, Json
from tests.chaos.repeats import Place

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
END = NOW + timedelta(minutes=1)
CAPTURED_AT = NOW + timedelta(seconds=1)


class Town:
    """One buyer, one seller, one item, one paid order: every promise is kept."""

    def __init__(self) -> None:
        self.history = History(began=NOW.timestamp())
        self.unreadable: dict[Place, str] = {}
        self._clock = NOW.timestamp()
        self.order: Json = {
            "_id": "o1",
            "buyer_id": "bea",
            "seller_id": "sid",
            "item_id": "i1",
            "item_title": "A seat",
            "quantity": 2,
            "unit_price": 500,
            "currency": "EUR",
            "status": "paid",
            "version": 2,
            "payment_id": "p1",
            "expires_at": NOW + timedelta(seconds=6),
        }
        self.stock: Json = {"offered": 5, "taken": 2, "status": "listed", "item_version": 1, "version": 3}
        self.item: Json = {"quantity": 5, "status": "listed", "version": 1, "available": 3, "stock_version": 3}
        self.item["seller_id"] = "sid"
        self.payment: Json = {"_id": "p1", "order_id": "o1", "buyer_id": "bea", "amount": 1000, "status": "captured"}
        self.charge: Json = {"amount": 1000, "currency": "EUR", "captured_at": CAPTURED_AT}
        self.events: list[PublishedEvent] = []
        self.end = EndState(
            items={"i1": self.item},
            stock={"i1": self.stock},
            orders={"o1": self.order},
            payments={"p1": self.payment},
            charges={"p1": self.charge},
            events=self.events,
            readers={"orders.placed": {"payments-copy_amount_due"}},
            at=END.timestamp(),
        )
        self.offer = {"title": "A seat", "price": 500, "currency": "EUR", "quantity": 5, "status": "listed"}
        self.publish("items.listed", item_id="i1", item_version=1, **self.offer)
        self.publish("orders.placed", order_id="o1", item_id="i1")
        self.publish("payments.captured", order_id="o1", payment_id="p1")
        self.publish("orders.paid", order_id="o1", payment_id="p1")

    def publish(self, subject: str, **body: Any) -> None:
        """Add an event to the streams."""
        place = Place(subject.partition(".")[0].upper(), len(self.events) + 1)
        at = NOW + timedelta(milliseconds=len(self.events))
        self.events.append(PublishedEvent(place, subject, f"e{len(self.events)}", at, body, "", ""))

    def lose(self, subject: str) -> None:
        """Remove an event from the streams."""
        self.events[:] = [event for event in self.events if event.subject != subject]

    def asked(self, kind: str, status: int | None, body: Any, key: str | None = None, **about: Any) -> None:
        """Add an operation of the buyer, after the previous one."""
        asked = self.history.add(who="bea", kind=kind, about=about, key=key, sent=self._clock, status=status, body=body)
        self.history.operations[-1] = replace(asked, answered=self._clock + 0.5)
        self._clock += 1

    def order_more(self, order_id: str, since: float, until: float, status: str = "paid", **changes: Any) -> Json:
        """Add an order of the buyer that was answered with 201; times are in seconds after the start."""
        self.end.orders[order_id] = order = {**self.order, "_id": order_id, "status": status, **changes}
        about = {"item_id": "i1", "quantity": order["quantity"]}
        self.answered("place", since, until, 201, {**self.view(), **changes, "id": order_id}, **about)
        return order

    def answered(self, kind: str, since: float, until: float, status: int, body: Json, **about: Any) -> None:
        """Add an operation of the buyer, which took from `since` to `until`, in seconds after the start."""
        self.asked(kind, status, body, **about)
        began, last = NOW.timestamp(), self.history.operations[-1]
        self.history.operations[-1] = replace(last, sent=began + since, answered=began + until)

    def saw(self, version: int, status: str, kind: str = "show order") -> None:
        """Show the order to the buyer."""
        self.asked(kind, 202 if kind == "refund" else 200, self.view(version, status), order_id="o1")

    def view(self, version: int = 1, status: str = "awaiting_payment") -> Json:
        """The order as an answer has it."""
        names = ("buyer_id", "item_id", "quantity", "unit_price", "currency")
        return {"id": "o1", "version": version, "status": status, **{name: self.order[name] for name in names}}

    def add_dead_letter(self, place: Place, consumer: str) -> None:
        """Add a dead letter."""
        self.end.dead_letters.append(DeadLetter(place, consumer, "orders.placed", "ValueError: no", END.timestamp()))

    def broken(self) -> set[str]:
        """Return the rules that are broken."""
        return {violation.rule for violation in check(self.history, self.end, self.unreadable)}


def bought(town: Town) -> None:
    """What a buyer sees when all is well; one request gets no answer."""
    town.asked("place", None, "ReadTimeout", key="k", item_id="i1", quantity=2)
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.saw(1, "awaiting_payment")
    town.asked("pay", 201, {"id": "p1", "amount": 1000, "status": "captured"}, key="p", order_id="o1")
    town.saw(2, "paid")
    town.asked("cancel", 409, {"code": "order_already_paid"}, order_id="o1")
    town.asked("list orders", 200, {"items": [town.view(2, "paid")]})
    town.asked("show item", 200, {"id": "i1", "available": 3, "quantity": 5}, item_id="i1")
    place = Place("ORDERS", 99)
    town.unreadable[place] = "orders.placed"
    town.add_dead_letter(place, "payments-copy_amount_due")


def test_where_every_promise_is_kept_nothing_is_found() -> None:
    town = Town()
    bought(town)

    assert town.broken() == set()


def refunded(town: Town) -> None:
    """The order was refunded, and its units are free."""
    town.order["status"] = "refunded"
    town.stock["taken"], town.item["available"] = 0, 5
    town.charge["refunded_at"] = END
    town.payment["status"] = "refunded"
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000)


def test_a_refund_is_as_good_as_a_paid_order() -> None:
    town = Town()
    town.asked("place", 201, town.view(), item_id="i1", quantity=2)
    refunded(town)

    assert town.broken() == set()


def test_a_card_whose_capture_the_provider_refused_owes_nobody_units() -> None:
    town = Town()
    town.asked("place", 201, town.view(), item_id="i1", quantity=2)
    town.asked("pay", 402, {"code": "card_declined"}, key="p", order_id="o1")
    accepted_for_nothing(town)
    town.order.update(status="cancelled", cancel_reason="payment_failed")
    town.publish("orders.cancelled", order_id="o1", reason="payment_failed")
    town.payment.update(method="pm_card_capture_fails", request_key="p")
    town.stock["taken"], town.item["available"] = 0, 5

    assert town.broken() == set()


def refunded_twice(town: Town) -> None:
    refunded(town)
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000)


def a_card_was_charged(town: Town) -> None:
    """The money was set aside before it was captured."""
    town.charge["authorized_at"] = NOW


def displaced(town: Town) -> None:
    """A card was charged for units that somebody else got, and the money went back."""
    a_card_was_charged(town)
    refunded(town)
    town.order.update(status="expired", payment_id=None)


def accepted_for_nothing(town: Town) -> None:
    """Orders said that the units were the buyer's, and then the payment was released."""
    town.publish("orders.payment_accepted", order_id="o1", payment_id="p1")
    town.order.update(status="expired", payment_id=None)
    town.charge.update(authorized_at=NOW, captured_at=None, released_at=END)
    town.payment["status"] = "failed"


def charged_after(town: Town, status: str) -> None:
    a_card_was_charged(town)
    town.saw(1, status)
    town.charge["captured_at"] = NOW + timedelta(seconds=5)


def set_aside(town: Town) -> None:
    town.charge.update(authorized_at=NOW, captured_at=None)
    town.payment["status"] = "failed"


def still_held(town: Town) -> None:
    town.order["status"] = "awaiting_payment"


def expired_early(town: Town) -> None:
    town.publish("orders.cancelled", order_id="o1", reason="expired", expires_at=END.isoformat())


def paid_and_refunded(town: Town) -> None:
    town.charge["refunded_at"] = END
    town.payment["status"] = "refunded"


def charged_twice(town: Town) -> None:
    town.end.payments["p2"] = town.payment | {"_id": "p2"}
    town.end.charges["p2"] = dict(town.charge)


def dropped(town: Town) -> None:
    town.unreadable[Place("ORDERS", 99)] = "orders.placed"


def answered_twice(town: Town) -> None:
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.asked("place", 409, {"code": "sold_out"}, key="k", item_id="i1", quantity=2)


def listed_without_it(town: Town) -> None:
    town.asked("place", 201, town.view(), item_id="i1", quantity=2)
    town.asked("list orders", 200, {"items": []})


def seen_backwards(town: Town) -> None:
    town.saw(2, "paid")
    town.saw(1, "awaiting_payment")


def paid_after_cancelled(town: Town) -> None:
    town.saw(1, "cancelled")
    town.saw(2, "paid")


def sold_beyond_the_offer(town: Town) -> None:
    """Six of five units are sold, and an edit that nobody published would have to explain it."""
    for number in range(3):
        town.order_more(f"m{number}", number, number + 0.5)


def sold_while_held(town: Town) -> None:
    """Five of five units are held until 6 s, and at 2 s another one is sold."""
    town.order_more("m1", 0, 0.5, status="expired", quantity=5)
    town.order_more("m2", 2, 2.5, quantity=1)


def cancelled_and_sold_out(town: Town) -> None:
    """All units are given back, and then there is none for the next buyer."""
    town.end.orders.clear()
    town.order_more("m1", 0, 0.5, status="cancelled", quantity=5)
    town.answered("cancel", 1, 1.5, 200, town.view(2, "cancelled") | {"id": "m1"}, order_id="m1")
    refused(town, 2, 2.5)


def refused(town: Town, since: float, until: float, code: str = "sold_out", quantity: int = 3) -> None:
    """The buyer wants more, and is refused."""
    town.answered("place", since, until, 409, {"code": code}, item_id="i1", quantity=quantity)


def at_another_price(town: Town) -> None:
    """The price is 600 since an edit that binds, and an order is placed at 500."""
    edited(town, price=600)
    town.order_more("m1", 3, 3.5, quantity=1)


def edited(town: Town, **changes: Any) -> None:
    """An edit that has bound the seller one second after the start."""
    offer = {**town.offer, **changes}
    town.publish("items.changed", item_id="i1", item_version=2, **offer)
    town.answered("edit item", 0.5, 1, 200, {"id": "i1", "version": 2, "in_effect": True, "available": 0, **offer})


def with_the_title_of_another_version(town: Town) -> None:
    town.publish(
        "items.changed", item_id="i1", item_version=2, **{**town.offer, "price": 600, "title": "A better seat"}
    )
    town.order.update(unit_price=600)


def back_to_an_older_version(town: Town) -> None:
    """Nothing binds, but an order at the new price was answered before the old price was sold."""
    town.publish("items.changed", item_id="i1", item_version=2, **{**town.offer, "price": 600})
    town.order_more("m1", 2, 2.5, quantity=1, unit_price=600)
    town.order_more("m2", 3, 3.5, quantity=1)


def placed_after_a_withdrawal(town: Town) -> None:
    edited(town, status="withdrawn")
    town.order_more("m1", 3, 3.5, quantity=1)


def placed_twice_under_one_key(town: Town) -> None:
    """The first request got no answer, and its repetition placed another order."""
    town.asked("place", None, "ReadTimeout", key="k", item_id="i1", quantity=2)
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.end.orders["m1"] = {**town.order, "_id": "m1"}


def holds_too_much(town: Town) -> None:
    for number in range(2):
        town.order_more(f"m{number}", number, number + 0.5, status="expired", quantity=6)


def known_after_sign_out(town: Town) -> None:
    town.asked("sign out", 204, "")
    town.asked("who am i", 200, {"current_user": {"id": "bea"}})


SAME_PRICE = {"code": "price_changed", "unit_price": 500, "currency": "EUR"}
PAID = {"id": "p1", "amount": 1000, "status": "captured"}

BROKEN: list[tuple[str, Callable[[Town], object]]] = [
    ("stock", lambda town: town.stock.update(taken=3)),
    ("oversold", lambda town: town.order.update(quantity=6)),
    ("shown", lambda town: town.item.update(available=4)),
    ("shown", lambda town: town.end.stock.clear()),
    ("overdue", still_held),
    ("early", expired_early),
    ("unpublished", lambda town: town.lose("orders.paid")),
    ("unpublished", lambda town: town.lose("payments.captured")),
    ("unpublished", lambda town: town.lose("items.listed")),
    ("unpublished", lambda town: town.end.users.update(u={})),
    ("charged", lambda town: town.order.update(status="expired")),
    ("charged", paid_and_refunded),
    ("charged", lambda town: town.charge.update(amount=999)),
    ("charged", charged_twice),
    ("charged", lambda town: town.end.orders.clear()),
    ("unpaid", lambda town: town.charge.update(captured_at=None)),
    ("unpaid", lambda town: town.order.update(status="refunded")),
    ("sum", charged_twice),
    ("sum", lambda town: town.charge.update(currency="USD")),
    ("sum", lambda town: town.charge.update(amount=999)),
    ("record", set_aside),
    ("record", lambda town: town.payment.update(status="failed")),
    ("refunded twice", refunded_twice),
    ("in time", displaced),
    ("in time", accepted_for_nothing),
    ("after no", lambda town: charged_after(town, "cancelled")),
    ("after no", lambda town: charged_after(town, "expired")),
    ("dead letter", lambda town: town.add_dead_letter(town.events[1].place, "payments-copy_amount_due")),
    ("dropped", dropped),
    ("unsettled", lambda town: town.end.unsettled.append("1 orders are not settled")),
    ("unexpected", lambda town: town.asked("show item", 500, {"code": "internal_error"})),
    ("lost", lambda town: town.asked("place", 201, town.view() | {"id": "o2"}, item_id="i1", quantity=2)),
    ("lost", lambda town: town.asked("list item", 201, {"id": "i2", "available": 1, "quantity": 1})),
    ("lost", lambda town: town.asked("sign up", 201, {"id": "u2"}, email="u2@souk.test")),
    ("lost", lambda town: town.asked("pay", 201, PAID | {"amount": 1}, order_id="o1")),
    ("lost", lambda town: town.saw(3, "paid")),
    ("lie", lambda town: town.asked("pay", 402, {"code": "card_declined"}, key="p", order_id="o1")),
    ("lie", lambda town: town.saw(2, "cancelled", "cancel")),
    ("lie", lambda town: town.saw(1, "paid", "refund")),
    ("lie", paid_after_cancelled),
    ("lie", known_after_sign_out),
    ("went back", seen_backwards),
    ("two answers", answered_twice),
    ("impossible", lambda town: town.asked("show item", 200, {"id": "i1", "available": 6, "quantity": 5})),
    ("impossible", lambda town: town.asked("search", 200, {"items": [{"id": "i1", "available": -1, "quantity": 5}]})),
    ("missing", listed_without_it),
    ("not linearizable", sold_beyond_the_offer),
    ("not linearizable", sold_while_held),
    ("not linearizable", cancelled_and_sold_out),
    ("not linearizable", lambda town: refused(town, 0, 0.5)),
    ("not linearizable", placed_after_a_withdrawal),
    ("not linearizable", lambda town: refused(town, 0, 0.5, "item_withdrawn")),
    ("sold out too early", cancelled_and_sold_out),
    ("sold out too early", lambda town: refused(town, 0, 0.5)),
    ("offer", lambda town: town.order.update(item_title="Another seat")),
    ("offer", with_the_title_of_another_version),
    ("offer", at_another_price),
    ("offer", back_to_an_older_version),
    ("price", lambda town: town.asked("place", 201, town.view(), item_id="i1", quantity=2, expected_unit_price=499)),
    ("price", lambda town: town.asked("place", 409, SAME_PRICE, item_id="i1", quantity=2, expected_unit_price=500)),
    ("withdrawn", placed_after_a_withdrawal),
    ("hold limit", holds_too_much),
    ("hold limit", lambda town: refused(town, 0, 0.5, "hold_limit")),
    ("too many orders", placed_twice_under_one_key),
    ("unfair", lambda town: town.asked("pay", 409, {"code": "order_not_payable"}, order_id="o1")),
]


def requests(town: Town, kind: str, answered: int, unanswered: int) -> None:
    for number in range(answered + unanswered):
        town.answered(kind, 10, 10.5, 200 if number < answered else 503, {"items": []}, item_id="i1", quantity=1)


@pytest.mark.parametrize(
    ("kind", "answered", "unanswered", "enough"),
    [
        ("search", 999, 1, True),
        ("search", 998, 2, False),
        ("place", 99, 1, True),
        ("place", 98, 2, False),
        ("place", 0, 0, True),
        ("pay", 0, 9, True),
    ],
)
def test_a_single_fault_may_cost_so_many_answers(kind: str, answered: int, unanswered: int, enough: bool) -> None:
    town = Town()
    requests(town, kind, answered, unanswered)

    assert (list(available(town.history, NOW.timestamp())) == []) is enough


def test_in_the_seconds_after_a_fault_requests_may_fail() -> None:
    town = Town()
    requests(town, "search", 0, 9)

    assert list(available(town.history, NOW.timestamp() + 6)) == []


@pytest.mark.parametrize(("rule", "break_it"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_broken_promise_is_found(rule: str, break_it: Callable[[Town], object]) -> None:
    town = Town()
    break_it(town)

    assert rule in town.broken()
