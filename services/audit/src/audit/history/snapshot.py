"""The state of an order, its item's stock and its payments at a moment, folded from the events until then. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import BaseModel, Field

from common.events import (
    CancelReason,
    Currency,
    DisputeStatus,
    Event,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderRefundRequested,
    OrderState,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentPartlyRefunded,
    PaymentProcessing,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundRetried,
    PaymentReleased,
    PaymentState,
    ProviderCalled,
    StockChanged,
)

BEFORE: Mapping[type[PaymentState], set[str]] = {
    PaymentProcessing: {"created"},
    PaymentAuthorized: {"created", "processing"},
}
"""The statuses that these events can follow. Told late, after any other, they change nothing."""


class OrderThen(BaseModel):
    """An order at a moment. Amounts are in minor units of `currency`."""

    id: str
    version: int
    status: str
    item_id: str
    item_title: str
    quantity: int
    unit_price: int
    total: int
    currency: Currency
    buyer_id: str
    seller_id: str
    expires_at: datetime
    accepted_payment: str | None = None
    payment_id: str | None = None
    cancel_reason: CancelReason | None = None
    refund_failure: str | None = None
    dispute: DisputeStatus | None = None
    late_payment: str | None = None
    refund_requested: bool = False


class PaymentThen(BaseModel):
    """A payment at a moment. Its amount is unknown until payments has published an event about it."""

    id: str
    status: str = "created"
    amount: int | None = None
    currency: Currency | None = None
    reason: str | None = None
    refunded_amount: int = 0
    """How much went back as a part of the money."""
    before_dispute: str | None = Field(default=None, exclude=True)


class StockThen(BaseModel):
    """The stock of an item at a moment."""

    item_id: str
    version: int
    quantity: int
    available: int


@dataclass(frozen=True)
class Snapshot:
    """An order, its item's stock and its payments by id at a moment."""

    order: OrderThen | None = None
    stock: StockThen | None = None
    payments: dict[str, PaymentThen] = field(default_factory=dict)

    def after(self, event: Event) -> "Snapshot":
        """The snapshot after one more event. An event that is not newer than what is known changes nothing."""
        match event:
            case OrderState():
                return self._after_order(event)
            case StockChanged():
                return self._after_stock(event)
            case PaymentState():
                return self._after_payment(event)
            case ProviderCalled():
                return self._with(self.payments.get(event.payment_id, PaymentThen(id=event.payment_id)))
            case _:
                return self

    def _with(self, payment: PaymentThen) -> "Snapshot":
        return replace(self, payments={**self.payments, payment.id: payment})

    def _after_order(self, event: OrderState) -> "Snapshot":
        known = self.order
        if known and event.order_version <= known.version:
            return self
        snapshot = replace(self, order=_order(event, known))
        match event:
            case OrderPaymentAccepted():
                return snapshot._due(event.payment_id, {"authorized": "capture_due"}, None)
            case OrderPaymentRejected():
                due = {"authorized": "release_due", "captured": "refund_due"}
                return snapshot._due(event.payment_id, due, event.reason)
            case OrderRefundRequested():
                return snapshot._due(event.payment_id, {"captured": "refund_due"}, "requested_by_seller")
        return snapshot

    def _due(self, payment_id: str, due: Mapping[str, str], reason: str | None) -> "Snapshot":
        """The order has decided about a payment: what is due for it depends on its status."""
        payment = self.payments.get(payment_id)
        if payment is None or payment.status not in due:
            return self
        return self._with(payment.model_copy(update={"status": due[payment.status], "reason": reason}))

    def _after_stock(self, event: StockChanged) -> "Snapshot":
        if self.stock and event.stock_version <= self.stock.version:
            return self
        return replace(
            self,
            stock=StockThen(
                item_id=event.item_id,
                version=event.stock_version,
                quantity=event.quantity,
                available=event.available,
            ),
        )

    def _after_payment(self, event: PaymentState) -> "Snapshot":
        known = self.payments.get(event.payment_id)
        if known and known.status not in BEFORE.get(type(event), {known.status}):
            return self
        snapshot = self._with(_payment(event, known))
        order = self.order
        if order is None or order.payment_id != event.payment_id:
            return snapshot
        match event:
            case PaymentRefunded():
                return replace(snapshot, order=order.model_copy(update={"status": "refunded", "refund_failure": None}))
            case PaymentRefundFailed():
                return replace(snapshot, order=order.model_copy(update={"refund_failure": event.reason}))
            case PaymentDisputed():
                return replace(snapshot, order=order.model_copy(update={"dispute": event.dispute}))
            case _:
                return snapshot


def _order(event: OrderState, known: OrderThen | None) -> OrderThen:
    now = OrderThen(
        id=event.order_id,
        version=event.order_version,
        status=known.status if known else "awaiting_payment",
        item_id=event.item_id,
        item_title=event.item_title,
        quantity=event.quantity,
        unit_price=event.unit_price,
        total=event.quantity * event.unit_price,
        currency=event.currency,
        buyer_id=event.buyer_id,
        seller_id=event.seller_id,
        expires_at=event.expires_at,
        accepted_payment=known.accepted_payment if known else None,
        payment_id=known.payment_id if known else None,
        cancel_reason=known.cancel_reason if known else None,
        refund_failure=known.refund_failure if known else None,
        dispute=known.dispute if known else None,
        late_payment=known.late_payment if known else None,
        refund_requested=known.refund_requested if known else False,
    )
    over = now.status in {"expired", "cancelled"}
    match event:
        case OrderCancelled():
            now.status = "expired" if event.reason is CancelReason.EXPIRED else "cancelled"
            now.cancel_reason, now.accepted_payment = event.reason, None
        case OrderPaymentAccepted():
            now.late_payment = "accepted" if over else now.late_payment
            now.status, now.accepted_payment, now.cancel_reason = "awaiting_payment", event.payment_id, None
        case OrderPaid():
            now.late_payment = "accepted" if over else now.late_payment
            now.status, now.payment_id, now.cancel_reason = "paid", event.payment_id, None
            now.accepted_payment = None
        case OrderPaymentRejected():
            now.late_payment = "rejected" if over else now.late_payment
        case OrderRefundRequested():
            now.refund_requested = True
    return now


def _payment(event: PaymentState, known: PaymentThen | None) -> PaymentThen:
    now = PaymentThen(id=event.payment_id, amount=event.amount, currency=event.currency)
    part = known.refunded_amount if known else 0
    now.refunded_amount = event.refunded_amount if isinstance(event, PaymentRefundFailed) else part
    if isinstance(event, PaymentPartlyRefunded):
        return _with_part(event, known)
    if not isinstance(event, PaymentDisputed):
        now.status, now.reason = _payment_status(event)
        return now
    before = (known.before_dispute or known.status) if known else "captured"
    if event.dispute is DisputeStatus.WON:
        now.status = before
    else:
        now.status, now.reason, now.before_dispute = "disputed", event.reason, before
    return now


def _with_part(event: PaymentPartlyRefunded, known: PaymentThen | None) -> PaymentThen:
    """A part went back, and everything else is as it was: the money was there, though that news may come later."""
    then = known.model_dump() if known else {"id": event.payment_id, "status": "captured"}
    before = known.before_dispute if known else None
    now = {**then, "amount": event.amount, "currency": event.currency, "refunded_amount": event.refunded_amount}
    return PaymentThen(**now, before_dispute=before)


def _payment_status(event: PaymentState) -> tuple[str, str | None]:
    match event:
        case PaymentAuthorized():
            return "authorized", None
        case PaymentCaptured():
            return "captured", None
        case PaymentFailed():
            return "failed", event.reason
        case PaymentReleased():
            return "released", event.reason
        case PaymentRefunded():
            return "refunded", event.reason
        case PaymentRefundFailed():
            return "refund_failed", event.reason
        case PaymentRefundRetried():
            return "refund_due", None
        case PaymentProcessing():
            return "processing", None
        case _:
            return "created", None
