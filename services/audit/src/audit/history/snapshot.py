"""Where an order, its item's stock and its payments stand, as the events up to a moment tell. Pure."""

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
    """A payment at a moment. The amount of one that only the provider was asked about is not known."""

    id: str
    status: str = "created"
    amount: int | None = None
    currency: Currency | None = None
    reason: str | None = None


class StockThen(BaseModel):
    """What was left of an item at a moment."""

    item_id: str
    version: int
    quantity: int
    available: int


@dataclass(frozen=True)
class Picture:
    """Everything about one order at a moment. `after` an event it is a new picture."""

    order: OrderThen | None = None
    stock: StockThen | None = None
    payments: dict[str, PaymentThen] = field(default_factory=dict)

    def after(self, event: Event) -> "Picture":
        """How things stood once this was told, too; what is not newer than what is known changes nothing."""
        match event:
            case OrderState():
                return self._order_said(event)
            case StockChanged():
                return self._stock_said(event)
            case PaymentState():
                return self._payment_said(event)
            case ProviderCalled():
                return self._with(self.payments.get(event.payment_id, PaymentThen(id=event.payment_id)))
            case _:
                return self

    def _with(self, payment: PaymentThen) -> "Picture":
        return replace(self, payments={**self.payments, payment.id: payment})

    def _order_said(self, event: OrderState) -> "Picture":
        known = self.order
        if known and event.order_version <= known.version:
            return self
        picture = replace(self, order=_order(event, known))
        if isinstance(event, OrderPaymentRejected | OrderRefundRequested):
            payment = self.payments.get(event.payment_id)
            if payment and payment.status == "captured":
                reason = event.reason if isinstance(event, OrderPaymentRejected) else "requested_by_seller"
                return picture._with(payment.model_copy(update={"status": "refund_due", "reason": reason}))
        return picture

    def _stock_said(self, event: StockChanged) -> "Picture":
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

    def _payment_said(self, event: PaymentState) -> "Picture":
        known = self.payments.get(event.payment_id)
        status, reason = _payment_status(event)
        if known and status == "processing" and known.status != "created":
            return self
        told = PaymentThen(
            id=event.payment_id, status=status, amount=event.amount, currency=event.currency, reason=reason
        )
        picture = self._with(told)
        order = self.order
        if isinstance(event, PaymentRefunded) and order and (order.status, order.payment_id) == ("paid", told.id):
            return replace(picture, order=order.model_copy(update={"status": "refunded"}))
        return picture


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
