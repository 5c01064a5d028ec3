"""The state of an order, its item's stock and its payments at a moment, folded from the events until then. No I/O."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import BaseModel

from common.events import (
    CancelReason,
    Currency,
    Event,
    OrderCancelled,
    OrderPaid,
    OrderPaymentRejected,
    OrderRefundRequested,
    OrderState,
    PaymentCaptured,
    PaymentFailed,
    PaymentProcessing,
    PaymentRefunded,
    PaymentState,
    ProviderCalled,
    StockChanged,
)


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
    payment_id: str | None = None
    cancel_reason: CancelReason | None = None
    late_payment: str | None = None
    refund_requested: bool = False


class PaymentThen(BaseModel):
    """A payment at a moment. Its amount is unknown until payments has published an event about it."""

    id: str
    status: str = "created"
    amount: int | None = None
    currency: Currency | None = None
    reason: str | None = None


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
        if isinstance(event, OrderPaymentRejected | OrderRefundRequested):
            payment = self.payments.get(event.payment_id)
            if payment and payment.status == "captured":
                reason = event.reason if isinstance(event, OrderPaymentRejected) else "requested_by_seller"
                return snapshot._with(payment.model_copy(update={"status": "refund_due", "reason": reason}))
        return snapshot

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
        status, reason = _payment_status(event)
        if known and status == "processing" and known.status != "created":
            return self
        payment = PaymentThen(
            id=event.payment_id, status=status, amount=event.amount, currency=event.currency, reason=reason
        )
        snapshot = self._with(payment)
        order = self.order
        if isinstance(event, PaymentRefunded) and order and (order.status, order.payment_id) == ("paid", payment.id):
            return replace(snapshot, order=order.model_copy(update={"status": "refunded"}))
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
        payment_id=known.payment_id if known else None,
        cancel_reason=known.cancel_reason if known else None,
        late_payment=known.late_payment if known else None,
        refund_requested=known.refund_requested if known else False,
    )
    over = now.status in {"expired", "cancelled"}
    match event:
        case OrderCancelled():
            now.status = "expired" if event.reason is CancelReason.EXPIRED else "cancelled"
            now.cancel_reason = event.reason
        case OrderPaid():
            now.late_payment = "accepted" if over else now.late_payment
            now.status, now.payment_id, now.cancel_reason = "paid", event.payment_id, None
        case OrderPaymentRejected():
            now.late_payment = "rejected" if over else now.late_payment
        case OrderRefundRequested():
            now.refund_requested = True
    return now


def _payment_status(event: PaymentState) -> tuple[str, str | None]:
    match event:
        case PaymentCaptured():
            return "captured", None
        case PaymentFailed():
            return "failed", event.reason
        case PaymentRefunded():
            return "refunded", event.reason
        case PaymentProcessing():
            return "processing", None
        case _:
            return "created", None
