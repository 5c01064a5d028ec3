"""Rules about the end state: stock, deadlines, copies, and an event for every change."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from tests.chaos.end_state import EndState
from tests.chaos.violation import Violation

MONEY_MOVED = frozenset({"captured", "refund_due", "refunded", "refund_failed", "disputed"})
"""The statuses of a payment whose money has moved."""

LIVE = frozenset({"awaiting_payment", "paid"})


def stock(end: EndState) -> Iterable[Violation]:
    """Units are taken exactly while a live order has them, and never more than were on offer at any time."""
    live = dict.fromkeys(end.stock, 0)
    for order in end.orders.values():
        if order["status"] in LIVE:
            live[order["item_id"]] = live.get(order["item_id"], 0) + order["quantity"]
    offered = _most_offered(end)
    for item, units in live.items():
        taken = end.stock.get(item, {}).get("taken", 0)
        if taken != units:
            yield Violation("stock", item, f"{taken} units are taken, but live orders have {units}")
        if units > offered.get(item, 0):
            yield Violation("oversold", item, f"live orders have {units} of at most {offered.get(item, 0)} on offer")


def _most_offered(end: EndState) -> dict[str, int]:
    most = {item: int(stock["offered"]) for item, stock in end.stock.items()}
    for event in end.events:
        if event.subject.startswith("items."):
            item = event.body["item_id"]
            most[item] = max(most.get(item, 0), event.body["quantity"])
    return most


def shown(end: EndState) -> Iterable[Violation]:
    """The item that people see agrees with the stock that orders keeps."""
    for item_id, item in end.items.items():
        kept = end.stock.get(item_id)
        if kept is None:
            yield Violation("shown", item_id, "orders does not know this item")
            continue
        free = max(0, kept["offered"] - kept["taken"]) if kept["status"] == "listed" else 0
        ours = (item["quantity"], item["status"], item["version"], item["available"], item["stock_version"])
        theirs = (kept["offered"], kept["status"], kept["item_version"], free, kept["version"])
        if ours != theirs:
            yield Violation("shown", item_id, f"items has {ours}, orders has {theirs}")


def deadlines(end: EndState) -> Iterable[Violation]:
    """No hold lasts too long, and none ends too early."""
    now = datetime.fromtimestamp(end.at, UTC)
    for order_id, order in end.orders.items():
        if order["status"] == "awaiting_payment" and order["expires_at"] < now:
            late = (now - order["expires_at"]).total_seconds()
            yield Violation("overdue", order_id, f"is still held {late:.1f} s after its time")
    for event in end.events:
        expired = event.subject == "orders.cancelled" and event.body["reason"] == "expired"
        early = datetime.fromisoformat(event.body["expires_at"]) - event.at if expired else timedelta()
        if early.total_seconds() > end.clocks_off:
            yield Violation("early", event.body["order_id"], f"expired at {event.at}")


def published(end: EndState) -> Iterable[Violation]:
    """Every state has its event in the streams."""
    known = {
        (one.subject, one.body.get(name), one.body.get("payment_id"))
        for one in end.events
        for name in ("order_id", "item_id", "user_id")
        if name in one.body
    }
    plain = {(subject, key) for subject, key, _ in known}
    for user_id in end.users:
        if ("users.registered", user_id) not in plain:
            yield Violation("unpublished", user_id, "there was no users.registered")
    for item_id, item in end.items.items():
        for subject in ("items.listed", *(["items.withdrawn"] if item["status"] == "withdrawn" else [])):
            if (subject, item_id) not in plain:
                yield Violation("unpublished", item_id, f"there was no {subject}")
    for subject, key, payment in _owed(end):
        if (subject, key, payment) not in known if payment else (subject, key) not in plain:
            yield Violation("unpublished", key, f"there was no {subject}")


def _owed(end: EndState) -> Iterable[tuple[str, str, str | None]]:
    """The events that orders and payments must have published: subject, order, and the payment if there is one."""
    for order_id, order in end.orders.items():
        yield "orders.placed", order_id, None
        if order["status"] in {"cancelled", "expired"}:
            yield "orders.cancelled", order_id, None
        if order.get("payment_id"):
            yield "orders.paid", order_id, order["payment_id"]
        if order.get("accepted_payment"):
            yield "orders.payment_accepted", order_id, order["accepted_payment"]
        for payment in order.get("rejected_payments", ()):
            yield "orders.payment_rejected", order_id, payment
    for payment_id, payment in end.payments.items():
        if payment["status"] in MONEY_MOVED:
            yield "payments.captured", payment["order_id"], payment_id
        if payment["status"] == "captured" and payment.get("refunded_amount"):
            yield "payments.partly_refunded", payment["order_id"], payment_id
        if payment["status"] in {"refunded", "refund_failed", "disputed", "released", "failed"}:
            yield f"payments.{payment['status']}", payment["order_id"], payment_id


def real(end: EndState) -> Iterable[Violation]:
    """Every event tells of something that is there: none was published of a write that was undone."""
    things = (
        ("order_id", "buyer_id", end.orders),
        ("payment_id", "buyer_id", end.payments),
        ("item_id", "seller_id", end.items),
    )
    for event in end.events:
        for name, owner, there in things:
            key = event.body.get(name)
            if key and key not in there and event.body.get(owner) in end.users:  # else of another run's people
                yield Violation("phantom", key, f"{event.subject} tells of something that is not there")


RULES: tuple[Callable[[EndState], Iterable[Violation]], ...] = (stock, shown, deadlines, published, real)
