"""Rules about money: the provider's ledger is the truth, and every charge has a paid order or was refunded."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json
from tests.chaos.observations import observations
from tests.chaos.violation import Violation

REFUSES_CAPTURE = "pm_card_capture_fails"
"""The payment method that is authorised, and whose capture the provider refuses."""


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
    """What a buyer was charged for an order, less what came back, is its price if it is paid, and else nothing."""
    now = datetime.fromtimestamp(end.at, UTC)
    balance: Counter[str] = Counter()
    for payment_id, charge in end.charges.items():
        order = end.orders.get(end.payments[payment_id]["order_id"])
        if order and _captured(charge, now):
            balance[order["_id"]] += charge["amount"] - (charge["amount"] if charge.get("refunded_at") else 0)
            if charge.get("currency") != order["currency"]:
                yield Violation("sum", order["_id"], f"charge {payment_id} is in {charge.get('currency')}")
    for order_id, order in end.orders.items():
        due = order["quantity"] * order["unit_price"] if order["status"] == "paid" else 0
        if balance[order_id] != due:
            yield Violation("sum", order_id, f"the buyer has paid {balance[order_id]} in all, and {due} was due")


def records(end: EndState) -> Iterable[Violation]:
    """The status of every payment agrees with the provider's ledger, and no card has money set aside."""
    now = datetime.fromtimestamp(end.at, UTC)
    for payment_id, payment in end.payments.items():
        charge = end.charges.get(payment_id, {})
        truth = "refunded" if charge.get("refunded_at") else "captured" if _captured(charge, now) else "nothing moved"
        if STATUSES.get(payment["status"]) != truth:
            what = f"payment {payment_id} says {payment['status']}, the provider says {truth}"
            yield Violation("record", payment["order_id"], what)
        if _authorized(charge) and not any(charge.get(name) for name in ("captured_at", "ended")):
            yield Violation("record", payment["order_id"], f"the money of payment {payment_id} is still set aside")


def refunds(end: EndState) -> Iterable[Violation]:
    """No more money of a payment is refunded than was charged."""
    refunded: Counter[str] = Counter()
    for one in end.events:
        if one.subject == "payments.refunded":
            refunded[one.body["payment_id"]] += one.body["amount"]
    for payment_id, amount in refunded.items():
        charged = end.charges.get(payment_id, {}).get("amount", 0)
        if payment_id in end.payments and amount > charged:
            what = f"{amount} of payment {payment_id} was refunded, and {charged} was charged"
            yield Violation("refunded twice", end.payments[payment_id]["order_id"], what)


def in_time(end: EndState) -> Iterable[Violation]:
    """A card is charged only for what its buyer gets, and a payment that orders accepted pays the order.

    Money that moves by itself, which is never authorised, may come too late and be refunded.
    """
    now = datetime.fromtimestamp(end.at, UTC)
    charged = {one for one, charge in end.charges.items() if _authorized(charge) and _captured(charge, now)}
    accepted = {event.body["payment_id"] for event in end.events if event.subject == "orders.payment_accepted"}
    for payment_id in charged | accepted & set(end.payments):
        payment = end.payments[payment_id]
        order = end.orders.get(payment["order_id"], {})
        refused = payment_id not in charged and payment.get("method") == REFUSES_CAPTURE
        served = order.get("status") in {"paid", "refunded"} and order.get("payment_id") == payment_id
        if not served and not refused:
            what = f"{'charged' if payment_id in charged else 'accepted'} by {payment_id}, and is {order.get('status')}"
            yield Violation("in time", payment["order_id"], what)


def accepted_stays(end: EndState) -> Iterable[Violation]:
    """An order whose payment was accepted ends only with that payment: paid, or given back because it failed."""
    accepted: set[str] = set()
    for event in sorted(
        (e for e in end.events if e.subject in ENDS), key=lambda e: int(e.body.get("order_version", 0))
    ):
        order_id = event.body["order_id"]
        if event.subject == "orders.payment_accepted":
            accepted.add(order_id)
        elif order_id in accepted & end.orders.keys() and event.body["reason"] != "payment_failed":
            yield Violation("in time", order_id, f"ended ({event.body['reason']}) after its payment was accepted")


def nothing_after_no(history: History, end: EndState) -> Iterable[Violation]:
    """No card is charged once an answer said that the order was cancelled, or has expired and is not taken up again."""
    seen = observations(history)
    for payment_id, charge in end.charges.items():
        order_id, at = end.payments[payment_id]["order_id"], charge.get("captured_at")
        taken_up = end.orders.get(order_id, {}).get("late_payment") == "accepted"
        final = {"cancelled"} if taken_up else {"cancelled", "expired"}
        said = min((one.operation.answered for one in seen[order_id] if one.status in final), default=end.at)
        if at and _authorized(charge) and said + end.skew < at.timestamp() <= end.at:
            what = f"{payment_id} was captured {at.timestamp() - said:.1f} s after the order was said to be over"
            yield Violation("after no", order_id, what)


ENDS = {"orders.payment_accepted", "orders.cancelled"}

STATUSES = {
    "failed": "nothing moved",
    "released": "nothing moved",
    "captured": "captured",
    "refunded": "refunded",
    "refund_failed": "captured",
}
"""What the provider must say for each status that a payment can end in."""


def _authorized(charge: Json) -> bool:
    """Whether the money was set aside first, as opposed to moving by itself."""
    return charge.get("authorized_at") is not None


def _captured(charge: Json, now: datetime) -> bool:
    at = charge.get("captured_at")
    return at is not None and at <= now


RULES: tuple[Callable[[EndState], Iterable[Violation]], ...] = (
    charges,
    paid,
    sums,
    records,
    refunds,
    in_time,
    accepted_stays,
)

AGAINST_ANSWERS: tuple[Callable[[History, EndState], Iterable[Violation]], ...] = (nothing_after_no,)
