"""Payments, and what is due for an order. No I/O.

A card is authorized first; orders says whether the units are the buyer's; then the money is captured, or the
authorization released (docs/decisions/authorise-ask-capture.md). Every transition may be repeated, late or out of
order: it happens once, and money that moved always counts.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel

from common.aggregate import Aggregate
from common.errors import Conflict, Declined, Invalid, NotFound
from common.events import (
    Currency,
    DisputeStatus,
    Event,
    MinorUnits,
    OrderCancelled,
    OrderId,
    OrderPaid,
    OrderPaymentAccepted,
    OrderState,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentProcessing,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundRetried,
    PaymentReleased,
    ProviderCalled,
    ProviderOperation,
    ProviderOutcome,
    UserId,
)
from common.ids import new_id

ANSWER_GRACE = timedelta(seconds=2)
"""How long the request that wrote an intent has to finish it. Then the leased work finishes it."""

REFUNDED_BY_PROVIDER = "refunded_by_provider"
"""The reason of a refund that was made at the provider and not by Souk."""

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


class NoFailedRefund(NotCaptured):
    """No refund of this payment waits for an operator."""

    code = "no_failed_refund"


class NotAuthorized(Conflict):
    """There is no authorization to capture."""

    code = "not_authorized"


class DueState(StrEnum):
    """Whether an order still has to be paid."""

    OPEN = "open"
    CANCELLED = "cancelled"
    ACCEPTED = "accepted"  # a payment is being captured
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
            case OrderPaymentAccepted():
                state = DueState.ACCEPTED
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
        if self.state is DueState.ACCEPTED:
            raise OrderNotPayable("a payment for this order is under way")
        if self.state is not DueState.OPEN:
            raise OrderNotPayable(f"the order is {self.state} already")
        if now >= self.expires_at:
            raise OrderNotPayable("the time to pay this order is over")


class PaymentStatus(StrEnum):
    """Where a payment stands."""

    CREATED = "created"  # the intent is written; whether the gateway was asked is not known yet
    PROCESSING = "processing"
    AUTHORIZED = "authorized"  # orders is asked
    CAPTURE_DUE = "capture_due"
    CAPTURED = "captured"
    RELEASE_DUE = "release_due"
    RELEASED = "released"
    REFUND_DUE = "refund_due"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    DISPUTED = "disputed"
    FAILED = "failed"


class PublicStatus(StrEnum):
    """Where a payment stands, as its buyer sees it."""

    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    RELEASED = "released"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    DISPUTED = "disputed"
    FAILED = "failed"


PUBLIC = {
    PaymentStatus.CREATED: PublicStatus.PROCESSING,
    PaymentStatus.PROCESSING: PublicStatus.PROCESSING,
    PaymentStatus.AUTHORIZED: PublicStatus.AUTHORIZED,
    PaymentStatus.CAPTURE_DUE: PublicStatus.AUTHORIZED,
    PaymentStatus.CAPTURED: PublicStatus.CAPTURED,
    PaymentStatus.RELEASE_DUE: PublicStatus.AUTHORIZED,
    PaymentStatus.RELEASED: PublicStatus.RELEASED,
    PaymentStatus.REFUND_DUE: PublicStatus.CAPTURED,
    PaymentStatus.REFUNDED: PublicStatus.REFUNDED,
    PaymentStatus.REFUND_FAILED: PublicStatus.REFUND_FAILED,
    PaymentStatus.DISPUTED: PublicStatus.DISPUTED,
    PaymentStatus.FAILED: PublicStatus.FAILED,
}

NOT_YET_MOVED = frozenset(
    {PaymentStatus.CREATED, PaymentStatus.PROCESSING, PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURE_DUE}
)
"""Statuses in which the payment may still be captured or fail."""

NOTHING_MOVED = NOT_YET_MOVED | {PaymentStatus.FAILED, PaymentStatus.RELEASE_DUE, PaymentStatus.RELEASED}
"""Statuses in which Souk knows of no money."""


TROUBLE = (PaymentStatus.REFUND_FAILED, PaymentStatus.DISPUTED)
"""Statuses that an operator should look at. A lost dispute is final: the bank has the money, nothing is left to do."""


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
    """The order's id, until the payment failed, was released or refunded. Unique, so an order has one live payment."""
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
    """Why the money goes back, or the authorization is released."""
    due_cause: dict[str, Any] | None = None
    """The cause of a capture, release or refund that is due, as events carry it: it happens later, with the same."""
    refund_failure: str | None = None
    refund_attempt: int = 0
    """How often a refund that had failed was asked for again. The gateway knows each as another refund."""
    failed_refunds: int = 0
    """How many refunds the gateway has reported as failed."""
    settled_by: str | None = None
    """The operator who gave the money of a failed refund back by other means, and why so."""
    settlement: str | None = None
    dispute: DisputeStatus | None = None
    dispute_opened_at: int = 0
    """In Unix seconds, as the gateway tells it."""
    dispute_reason: str | None = None
    in_trouble_since: datetime | None = None
    """When the last trouble began, which may be over."""
    before_dispute: PaymentStatus | None = None
    """The status that comes back when the dispute is won."""
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
            case PaymentStatus.RELEASE_DUE | PaymentStatus.RELEASED | PaymentStatus.REFUND_DUE | PaymentStatus.REFUNDED:
                return self.refund_reason
            case PaymentStatus.REFUND_FAILED:
                return self.refund_failure
            case PaymentStatus.DISPUTED:
                return self.dispute_reason
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

    def authorize(self, reference: str, now: datetime) -> None:
        """The bank keeps the amount ready: orders is asked what becomes of it. Authorizing twice is once.

        Of a payment that has failed, the authorization is released.
        """
        match self.status:
            case PaymentStatus.CREATED | PaymentStatus.PROCESSING:
                self.status = PaymentStatus.AUTHORIZED
                self.reference = reference
                self.client_secret = None
                self._check(now + WEBHOOK_GRACE)
                self.record(PaymentAuthorized(**self._state()))
            case PaymentStatus.FAILED:
                self.reference = reference
                self._owe_release(self.failure_reason or "", now, None)

    def accepted(self, now: datetime, cause: dict[str, Any] | None = None) -> None:
        """Orders keeps the units for this payment: the money must be captured, once.

        If the payment has ended without money meanwhile, that is said again: orders learns it after it accepted. Raises
        `NotAuthorized` if it never was authorized.
        """
        match self.status:
            case PaymentStatus.CREATED | PaymentStatus.PROCESSING:
                raise NotAuthorized(f"payment {self.id} is {self.status}; nothing is authorized")
            case PaymentStatus.AUTHORIZED:
                self.status = PaymentStatus.CAPTURE_DUE
                self.due_cause = cause
                self._check(now)
            case PaymentStatus.FAILED:
                self.record(PaymentFailed(**self._state(), reason=self.failure_reason or ""))
            case PaymentStatus.RELEASED:
                self.record(PaymentReleased(**self._state(), reason=self.refund_reason or ""))

    def capture(self, reference: str, now: datetime) -> None:
        """The gateway has the money. Capturing twice is capturing once.

        This also holds after a failure: the gateway knows where the money is. The order does not become live again
        then, because another payment may be live for it; orders finishes the order or has the money refunded. A payment
        that orders has rejected already is refunded at once.
        """
        rejected = self.status in NOTHING_MOVED and self.refund_reason is not None
        if self.status in NOTHING_MOVED:
            self.status = PaymentStatus.CAPTURED
            self.reference = reference
            self.client_secret = None
            self._check(None)
            self._answer(PublicStatus.CAPTURED)
            self.record(PaymentCaptured(**self._state()))
        if rejected:
            self.owe_refund(self.refund_reason or "", now, self.due_cause)

    def fail(self, reference: str, reason: str) -> None:
        """No money moved, and none will, so the order may be paid in another way.

        Changes nothing once money has moved. An authorization that was to be released is released by that.
        """
        if self.status in NOT_YET_MOVED:
            self.status = PaymentStatus.FAILED
            self.reference = reference
            self.failure_reason = reason
            self.client_secret = None
            self.live_order = None
            self._check(None)
            self._answer(PublicStatus.FAILED)
            self.record(PaymentFailed(**self._state(), reason=reason))
        elif self.status is PaymentStatus.RELEASE_DUE:
            self.released()

    def leave_open(self) -> None:
        """Answer, once, that the payment is processing: the outcome comes later."""
        if self.answer is None:
            self.answer = PublicStatus.PROCESSING
            self.record(PaymentProcessing(**self._state()))

    def give_back(self, reason: str, now: datetime, cause: dict[str, Any] | None = None) -> None:
        """Orders does not take this payment, or the seller refunds it: release what is authorized, refund what moved.

        Raises `NotCaptured` while there may be either. Of a payment that has failed, it is kept in mind for money that
        comes nevertheless.
        """
        match self.status:
            case PaymentStatus.AUTHORIZED:
                self._answer(PublicStatus.RELEASED)
                self._owe_release(reason, now, cause)
            case PaymentStatus.FAILED if self.refund_reason is None:
                self.refund_reason, self.due_cause = reason, cause
            case PaymentStatus.FAILED | PaymentStatus.RELEASE_DUE | PaymentStatus.RELEASED:
                return
            case _:
                self.owe_refund(reason, now, cause)

    def released(self) -> None:
        """The gateway has given up the authorization. Raises `NotAuthorized` if no release was due."""
        match self.status:
            case PaymentStatus.RELEASE_DUE:
                self.status = PaymentStatus.RELEASED
                self.live_order = None
                self._check(None)
                self.record(PaymentReleased(**self._state(), reason=self.refund_reason or ""))
            case PaymentStatus.RELEASED:
                return
            case _:
                raise NotAuthorized(f"payment {self.id} is {self.status}; no release is due")

    def owe_refund(self, reason: str, now: datetime, cause: dict[str, Any] | None = None) -> None:
        """The money must be refunded, once. Raises `NotCaptured` while there is none.

        While the buyer's bank has it, the refund waits for the end of the dispute.
        """
        match self.status:
            case PaymentStatus.CAPTURED:
                self.status = PaymentStatus.REFUND_DUE
                self._check(now)
            case PaymentStatus.DISPUTED if self.before_dispute is PaymentStatus.CAPTURED:
                self.before_dispute = PaymentStatus.REFUND_DUE
            case (
                PaymentStatus.REFUND_DUE | PaymentStatus.REFUNDED | PaymentStatus.REFUND_FAILED | PaymentStatus.DISPUTED
            ):
                return
            case _:
                raise NotCaptured(f"payment {self.id} is {self.status}; there is no money to refund")
        self.refund_reason = reason
        self.due_cause = cause

    def refunded(self, attempt: int) -> None:
        """The gateway has refunded the money. Raises `NotCaptured` if no refund was due.

        Changes nothing if that was another attempt than the one that is due.
        """
        match self.status:
            case PaymentStatus.REFUND_DUE if attempt != self.refund_attempt:
                return
            case PaymentStatus.REFUND_DUE:
                self._refunded()
            case PaymentStatus.REFUNDED | PaymentStatus.REFUND_FAILED | PaymentStatus.DISPUTED:
                return
            case _:
                raise NotCaptured(f"payment {self.id} is {self.status}; no refund is due")

    def refund_failed(self, reason: str, now: datetime) -> None:
        """The money did not arrive at the buyer's, and came back: an operator has to settle that."""
        if self.status in {PaymentStatus.REFUND_DUE, PaymentStatus.REFUNDED}:
            self.status = PaymentStatus.REFUND_FAILED
            self.in_trouble_since = now
            self.refund_failure = reason
            self._check(None)
            self.record(PaymentRefundFailed(**self._state(), reason=reason))

    def refunded_elsewhere(self, reason: str) -> None:
        """The provider reports a refund that Souk did not ask for, or an operator paid a failed one by other means."""
        if self.status in {PaymentStatus.CAPTURED, PaymentStatus.REFUND_DUE, PaymentStatus.REFUND_FAILED}:
            self.refund_reason = self.refund_reason or reason
            self._refunded()

    def note_refunds(self, reason: str, failures: int, now: datetime, *, returned: bool) -> None:
        """The gateway reports what its refunds came to: how many failed, and whether the money is `returned`.

        A report with fewer failures than are known is an old one. During a dispute nothing changes: the report comes
        again with the end of the dispute.
        """
        if failures < self.failed_refunds or self.status is PaymentStatus.DISPUTED:
            return
        if failures > self.failed_refunds:
            self.failed_refunds = failures
            self.refund_failed(reason, now)
        if returned:
            self.refunded_elsewhere(REFUNDED_BY_PROVIDER)

    def refund_again(self, now: datetime, by: str, cause: dict[str, Any] | None = None) -> None:
        """Ask for a refund that has failed once more, as an operator wants it. Raises `NoFailedRefund`."""
        self._check_refund_failed()
        self.status = PaymentStatus.REFUND_DUE
        self.refund_attempt += 1
        self.due_cause = cause
        self._check(now)
        self.record(PaymentRefundRetried(**self._state(), by=by))

    def settle_refund(self, by: str, reason: str) -> None:
        """An operator has given the money of a failed refund back by other means. Raises `NoFailedRefund`."""
        self._check_refund_failed()
        self.settled_by, self.settlement = by, reason
        self._refunded()

    def disputed(self, dispute: DisputeStatus, reason: str, now: datetime, opened_at: int = 0) -> None:
        """The buyer's bank wants the money, or has decided who gets it. Changes nothing while no money has moved.

        News of an older dispute, and that a decided one is open, is old.
        """
        known = (self.dispute_opened_at, self.dispute in {DisputeStatus.WON, DisputeStatus.LOST})
        old = bool(opened_at) and (opened_at, dispute is not DisputeStatus.OPEN) < known
        if old or self.status in NOTHING_MOVED or (dispute, opened_at) == (self.dispute, self.dispute_opened_at):
            return
        self.dispute, self.dispute_reason, self.dispute_opened_at = dispute, reason, opened_at
        if dispute is DisputeStatus.WON:
            self.status = self.before_dispute or self.status
            self.before_dispute = None
            self._check(now if self.status is PaymentStatus.REFUND_DUE else None)
        elif self.status is not PaymentStatus.DISPUTED:
            if self.status is not PaymentStatus.REFUND_FAILED:
                self.in_trouble_since = now
            self.before_dispute = self.status
            self.status = PaymentStatus.DISPUTED
            self._check(None)
        self.record(PaymentDisputed(**self._state(), reason=reason, dispute=dispute))

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
            case PaymentStatus.AUTHORIZED | PaymentStatus.CAPTURE_DUE | PaymentStatus.RELEASE_DUE:
                return [PaymentAuthorized(**state)]
            case PaymentStatus.CAPTURED | PaymentStatus.REFUND_DUE:
                return [PaymentCaptured(**state)]
            case PaymentStatus.RELEASED:
                return [PaymentReleased(**state, reason=self.refund_reason or "")]
            case PaymentStatus.REFUNDED:
                return [PaymentRefunded(**state, **self._refund())]
            case PaymentStatus.REFUND_FAILED:
                return [PaymentRefundFailed(**state, reason=self.refund_failure or "")]
            case PaymentStatus.DISPUTED:
                dispute = self.dispute or DisputeStatus.OPEN
                return [PaymentDisputed(**state, reason=self.dispute_reason or "", dispute=dispute)]
            case PaymentStatus.FAILED:
                return [PaymentFailed(**state, reason=self.failure_reason or "")]

    def _owe_release(self, reason: str, now: datetime, cause: dict[str, Any] | None) -> None:
        self.status = PaymentStatus.RELEASE_DUE
        self.refund_reason = reason
        self.due_cause = cause
        self._check(now)

    def _check_refund_failed(self) -> None:
        if self.status is not PaymentStatus.REFUND_FAILED:
            raise NoFailedRefund(f"payment {self.id} is {self.status}; no refund has failed")

    def _refunded(self) -> None:
        self.status = PaymentStatus.REFUNDED
        self.live_order = None
        self.refund_failure = None
        self._check(None)
        self.record(PaymentRefunded(**self._state(), **self._refund()))

    def _refund(self) -> dict[str, Any]:
        return {"reason": self.refund_reason or "", "settled_by": self.settled_by, "settlement": self.settlement}

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
