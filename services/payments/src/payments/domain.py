"""Payments, until their money has moved; what comes after that is in `payments.refunds`. No I/O.

A card is authorized first; orders says whether the units are the buyer's; then the money is captured, or the
authorization released (docs/decisions/authorise-ask-capture.md). Every transition may be repeated, late or out of
order: it happens once, and money that moved always counts.
"""

from datetime import datetime, timedelta
from typing import Any, Self

from common.errors import Conflict, Declined, Invalid, NotFound
from common.events import (
    DisputeStatus,
    Event,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentPartlyRefunded,
    PaymentProcessing,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentReleased,
    ProviderCalled,
    ProviderOperation,
    ProviderOutcome,
)
from common.ids import new_id
from payments.due import Due
from payments.gateways.port import ABANDONED
from payments.refunds import Refundable
from payments.status import NOT_YET_MOVED, NOTHING_MOVED, PUBLIC, PaymentStatus, PublicStatus

ANSWER_GRACE = timedelta(seconds=2)
"""How long the request that wrote an intent has to finish it. Then the leased work finishes it."""

WEBHOOK_GRACE = timedelta(seconds=10)
"""How long after the answer "processing" Souk waits for the webhook before it asks the gateway."""


class PaymentNotFound(NotFound):
    """No such payment."""

    code = "payment_not_found"


class UnknownPaymentMethod(Invalid):
    """The gateway has no payment method of that name."""

    code = "unknown_payment_method"


class CardDeclined(Declined):
    """The gateway answered, and no money moved."""

    code = "card_declined"


class NotAuthorized(Conflict):
    """There is no authorization to capture."""

    code = "not_authorized"


class Payment(Refundable):
    """One try to take the whole amount of one order from one payment method."""

    method: str
    hold_ends_at: datetime
    request_key: str | None = None
    """The buyer's Idempotency-Key: unique among the payments of the buyer."""
    answer: PublicStatus | None = None
    """The answer to the request for this payment. It never changes, so a repeated request gets the same."""
    reference: str = ""
    """The gateway's id of the charge, as soon as it is known."""
    client_secret: str | None = None
    """What the buyer's page needs while the gateway waits for a confirmation. Only the buyer may see it."""
    failure_reason: str | None = None

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

    def abandon(self) -> None:
        """The order can't be paid any more: from now on an authorization is given up. Too late once it is known."""
        if self.status is PaymentStatus.CREATED:
            self.status = PaymentStatus.ABANDON_DUE

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

        Of a payment that has failed or is to be abandoned, the authorization is released.
        """
        match self.status:
            case PaymentStatus.CREATED | PaymentStatus.PROCESSING:
                self.status = PaymentStatus.AUTHORIZED
                self.reference = reference
                self.client_secret = None
                self._check(now + WEBHOOK_GRACE)
                self.record(PaymentAuthorized(**self._state()))
            case PaymentStatus.ABANDON_DUE:
                self.reference = reference
                self._answer(PublicStatus.RELEASED)
                self._owe_release(ABANDONED, now, None)
            case PaymentStatus.FAILED:
                self.reference = reference
                self._owe_release(self.failure_reason or "", now, None)

    def accepted(self, now: datetime, cause: dict[str, Any] | None = None) -> None:
        """Orders keeps the units for this payment: the money must be captured, once.

        If the payment has ended without money meanwhile, that is said again: orders learns it after it accepted. Raises
        `NotAuthorized` if it never was authorized.
        """
        match self.status:
            case PaymentStatus.CREATED | PaymentStatus.ABANDON_DUE | PaymentStatus.PROCESSING:
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
        """Where the money is. Of an intent that nobody has heard of, nothing.

        What came after the capture does not tell an order that it is paid, so the capture is stated before it. Before
        everything, that a dispute is over: what is stated after it is what the payment is.
        """
        state = {**self._state(), "payment_version": self.version, "restated": True}
        won = [self._dispute_restated(state)] if self.dispute is DisputeStatus.WON else []
        return [*won, *self._restated(self.status, state)]

    def _restated(self, status: PaymentStatus, state: dict[str, Any]) -> list[Event]:
        match status:
            case PaymentStatus.CREATED | PaymentStatus.ABANDON_DUE:
                return []
            case PaymentStatus.PROCESSING:
                return [PaymentProcessing(**state)]
            case PaymentStatus.AUTHORIZED | PaymentStatus.CAPTURE_DUE | PaymentStatus.RELEASE_DUE:
                return [PaymentAuthorized(**state)]
            case PaymentStatus.CAPTURED | PaymentStatus.REFUND_DUE:
                return [PaymentCaptured(**state), *self._part_restated(state)]
            case PaymentStatus.RELEASED:
                return [PaymentReleased(**state, reason=self.refund_reason or "")]
            case PaymentStatus.REFUNDED:
                return [PaymentRefunded(**state, **self._refund())]
            case PaymentStatus.REFUND_FAILED:
                reason, amount = self.refund_failure or "", self.part_refunded
                failed = PaymentRefundFailed(**state, reason=reason, refunded_amount=amount)
                return [PaymentCaptured(**state), failed]
            case PaymentStatus.DISPUTED:
                before = self._restated(self.before_dispute or PaymentStatus.CAPTURED, state)
                return [*before, self._dispute_restated(state)]
            case PaymentStatus.FAILED:
                return [PaymentFailed(**state, reason=self.failure_reason or "")]

    def _dispute_restated(self, state: dict[str, Any]) -> Event:
        dispute = self.dispute or DisputeStatus.OPEN
        return PaymentDisputed(**state, reason=self.dispute_reason or "", dispute=dispute)

    def _part_restated(self, state: dict[str, Any]) -> list[Event]:
        return [PaymentPartlyRefunded(**state, refunded_amount=self.part_refunded)] if self.part_refunded else []

    def _owe_release(self, reason: str, now: datetime, cause: dict[str, Any] | None) -> None:
        self.status = PaymentStatus.RELEASE_DUE
        self.refund_reason = reason
        self.due_cause = cause
        self._check(now)

    def _answer(self, status: PublicStatus) -> None:
        self.answer = self.answer or status
