"""The rules of orders. No I/O."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Self

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.records import (
    CAPTURABLE,
    CHARGED,
    REFUND_ASKED,
    OrderRecord,
    OrderStatus,
    PaymentRecord,
    PaymentStatus,
)
from audit.reconciliation.rules.versions import behind, contradictions, lost
from common.events import (
    CancelReason,
    Event,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderState,
    PaymentFailed,
    PaymentRefunded,
    PaymentReleased,
)

EPOCH = datetime.fromtimestamp(0, UTC)


def check_order(record: OrderRecord, events: Sequence[Event]) -> Iterator[Finding]:
    """The order is what its events made of it."""
    states = sorted((e for e in events if isinstance(e, OrderState)), key=lambda e: e.order_version)
    subject = {"order": record.id}
    yield from contradictions(subject, ((e.order_version, e) for e in states))
    if states and (newest := states[-1].order_version) > record.version:
        yield behind(subject, newest, record.version)
    states = [e for e in states if e.order_version <= record.version]
    if not states:
        yield lost(subject, "orders.placed", "no event of this order")
        return
    now = _Outcome.of(states)
    newest = states[-1].order_version
    refunded = any(isinstance(e, PaymentRefunded) and e.payment_id == now.paid_with for e in events)
    followed = (
        now.status is OrderStatus.PAID
        and refunded
        and record.status is OrderStatus.REFUNDED
        and newest < record.version
    )
    recorded = _Outcome(record.status, record.accepted_payment, record.payment_id)
    if not followed and recorded != now:
        yield Finding(
            rule=Rule.BOOKS_AGREE if newest == record.version else Rule.EVENTS_KEPT,
            subject=subject,
            expected=f"the log has version {record.version}: {recorded}",
            found=f"it has version {newest}: {now}",
            certain=newest == record.version,
        )
    yield from _check_acceptances(subject, states, events)
    rejected = {e.payment_id for e in states if isinstance(e, OrderPaymentRejected)}
    for payment in sorted(rejected ^ record.rejected_payments):
        where = "log" if payment in rejected else "records"
        yield Finding(
            rule=Rule.BOOKS_AGREE if payment in rejected else Rule.EVENTS_KEPT,
            subject={**subject, "payment": payment},
            expected="rejected in the log and in the records",
            found=f"only in the {where}",
        )
    first = states[0]
    published = (first.item_id, first.quantity, first.unit_price, first.currency)
    if published != (record.item_id, record.quantity, record.unit_price, record.currency):
        kept = f"{record.quantity} x {record.item_id} at {record.unit_price} {record.currency}"
        yield Finding(
            rule=Rule.BOOKS_AGREE,
            subject=subject,
            expected=f"{first.quantity} x {first.item_id} at {first.unit_price} {first.currency}, as published",
            found=kept,
            certain=True,
        )


@dataclass(frozen=True)
class _Outcome:
    status: OrderStatus = OrderStatus.AWAITING_PAYMENT
    accepted: str | None = None
    paid_with: str | None = None

    @classmethod
    def of(cls, states: Sequence[OrderState]) -> Self:
        outcome = cls()
        for event in states:
            match event:
                case OrderCancelled(reason=CancelReason.EXPIRED):
                    outcome = cls(OrderStatus.EXPIRED)
                case OrderCancelled():
                    outcome = cls(OrderStatus.CANCELLED)
                case OrderPaymentAccepted():
                    outcome = cls(accepted=event.payment_id)
                case OrderPaid():
                    outcome = cls(OrderStatus.PAID, paid_with=event.payment_id)
        return outcome

    def __str__(self) -> str:
        accepted = f"{self.accepted} accepted" if self.accepted else None
        return " ".join(part for part in (self.status, accepted, self.paid_with) if part)


def _check_acceptances(
    subject: dict[str, str], states: Sequence[OrderState], events: Sequence[Event]
) -> Iterator[Finding]:
    """An order that has accepted a payment ends with that payment: neither the clock nor the buyer ends it before."""
    ended = {e.payment_id for e in events if isinstance(e, PaymentFailed | PaymentReleased)}
    decisions = [e for e in states if not isinstance(e, OrderPaymentRejected)]
    for accepted, cancelled in pairwise(decisions):
        if not isinstance(accepted, OrderPaymentAccepted) or not isinstance(cancelled, OrderCancelled):
            continue
        about = {**subject, "payment": accepted.payment_id}
        version = cancelled.order_version
        if cancelled.reason is not CancelReason.PAYMENT_FAILED:
            yield Finding(
                rule=Rule.ORDERS_END,
                subject=about,
                expected=f"held at version {version}, for the payment that it accepted",
                found=f"ended: {cancelled.reason}",
                certain=True,
            )
        elif accepted.payment_id not in ended:
            yield Finding(
                rule=Rule.ORDERS_END,
                subject=about,
                expected=f"the payment ended without money before version {version}",
                found="no event says that it did",
            )


def check_end(record: OrderRecord, due: int | None, accepted: PaymentRecord | None, now: datetime) -> Iterator[Finding]:
    """The order is settled, or its deadline is in the future and expiration knows it (`due`, in ms since 1970).

    If it has accepted a payment, it has no deadline, but that payment is being captured.
    """
    if record.accepted_payment:
        yield from _check_accepted(record, accepted)
        return
    if record.status is not OrderStatus.AWAITING_PAYMENT:
        return
    ends = -((EPOCH - record.expires_at) // timedelta(milliseconds=1))
    if record.expires_at <= now:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject={"order": record.id},
            expected=f"settled, since its hold ended at {record.expires_at.isoformat()}",
            found=record.status,
        )
    elif due != ends:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject={"order": record.id},
            expected=f"expiration will end it at {ends}",
            found="expiration does not know it" if due is None else f"at {due}",
        )


def _check_accepted(record: OrderRecord, payment: PaymentRecord | None) -> Iterator[Finding]:
    subject = {"order": record.id, "payment": record.accepted_payment or ""}
    if record.status is not OrderStatus.AWAITING_PAYMENT:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject=subject,
            expected=f"held at version {record.version}, for the payment that it accepted",
            found=record.status,
            certain=True,
        )
    elif payment is None or payment.status not in CAPTURABLE:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject=subject,
            expected="the payment that it accepted is being captured",
            found=payment.status if payment else "no such payment",
        )


def check_paid(record: OrderRecord, payment: PaymentRecord | None) -> Iterator[Finding]:
    """A paid order has a payment of the whole amount, which is sent back if the order is refunded."""
    returned = {*REFUND_ASKED, PaymentStatus.DISPUTED}
    wanted = {OrderStatus.PAID: CHARGED, OrderStatus.REFUNDED: returned}.get(record.status)
    if wanted is None:
        return
    asked = (record.id, record.total, record.currency)
    if payment is None or payment.status not in wanted or (payment.order_id, payment.amount, payment.currency) != asked:
        yield Finding(
            rule=Rule.CHARGES_END,
            subject={"order": record.id, "payment": record.payment_id or ""},
            expected=f"the order is {record.status} with {record.total} {record.currency} of its own",
            found=f"{payment.status}, {payment.amount} {payment.currency} for order {payment.order_id}"
            if payment
            else "no such payment",
        )
