"""Rules about money: the provider's ledger is the truth, and every unit of it is accounted for."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json
from tests.chaos.ledger import (
    BUYER,
    SOUK,
    captured,
    dispute_of,
    in_ledger,
    in_souk,
    is_settled,
    part_in_ledger,
    part_in_souk,
    split,
)
from tests.chaos.observations import observations
from tests.chaos.violation import Violation

REFUSES_CAPTURE = "pm_card_capture_fails"
"""The payment method that is authorised, and whose capture the provider refuses."""


def charges(end: EndState) -> Iterable[Violation]:
    """Every charge is for exactly one paid order, or its money went back or waits for somebody to give it back."""
    now = datetime.fromtimestamp(end.at, UTC)
    for unknown in end.unknown_charges:
        yield Violation("charged", unknown, "the provider has a charge for which there is no payment")
    for payment_id, charge in end.charges.items():
        payment = end.payments[payment_id]
        order = end.orders.get(payment["order_id"])
        if order is None:
            yield Violation("charged", payment["order_id"], f"payment {payment_id} is for an order that is not there")
            continue
        ours = order["status"] == "paid" and order.get("payment_id") == payment_id
        owed = payment["status"] == "refund_failed" or is_settled(payment)
        if in_ledger(charge, now) == SOUK and not ours and not owed:
            what = f"charge {payment_id} was captured, the order is {order['status']}, and there was no refund"
            yield Violation("charged", order["_id"], what)
        if in_ledger(charge, now) == BUYER and ours:
            yield Violation("charged", order["_id"], f"the order is paid by {payment_id}, which was refunded")
        if captured(charge, now) and charge["amount"] != order["quantity"] * order["unit_price"]:
            yield Violation("charged", order["_id"], f"charged {charge['amount']}, which is not what was due")


def paid(end: EndState) -> Iterable[Violation]:
    """Every paid order was charged, and the provider was asked for the refund of every refunded order."""
    now = datetime.fromtimestamp(end.at, UTC)
    for order_id, order in end.orders.items():
        charge = end.charges.get(order.get("payment_id") or "", {})
        if order["status"] == "paid" and not captured(charge, now):
            yield Violation("unpaid", order_id, "the order is paid, but nobody was charged for it")
        if order["status"] == "refunded" and not (charge.get("refunded_at") or charge.get("refund_failures")):
            yield Violation("unpaid", order_id, "the order is refunded, but the provider has no refund")


def sums(end: EndState) -> Iterable[Violation]:
    """What Souk has of a buyer for an order is its price if it is paid, and else only what a failed refund left here.

    The buyer's bank has what is disputed. What Souk knows to have gone back as a part is not there.
    """
    now = datetime.fromtimestamp(end.at, UTC)
    balance: Counter[str] = Counter()
    due: Counter[str] = Counter()
    for payment_id, charge in end.charges.items():
        payment = end.payments[payment_id]
        order = end.orders.get(payment["order_id"])
        if order and captured(charge, now):
            if in_ledger(charge, now) == SOUK and not is_settled(payment):
                balance[order["_id"]] += charge["amount"] - part_in_ledger(charge)
            ours = order["status"] == "paid" and order.get("payment_id") == payment_id
            if payment["status"] == "refund_failed" or (ours and payment["status"] != "disputed"):
                due[order["_id"]] += order["quantity"] * order["unit_price"] - part_in_souk(payment)
            if charge.get("currency") != order["currency"]:
                yield Violation("sum", order["_id"], f"charge {payment_id} is in {charge.get('currency')}")
    for order_id in end.orders:
        if balance[order_id] != due[order_id]:
            what = f"Souk has {balance[order_id]} of the buyer in all, and {due[order_id]} was due"
            yield Violation("sum", order_id, what)


def records(end: EndState) -> Iterable[Violation]:
    """What every payment says agrees with the provider's ledger, and no card has money set aside."""
    now = datetime.fromtimestamp(end.at, UTC)
    for payment_id, payment in end.payments.items():
        charge = end.charges.get(payment_id, {})
        truth = in_ledger(charge, now)
        if in_souk(payment) != truth:
            what = f"payment {payment_id} says {payment['status']}, the provider says {truth}"
            yield Violation("record", payment["order_id"], what)
        if part_in_souk(payment) != (part := part_in_ledger(charge)):
            what = f"{part_in_souk(payment)} of payment {payment_id} went back, the provider says {part}"
            yield Violation("record", payment["order_id"], what)
        if payment.get("dispute") != (dispute := dispute_of(charge, now)):
            what = f"the dispute of {payment_id} is {payment.get('dispute')} here and {dispute} at the provider"
            yield Violation("record", payment["order_id"], what)
        order = end.orders.get(payment["order_id"], {})
        if order.get("payment_id") == payment_id and order.get("dispute") != payment.get("dispute"):
            what = f"the dispute of {payment_id} is {payment.get('dispute')}, and its order says {order.get('dispute')}"
            yield Violation("record", payment["order_id"], what)
        failed = (payment.get("failed_refunds", 0), charge.get("refund_failures", 0))
        unheard = failed[0] != failed[1] and payment["status"] != "disputed"
        if unheard or (payment["status"] == "refund_failed" and not failed[1]):
            what = f"{failed[0]} refunds of {payment_id} failed, according to the provider {failed[1]}"
            yield Violation("record", payment["order_id"], what)
        if _authorized(charge) and not any(charge.get(name) for name in ("captured_at", "ended")):
            yield Violation("record", payment["order_id"], f"the money of payment {payment_id} is still set aside")


def accounts(end: EndState) -> Iterable[Violation]:
    """In each currency, what came in, went back and is disputed adds up to the same in Souk and at the provider."""
    now = datetime.fromtimestamp(end.at, UTC)
    ours: Counter[tuple[str, str]] = Counter()
    theirs: Counter[tuple[str, str]] = Counter()
    for payment in end.payments.values():
        ours.update(split(payment["currency"], in_souk(payment), payment["amount"], part_in_souk(payment)))
    for payment_id, payment in end.payments.items():
        charge = end.charges.get(payment_id, payment)
        theirs.update(split(charge["currency"], in_ledger(charge, now), charge["amount"], part_in_ledger(charge)))
    for account in sorted(ours.keys() | theirs.keys()):
        if ours[account] != theirs[account]:
            currency, where = account
            what = f"Souk counts {ours[account]} {currency} as {where}, and the provider {theirs[account]}"
            yield Violation("account", currency, what)


def refunds(end: EndState) -> Iterable[Violation]:
    """No money is refunded that is refunded already: a second refund follows only one that failed."""
    told = [e for e in end.events if e.subject in REFUNDS and e.body["payment_id"] in end.payments]
    back: dict[str, int] = {}
    for event in sorted(told, key=lambda e: int(e.body.get("payment_version", 0))):
        payment_id = event.body["payment_id"]
        charged = end.charges.get(payment_id, {}).get("amount", 0)
        if event.subject == "payments.refunded":
            rest = event.body["amount"] - event.body.get("refunded_before", 0)
            back[payment_id] = back.get(payment_id, 0) + rest
        else:
            back[payment_id] = event.body.get("refunded_amount", 0)
        if back[payment_id] > charged:
            what = f"{back[payment_id]} of payment {payment_id} was refunded, and {charged} was charged"
            yield Violation("refunded twice", end.payments[payment_id]["order_id"], what)


def in_time(end: EndState) -> Iterable[Violation]:
    """A card is charged only for what its buyer gets, and a payment that orders accepted pays the order.

    Money that moves by itself, which is never authorised, may come too late and be refunded.
    """
    now = datetime.fromtimestamp(end.at, UTC)
    charged = {one for one, charge in end.charges.items() if _authorized(charge) and captured(charge, now)}
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

REFUNDS = {"payments.refunded", "payments.partly_refunded", "payments.refund_failed"}


def _authorized(charge: Json) -> bool:
    """Whether the money was set aside first, as opposed to moving by itself."""
    return charge.get("authorized_at") is not None


RULES: tuple[Callable[[EndState], Iterable[Violation]], ...] = (
    charges,
    paid,
    sums,
    records,
    accounts,
    refunds,
    in_time,
    accepted_stays,
)

AGAINST_ANSWERS: tuple[Callable[[History, EndState], Iterable[Violation]], ...] = (nothing_after_no,)
