"""A little town in which every promise is kept, for tests to break one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

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
        self.payment: Json = {"_id": "p1", "order_id": "o1", "buyer_id": "bea", "amount": 1000, "currency": "EUR"}
        self.payment["status"] = "captured"
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

    def answered(
        self, kind: str, since: float, until: float, status: int, body: Json, key: str | None = None, **about: Any
    ) -> None:
        """Add an operation of the buyer, which took from `since` to `until`, in seconds after the start."""
        self.asked(kind, status, body, key, **about)
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
