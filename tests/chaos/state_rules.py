"""Rules about what is true in the end: stock, deadlines, copies, and that every change was told."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from tests.chaos.end_state import Final
from tests.chaos.violation import Violation

LIVE = frozenset({"awaiting_payment", "paid"})


def stock(final: Final) -> Iterable[Violation]:
    """Units are taken exactly while a live order has them, and never more than were ever on offer."""
    live = dict.fromkeys(final.stock, 0)
    for order in final.orders.values():
        if order["status"] in LIVE:
            live[order["item_id"]] = live.get(order["item_id"], 0) + order["quantity"]
    offered = _most_offered(final)
    for item, units in live.items():
        taken = final.stock.get(item, {}).get("taken", 0)
        if taken != units:
            yield Violation("stock", item, f"{taken} units are taken, but live orders have {units}")
        if units > offered.get(item, 0):
            yield Violation("oversold", item, f"live orders have {units} of at most {offered.get(item, 0)} on offer")


def _most_offered(final: Final) -> dict[str, int]:
    most = {item: int(stock["offered"]) for item, stock in final.stock.items()}
    for told in final.told:
        if told.subject.startswith("items."):
            item = told.body["item_id"]
            most[item] = max(most.get(item, 0), told.body["quantity"])
    return most


def shown(final: Final) -> Iterable[Violation]:
    """The item that people see and the stock that orders draw from agree."""
    for item_id, item in final.items.items():
        kept = final.stock.get(item_id)
        if kept is None:
            yield Violation("shown", item_id, "orders never heard of this item")
            continue
        free = max(0, kept["offered"] - kept["taken"]) if kept["status"] == "listed" else 0
        ours = (item["quantity"], item["status"], item["version"], item["available"], item["stock_version"])
        theirs = (kept["offered"], kept["status"], kept["item_version"], free, kept["version"])
        if ours != theirs:
            yield Violation("shown", item_id, f"items has {ours}, orders has {theirs}")


def deadlines(final: Final) -> Iterable[Violation]:
    """No hold outlasts its time, and none ends before."""
    now = datetime.fromtimestamp(final.at, UTC)
    for order_id, order in final.orders.items():
        if order["status"] == "awaiting_payment" and order["expires_at"] < now:
            late = (now - order["expires_at"]).total_seconds()
            yield Violation("overdue", order_id, f"is still held {late:.1f} s after its time")
    for told in final.told:
        expired = told.subject == "orders.cancelled" and told.body["reason"] == "expired"
        if expired and told.at < datetime.fromisoformat(told.body["expires_at"]):
            yield Violation("early", told.body["order_id"], f"expired at {told.at}")


def told(final: Final) -> Iterable[Violation]:
    """What happened was told: every state has its event in the streams."""
    known = {
        (one.subject, one.body.get(name), one.body.get("payment_id"))
        for one in final.told
        for name in ("order_id", "item_id", "user_id")
        if name in one.body
    }
    plain = {(subject, key) for subject, key, _ in known}
    for user_id in final.users:
        if ("users.registered", user_id) not in plain:
            yield Violation("untold", user_id, "nobody was told of this user")
    for item_id, item in final.items.items():
        for subject in ("items.listed", *(["items.withdrawn"] if item["status"] == "withdrawn" else [])):
            if (subject, item_id) not in plain:
                yield Violation("untold", item_id, f"there was no {subject}")
    for subject, key, payment in _owed(final):
        if (subject, key, payment) not in known if payment else (subject, key) not in plain:
            yield Violation("untold", key, f"there was no {subject}")


def _owed(final: Final) -> Iterable[tuple[str, str, str | None]]:
    """The events that orders and payments must have told: subject, order, and the payment where there is one."""
    for order_id, order in final.orders.items():
        yield "orders.placed", order_id, None
        if order["status"] in {"cancelled", "expired"}:
            yield "orders.cancelled", order_id, None
        if order.get("payment_id"):
            yield "orders.paid", order_id, order["payment_id"]
        for payment in order.get("rejected_payments", ()):
            yield "orders.payment_rejected", order_id, payment
    for payment_id, payment in final.payments.items():
        if payment["status"] in {"captured", "refund_due", "refunded"}:
            yield "payments.captured", payment["order_id"], payment_id
        if payment["status"] == "refunded":
            yield "payments.refunded", payment["order_id"], payment_id


RULES: tuple[Callable[[Final], Iterable[Violation]], ...] = (stock, shown, deadlines, told)
