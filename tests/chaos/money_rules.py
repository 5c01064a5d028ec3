"""Rules about money: the provider's ledger is the truth, and every charge has a paid order or was refunded."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from tests.chaos.end_state import EndState
from tests.chaos.history import Json
from tests.chaos.violation import Violation


def charges(end: EndState) -> Iterable[Violation]:
    """Every charge is for exactly one paid order or was refunded, never both."""
    now = datetime.fromtimestamp(end.at, UTC)
    for payment_id, charge in end.charges.items():
        payment = end.payments[payment_id]
        order = end.orders.get(payment["order_id"])
        if order is None:
            yield Violation("charged", payment["order_id"], f"payment {payment_id} is for an order that is not there")
            continue
        ours = order["status"] == "paid" and order.get("payment_id") == payment_id
        captured = _captured(charge, now)
        if captured and not charge.get("refunded_at") and not ours:
            what = f"charge {payment_id} was captured, the order is {order['status']}, and there was no refund"
            yield Violation("charged", order["_id"], what)
        if charge.get("refunded_at") and ours:
            yield Violation("charged", order["_id"], f"the order is paid by {payment_id}, which was refunded")
        if captured and charge["amount"] != order["quantity"] * order["unit_price"]:
            yield Violation("charged", order["_id"], f"charged {charge['amount']}, which is not what was due")


def paid(end: EndState) -> Iterable[Violation]:
    """Every paid order was charged, and every refunded order was refunded by the provider."""
    now = datetime.fromtimestamp(end.at, UTC)
    for order_id, order in end.orders.items():
        charge = end.charges.get(order.get("payment_id") or "", {})
        if order["status"] == "paid" and not _captured(charge, now):
            yield Violation("unpaid", order_id, "the order is paid, but nobody was charged for it")
        if order["status"] == "refunded" and not charge.get("refunded_at"):
            yield Violation("unpaid", order_id, "the order is refunded, but the provider has no refund")


def sums(end: EndState) -> Iterable[Violation]:
    """All charges and refunds for an order add up to its price or to nothing."""
    now = datetime.fromtimestamp(end.at, UTC)
    balance: Counter[str] = Counter()
    for payment_id, charge in end.charges.items():
        if _captured(charge, now) and not charge.get("refunded_at"):
            balance[end.payments[payment_id]["order_id"]] += charge["amount"]
    for order_id, amount in balance.items():
        order = end.orders.get(order_id)
        if order and amount not in {0, order["quantity"] * order["unit_price"]}:
            yield Violation("sum", order_id, f"the buyer has paid {amount} in all")


def records(end: EndState) -> Iterable[Violation]:
    """The status of every payment agrees with the provider's ledger."""
    now = datetime.fromtimestamp(end.at, UTC)
    for payment_id, payment in end.payments.items():
        charge = end.charges.get(payment_id, {})
        truth = "refunded" if charge.get("refunded_at") else "captured" if _captured(charge, now) else "failed"
        if payment["status"] != truth:
            what = f"payment {payment_id} says {payment['status']}, the provider says {truth}"
            yield Violation("record", payment["order_id"], what)


def refunds(end: EndState) -> Iterable[Violation]:
    """No payment is refunded twice."""
    refunded = Counter(one.body["payment_id"] for one in end.events if one.subject == "payments.refunded")
    for payment_id, times in refunded.items():
        if times > 1 and payment_id in end.payments:
            order_id = end.payments[payment_id]["order_id"]
            yield Violation("refunded twice", order_id, f"payment {payment_id} was refunded {times} times")


def _captured(charge: Json, now: datetime) -> bool:
    at = charge.get("captured_at")
    return at is not None and at <= now


RULES: tuple[Callable[[EndState], Iterable[Violation]], ...] = (charges, paid, sums, records, refunds)
