"""The rules of payments and of their money. No I/O."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from audit.reconciliation.findings import Finding, Money, Rule
from audit.reconciliation.records import (
    CHARGED,
    ENDED_UNCHARGED,
    OPEN,
    ChargeRecord,
    OrderRecord,
    OrderStatus,
    PaymentRecord,
    PaymentStatus,
)
from audit.reconciliation.rules.versions import behind, contradictions, lost
from common.events import (
    DisputeStatus,
    Event,
    OrderPaymentAccepted,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentReleased,
    PaymentState,
)

PUBLISHED: Mapping[PaymentStatus, tuple[type[Event], ...]] = {
    PaymentStatus.AUTHORIZED: (PaymentAuthorized,),
    PaymentStatus.CAPTURE_DUE: (PaymentAuthorized,),
    PaymentStatus.CAPTURED: (PaymentCaptured,),
    PaymentStatus.RELEASED: (PaymentReleased,),
    PaymentStatus.REFUND_DUE: (PaymentCaptured,),
    PaymentStatus.REFUNDED: (PaymentRefunded,),
    PaymentStatus.REFUND_FAILED: (PaymentRefundFailed,),
    PaymentStatus.DISPUTED: (PaymentDisputed,),
    PaymentStatus.FAILED: (PaymentFailed,),
}
"""The events of which a payment with this status has published one. One to be released may have published none."""

MOVED: set[type[Event]] = {
    PaymentCaptured,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentDisputed,
}
"""Events after which a payment is no longer open."""

CONTRADICTING: Mapping[PaymentStatus, set[type[Event]]] = {
    PaymentStatus.CREATED: {*MOVED, PaymentAuthorized, PaymentFailed, PaymentReleased},
    PaymentStatus.ABANDON_DUE: {*MOVED, PaymentAuthorized, PaymentFailed, PaymentReleased},
    PaymentStatus.PROCESSING: {*MOVED, PaymentAuthorized, PaymentFailed, PaymentReleased},
    PaymentStatus.AUTHORIZED: {*MOVED, PaymentFailed, PaymentReleased},
    PaymentStatus.CAPTURE_DUE: {*MOVED, PaymentFailed, PaymentReleased},
    PaymentStatus.RELEASE_DUE: {*MOVED, PaymentReleased},
}
"""Events that a payment with this status can't have published."""


def check_payment(record: PaymentRecord, events: Sequence[Event]) -> Iterator[Finding]:
    """The payment is what its events made of it."""
    states = sorted((e for e in events if isinstance(e, PaymentState)), key=lambda e: e.payment_version)
    subject = {"payment": record.id, "order": record.order_id}
    yield from contradictions(subject, ((e.payment_version, e) for e in states))
    if states and (newest := states[-1].payment_version) > record.version:
        yield behind(subject, newest, record.version)
    states = [e for e in states if e.payment_version <= record.version]
    published = {type(e) for e in states}
    newest = states[-1].payment_version if states else 0
    wanted = PUBLISHED.get(record.status, ())
    if wanted and not published.intersection(wanted):
        names = " or ".join(event.subject for event in wanted)
        yield lost(subject, f"{names} of version {record.version} or before", f"the newest is of {newest}")
    if published & CONTRADICTING.get(record.status, set()):
        yield Finding(
            rule=Rule.BOOKS_AGREE, subject=subject, expected="moved on, as published", found=record.status, certain=True
        )
    disputes = [e.dispute for e in states if isinstance(e, PaymentDisputed)]
    if record.dispute is DisputeStatus.WON and disputes[-1:] != [DisputeStatus.WON]:
        yield lost(subject, f"{PaymentDisputed.subject} that it was won", f"{disputes[-1]}" if disputes else "none")
    told = [e.refunded_amount for e in states if isinstance(e, PaymentPartlyRefunded)]
    if record.status is PaymentStatus.CAPTURED and (told or [0])[-1] != record.refunded_amount:
        expected = f"{PaymentPartlyRefunded.subject} of {record.refunded_amount} {record.currency}"
        yield lost(subject, expected, f"the newest tells of {told[-1]}" if told else "none")
    if record.status is PaymentStatus.CAPTURED and _is_captured_unasked(events):
        yield Finding(
            rule=Rule.CHARGES_END,
            subject=subject,
            expected="its order accepted it before the money was taken",
            found="no event says that it did",
        )


def _is_captured_unasked(events: Sequence[Event]) -> bool:
    """Whether a payment was authorized, and its order never accepted it.

    Methods that can't be authorized are captured without asking. What the bus lost may include the answer.
    """
    kinds = {type(event) for event in events}
    return (
        PaymentAuthorized in kinds and OrderPaymentAccepted not in kinds and not any(event.restated for event in events)
    )


def check_charge(
    record: PaymentRecord, order: OrderRecord | None, charge: ChargeRecord | None, now: datetime
) -> tuple[Money, list[Finding]]:
    """Every charge ends in exactly one paid order or one refund, and the gateway's records agree with ours.

    `charge` is None if the gateway has none. Also returns where the money is.
    """
    subject = {"payment": record.id, "order": record.order_id}
    findings: list[Finding] = []

    def finding(expected: str, found: str) -> None:
        findings.append(Finding(rule=Rule.CHARGES_END, subject=subject, expected=expected, found=found))

    accepts = order is not None and order.accepted_payment == record.id
    holds = order is not None and order.payment_id == record.id
    sold = holds and order is not None and order.status is OrderStatus.PAID
    rejected = order is not None and record.id in order.rejected_payments
    match record.status:
        case PaymentStatus.AUTHORIZED | PaymentStatus.CAPTURE_DUE | PaymentStatus.CAPTURED if order is None:
            finding("an order", "there is none")
        case PaymentStatus.AUTHORIZED if accepts:
            finding("the capture that is due, since the order accepted it", "none yet")
        case PaymentStatus.AUTHORIZED if rejected:
            finding("a release, since the order rejected it", "none yet")
        case PaymentStatus.AUTHORIZED:
            finding("the order accepts or rejects it", f"the order is {order.status if order else 'unknown'}")
        case PaymentStatus.CAPTURE_DUE if not accepts:
            finding("the order has accepted it", f"the order is {order.status if order else 'unknown'}")
        case PaymentStatus.CAPTURED if rejected:
            finding("a refund, since the order rejected it", "none yet")
        case PaymentStatus.CAPTURED if not holds:
            finding("the order takes or rejects it", f"the order is {order.status if order else 'unknown'}")
        case PaymentStatus.CAPTURED if not sold:
            finding("the order is paid with it", f"the order is {order.status if order else 'unknown'}")
        case PaymentStatus.REFUND_DUE:
            finding("the refund that is due", "none yet")
        case PaymentStatus.REFUNDED if sold:
            finding("the order is refunded, too", "the order is paid")
        case PaymentStatus.REFUND_FAILED:
            finding("an operator settles the refund that failed", "the money is still here")
        case PaymentStatus.DISPUTED if record.dispute is not DisputeStatus.LOST:
            finding("an operator settles the dispute", "the money is with the buyer's bank")
    if record.status in OPEN and (record.check_at is None or record.check_at < now):
        finding("a check that is not overdue", f"{record.status}, due at {record.check_at}")
    captured, returned = charge is not None and charge.captured, charge is not None and charge.refunded
    if record.status in CHARGED and not captured:
        finding("the gateway has the charge", "it has none")
    if record.status in ENDED_UNCHARGED and captured:
        finding("no money moved", "the gateway has captured it")
    if returned and record.status not in {PaymentStatus.REFUND_DUE, PaymentStatus.REFUNDED, PaymentStatus.DISPUTED}:
        finding("no refund", "the gateway has sent the money back")
    if record.status is PaymentStatus.REFUNDED and not returned and not record.settled_by:
        finding("the gateway has sent the money back", "it has not")
    if charge and captured and not returned and charge.refunded_amount != record.part_refunded:
        part = f"{charge.refunded_amount} {charge.currency} went back, as the gateway says"
        finding(part, f"{record.part_refunded} {record.currency} did")
    if charge and captured and (charge.amount, charge.currency) != (record.amount, record.currency):
        finding(f"{record.amount} {record.currency}", f"the gateway took {charge.amount} {charge.currency}")
    money = _money(record, order if sold else None, charge)
    if money.difference:
        difference = f"{money.difference} {record.currency} differ"
        found = Finding(rule=Rule.MONEY_BALANCES, subject=subject, expected="charge, refund and sale", found=difference)
        findings.append(found)
    return money, findings


def _money(record: PaymentRecord, buys: OrderRecord | None, charge: ChargeRecord | None) -> Money:
    charged = charge.amount if charge and charge.captured else 0
    refunded = _refunded(record, charge) if charge else 0
    left = charged - refunded
    match record.status:
        case PaymentStatus.DISPUTED:
            return Money(charged=charged, refunded=refunded, disputed=left)
        case PaymentStatus.REFUND_FAILED:
            return Money(charged=charged, refunded=refunded, in_transit=left)
    sellers = buys.total - record.part_refunded if buys else 0
    decided = record.status in {PaymentStatus.REFUNDED, *ENDED_UNCHARGED} or sellers
    return Money(charged=charged, refunded=refunded, sellers=sellers, in_transit=0 if decided else left)


def _refunded(record: PaymentRecord, charge: ChargeRecord) -> int:
    if charge.refunded or (record.settled_by and record.settled_amount is None):
        return charge.amount
    return min(charge.amount, charge.refunded_amount + (record.settled_amount or 0))
