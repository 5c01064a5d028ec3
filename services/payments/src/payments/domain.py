"""Payments, and what is due for an order. No I/O.

Every transition may be repeated, late or out of order: it happens once, and money that moved always counts.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel

from common.aggregate import Aggregate
from common.errors import Conflict, Declined, Invalid, NotFound
from common.events import (
    Currency,
    Event,
    MinorUnits,
    OrderCancelled,
    OrderId,
    OrderPaid,
    OrderState,
    PaymentCaptured,
    PaymentFailed,
    PaymentProcessing,
    PaymentRefunded,
    ProviderCalled,
    ProviderOperation,
    ProviderOutcome,
    UserId,
)
from common.ids import new_id

ANSWER_GRACE = timedelta(seconds=2)
"""How long the request that wrote an intent has to finish it. Then the leased work finishes it."""

WEBHOOK_GRACE = timedelta(seconds=10)
"""How long after the answer "processing" Souk waits for the webhook before it asks the gateway."""


class OrderNotFound(NotFound):
    """No such order, or another buyer's."""

    code = "order_not_found"


class PaymentNotFound(NotFound):
    """No such payment."""

    code = "payment_not_found"


class OrderNotPayable(Conflict):
    """The order is settled or its hold is over, or a payment for it is under way."""

    code = "order_not_payable"


class UnknownPaymentMethod(Invalid):
    """The gateway has no payment method of that name."""

    code = "unknown_payment_method"


class CardDeclined(Declined):
    """The gateway answered, and no money moved."""

    code = "card_declined"


class NotCaptured(Conflict):
    """There is no money to refund."""

    code = "not_captured"


class DueState(StrEnum):
    """Whether an order still has to be paid."""

    OPEN = "open"
    CANCELLED = "cancelled"
    PAID = "paid"


class Due(BaseModel):
    """What a buyer owes for an order, according to its event with `order_version`."""

    id: OrderId
    order_version: int
    buyer_id: UserId
    amount: MinorUnits
    currency: Currency
    expires_at: AwareDatetime
    state: DueState

    @classmethod
    def of(cls, order: OrderState) -> Self:
        """The amount due for an order."""
        match order:
            case OrderCancelled():
                state = DueState.CANCELLED
            case OrderPaid():
                state = DueState.PAID
            case _:
                state = DueState.OPEN
        return cls(
            id=order.order_id,
            order_version=order.order_version,
            buyer_id=order.buyer_id,
            amount=order.quantity * order.unit_price,
            currency=order.currency,
            expires_at=order.expires_at,
            state=state,
        )

    def check_payable(self, now: datetime) -> None:
        """Raise `OrderNotPayable` unless the order is unpaid and its hold lasts."""
        if self.state is not DueState.OPEN:
            raise OrderNotPayable(f"the order is {self.state} already")
        if now >= self.expires_at:
            raise OrderNotPayable("the time to pay this order is over")


class PaymentStatus(StrEnum):
    """Where a payment stands."""

    CREATED = "created"  # the intent is written; whether the gateway was asked is not known yet
    PROCESSING = "processing"
    CAPTURED = "captured"
    REFUND_DUE = "refund_due"
    REFUNDED = "refunded"
    FAILED = "failed"


class PublicStatus(StrEnum):
    """Where a payment stands, as its buyer sees it."""

    PROCESSING = "processing"
    CAPTURED = "captured"
    REFUNDED = "refunded"
    FAILED = "failed"


PUBLIC = {
    PaymentStatus.CREATED: PublicStatus.PROCESSING,
    PaymentStatus.PROCESSING: PublicStatus.PROCESSING,
    PaymentStatus.CAPTURED: PublicStatus.CAPTURED,
    PaymentStatus.REFUND_DUE: PublicStatus.CAPTURED,
    PaymentStatus.REFUNDED: PublicStatus.REFUNDED,
    PaymentStatus.FAILED: PublicStatus.FAILED,
}


class Payment(Aggregate):
    """One try to take the whole amount of one order from one payment method."""

    order_id: str
    buyer_id: str
    amount: MinorUnits
    currency: Currency
    method: str
    hold_ends_at: datetime
    status: PaymentStatus = PaymentStatus.CREATED
    live_order: str | None = None
    """The order's id, until the payment failed or was refunded. Unique, so an order has one live payment."""
    request_key: str | None = None
    """The buyer's Idempotency-Key: unique among the payments of the buyer."""
    answer: PublicStatus | None = None
    """The answer to the request for this payment. It never changes, so a repeated request gets the same."""
    reference: str = ""
    """The gateway's id of the charge, as soon as it is known."""
    client_secret: str | None = None
    """What the buyer's page needs while the gateway waits for a confirmation. Only the buyer may see it."""
    failure_reason: str | None = None
    refund_reason: str | None = None
    refund_cause: dict[str, Any] | None = None
    """The cause of the refund, as events carry it. The refund itself happens later, with the same cause."""
    check_at: datetime | None = None
    """When the leased work looks at this payment, unless it is settled before."""
    tries: int = 0
    """How often the leased work looked at it in its present status."""

    @classmethod
    def begin(cls, due: Due, *, method: str, request_key: str | None, now: datetime) -> Self:
        """The intent to take what is due. Raises `OrderNotPayable`."""
        due.check_payable(now)
        return cls(
            id=new_id(),
            order_id=due.id,
            buyer_id=due.buyer_id,
            amount=due.amount,
            currency=due.currency,
            method=method,
            hold_ends_at=due.expires_at,
            live_order=due.id,
            request_key=request_key,
            check_at=now + ANSWER_GRACE,
        )

    @property
    def public_status(self) -> PublicStatus:
        """The status as the buyer sees it."""
        return PUBLIC[self.status]

    @property
    def reason(self) -> str | None:
        """Why it failed, or why it is refunded."""
        match self.status:
            case PaymentStatus.FAILED:
                return self.failure_reason
            case PaymentStatus.REFUND_DUE | PaymentStatus.REFUNDED:
                return self.refund_reason
            case _:
                return None

    def process(self, reference: str, now: datetime, client_secret: str | None = None) -> None:
        """The gateway is working, or waits for the buyer to confirm. Changes nothing if the payment is settled."""
        if self.status is PaymentStatus.CREATED:
            self.status = PaymentStatus.PROCESSING
            self.reference = reference
            self._check(now + WEBHOOK_GRACE)
            self.leave_open()
        if self.status is PaymentStatus.PROCESSING:
            self.client_secret = client_secret

    def capture(self, reference: str) -> None:
        """The gateway has the money. Capturing twice is capturing once.

        This also holds after a failure: the gateway knows where the money is. The order does not become live again
        then, because another payment may be live for it; orders finishes the order or has the money refunded.
        """
        if self.status in {PaymentStatus.CREATED, PaymentStatus.PROCESSING, PaymentStatus.FAILED}:
            self.status = PaymentStatus.CAPTURED
            self.reference = reference
            self.client_secret = None
            self._check(None)
            self._answer(PublicStatus.CAPTURED)
            self.record(PaymentCaptured(**self._state()))

    def fail(self, reference: str, reason: str) -> None:
        """No money moved, so the order may be paid in another way. Changes nothing once money has moved."""
        if self.status in {PaymentStatus.CREATED, PaymentStatus.PROCESSING}:
            self.status = PaymentStatus.FAILED
            self.reference = reference
            self.failure_reason = reason
            self.client_secret = None
            self.live_order = None
            self._check(None)
            self._answer(PublicStatus.FAILED)
            self.record(PaymentFailed(**self._state(), reason=reason))

    def leave_open(self) -> None:
        """Answer, once, that the payment is processing: the outcome comes later."""
        if self.answer is None:
            self.answer = PublicStatus.PROCESSING
            self.record(PaymentProcessing(**self._state()))

    def owe_refund(self, reason: str, now: datetime, cause: dict[str, Any] | None = None) -> None:
        """The money must be refunded, once. Raises `NotCaptured` while there is none."""
        match self.status:
            case PaymentStatus.CAPTURED:
                self.status = PaymentStatus.REFUND_DUE
                self.refund_reason = reason
                self.refund_cause = cause
                self._check(now)
            case PaymentStatus.REFUND_DUE | PaymentStatus.REFUNDED:
                return
            case PaymentStatus.CREATED | PaymentStatus.PROCESSING | PaymentStatus.FAILED:
                raise NotCaptured(f"payment {self.id} is {self.status}; there is no money to refund")

    def refunded(self) -> None:
        """The gateway has refunded the money. Raises `NotCaptured` if no refund was due."""
        match self.status:
            case PaymentStatus.REFUND_DUE:
                self.status = PaymentStatus.REFUNDED
                self.live_order = None
                self._check(None)
                self.record(PaymentRefunded(**self._state(), reason=self.refund_reason or ""))
            case PaymentStatus.REFUNDED:
                return
            case _:
                raise NotCaptured(f"payment {self.id} is {self.status}; no refund is due")

    def provider_called(
        self, operation: ProviderOperation, outcome: ProviderOutcome, reference: str | None, milliseconds: int
    ) -> None:
        """Record a call to the gateway, for the payment's timeline. Changes no state."""
        self.record(
            ProviderCalled(
                payment_id=self.id,
                payment_version=self.next_version,
                order_id=self.order_id,
                operation=operation,
                outcome=outcome,
                reference=reference,
                milliseconds=milliseconds,
            )
        )

    def restated(self) -> list[Event]:
        """Where the money is. Of an intent that nobody has heard of, nothing."""
        state = {**self._state(), "payment_version": self.version, "restated": True}
        match self.status:
            case PaymentStatus.CREATED:
                return []
            case PaymentStatus.PROCESSING:
                return [PaymentProcessing(**state)]
            case PaymentStatus.CAPTURED | PaymentStatus.REFUND_DUE:
                return [PaymentCaptured(**state)]
            case PaymentStatus.REFUNDED:
                return [PaymentRefunded(**state, reason=self.refund_reason or "")]
            case PaymentStatus.FAILED:
                return [PaymentFailed(**state, reason=self.failure_reason or "")]

    def _answer(self, status: PublicStatus) -> None:
        self.answer = self.answer or status

    def _check(self, at: datetime | None) -> None:
        self.check_at = at
        self.tries = 0

    def _state(self) -> dict[str, Any]:
        return {
            "payment_id": self.id,
            "payment_version": self.next_version,
            "order_id": self.order_id,
            "buyer_id": self.buyer_id,
            "amount": self.amount,
            "currency": self.currency,
        }
