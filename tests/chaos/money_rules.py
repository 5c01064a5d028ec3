"""Rules about money: the provider's ledger is the truth, and every charge has an order or was given back."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from tests.chaos.end_state import Final
from tests.chaos.history import Json
from tests.chaos.violation import Violation


def charges(final: Final) -> Iterable[Violation]:
    """Every charge is for exactly one paid order, or went back; never both."""
    now = datetime.fromtimestamp(final.at, UTC)
    for payment_id, charge in final.charges.items():
        payment = final.payments[payment_id]
        order = final.orders.get(payment["order_id"])
        if order is None:
            yield Violation("charged", payment["order_id"], f"payment {payment_id} is for an order that is not there")
            continue
        ours = order["status"] == "paid" and order.get("payment_id") == payment_id
        captured = _captured(charge, now)
        if captured and not charge.get("refunded_at") and not ours:
            what = f"charge {payment_id} was captured, the order is {order['status']}, and nothing went back"
            yield Violation("charged", order["_id"], what)
        if charge.get("refunded_at") and ours:
            yield Violation("charged", order["_id"], f"the order is paid by {payment_id}, which went back")
        if captured and charge["amount"] != order["quantity"] * order["unit_price"]:
            yield Violation("charged", order["_id"], f"charged {charge['amount']}, which is not what was due")


def paid(final: Final) -> Iterable[Violation]:
    """Every paid order was paid for; every refunded order's money is back."""
    now = datetime.fromtimestamp(final.at, UTC)
    for order_id, order in final.orders.items():
        charge = final.charges.get(order.get("payment_id") or "", {})
        if order["status"] == "paid" and not _captured(charge, now):
            yield Violation("unpaid", order_id, "the order is paid, but nobody was charged for it")
        if order["status"] == "refunded" and not charge.get("refunded_at"):
            yield Violation("unpaid", order_id, "the order is refunded, but the money did not go back")


def sums(final: Final) -> Iterable[Violation]:
    """What all charges and refunds for an order add up to is its price or nothing."""
    now = datetime.fromtimestamp(final.at, UTC)
    balance: Counter[str] = Counter()
    for payment_id, charge in final.charges.items():
        if _captured(charge, now) and not charge.get("refunded_at"):
            balance[final.payments[payment_id]["order_id"]] += charge["amount"]
    for order_id, amount in balance.items():
        order = final.orders.get(order_id)
        if order and amount not in {0, order["quantity"] * order["unit_price"]}:
            yield Violation("sum", order_id, f"the buyer has paid {amount} in all")


def records(final: Final) -> Iterable[Violation]:
    """What payments says of a charge is what the provider says."""
    now = datetime.fromtimestamp(final.at, UTC)
    for payment_id, payment in final.payments.items():
        charge = final.charges.get(payment_id, {})
        truth = "refunded" if charge.get("refunded_at") else "captured" if _captured(charge, now) else "failed"
        if payment["status"] != truth:
            what = f"payment {payment_id} says {payment['status']}, the provider says {truth}"
            yield Violation("record", payment["order_id"], what)


def refunds(final: Final) -> Iterable[Violation]:
    """Money goes back once."""
    told = Counter(one.body["payment_id"] for one in final.told if one.subject == "payments.refunded")
    for payment_id, times in told.items():
        if times > 1 and payment_id in final.payments:
            order_id = final.payments[payment_id]["order_id"]
            yield Violation("refunded twice", order_id, f"payment {payment_id} was refunded {times} times")


def _captured(charge: Json, now: datetime) -> bool:
    at = charge.get("captured_at")
    return at is not None and at <= now


RULES: tuple[Callable[[Final], Iterable[Violation]], ...] = (charges, paid, sums, records, refunds)
