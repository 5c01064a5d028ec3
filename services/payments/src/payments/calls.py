"""A call to the gateway and its outcome, as transitions of the payment that it was made for. No I/O."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from common.events import ProviderOperation, ProviderOutcome
from payments.domain import Payment
from payments.gateways.port import (
    Answer,
    Authorized,
    Captured,
    Declined,
    Found,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnavailable,
    Processing,
    Refunds,
)
from payments.status import PaymentStatus

Transition = Callable[[Payment], None]

FAILURES: Mapping[type[Exception], ProviderOutcome] = {
    GatewayTimeout: ProviderOutcome.TIMED_OUT,
    GatewayUnavailable: ProviderOutcome.UNAVAILABLE,
    GatewayRefused: ProviderOutcome.REFUSED,
}
"""The outcome of a call that raised an error."""


@dataclass(frozen=True)
class Call:
    """A call that starts now. However it ends, the save that follows records a `ProviderCalled`."""

    operation: ProviderOperation
    began: float = field(default_factory=time.perf_counter)

    def answered(self, answer: Answer) -> Transition:
        """The gateway answered: the payment moves on."""
        match answer:
            case Authorized(reference):
                outcome, move = ProviderOutcome.AUTHORIZED, _authorize(reference)
            case Captured(reference):
                outcome, move = ProviderOutcome.CAPTURED, _capture(reference)
            case Declined(reference, reason):
                outcome, move = ProviderOutcome.DECLINED, _fail(reference, reason)
            case Processing(reference, client_secret):
                outcome, move = ProviderOutcome.PROCESSING, _process(reference, client_secret)
        return self._ended(outcome, answer.reference, move)

    def released(self, answer: Answer) -> Transition:
        """The gateway gave up an authorization, unless the money had moved already."""
        if isinstance(answer, Declined):
            return self._ended(ProviderOutcome.RELEASED, answer.reference, Payment.released)
        return self.answered(answer)

    def refunded(self, refunds: Refunds, reference: str, attempt: int) -> Transition:
        """The gateway took this attempt to send the money back, or it failed at once."""
        outcome = ProviderOutcome.REFUNDED if refunds.returned else ProviderOutcome.REFUSED
        return self._ended(outcome, reference, _refund(refunds, attempt))

    def not_found(self, reference: str) -> Transition:
        """The gateway no longer knows the charge."""
        return self._ended(ProviderOutcome.NOT_FOUND, reference)

    def failed(self, error: Exception, reference: str) -> Transition:
        """The call raised one of `FAILURES`."""
        [outcome] = [outcome for kind, outcome in FAILURES.items() if isinstance(error, kind)]
        return self._ended(outcome, reference)

    def _ended(self, outcome: ProviderOutcome, reference: str, move: Transition | None = None) -> Transition:
        milliseconds = round((time.perf_counter() - self.began) * 1000)

        def record_and_move(payment: Payment) -> None:
            payment.provider_called(self.operation, outcome, reference or None, milliseconds)
            if move:
                move(payment)

        return record_and_move


def _authorize(reference: str) -> Transition:
    return lambda payment: payment.authorize(reference, datetime.now(UTC))


def _capture(reference: str) -> Transition:
    return lambda payment: payment.capture(reference, datetime.now(UTC))


def _fail(reference: str, reason: str) -> Transition:
    return lambda payment: payment.fail(reference, reason)


def _process(reference: str, client_secret: str | None) -> Transition:
    return lambda payment: payment.process(reference, datetime.now(UTC), client_secret)


def _refund(refunds: Refunds, attempt: int) -> Transition:
    def move(payment: Payment) -> None:
        now = datetime.now(UTC)
        disputed = payment.status is PaymentStatus.DISPUTED  # Then the amount alone changes.
        if refunds.returned and not disputed:
            payment.refunded(attempt)
        elif disputed or refunds.failures > payment.failed_refunds:
            payment.note_refunds(
                refunds.reason, refunds.failures, now, returned=refunds.returned, amount=refunds.amount
            )
        elif payment.refund_attempt == attempt:
            payment.refund_failed(refunds.reason, now)

    return move


def news(found: Found) -> Sequence[Transition]:
    """What happened to the money of a charge later. Each is to be saved for itself: a version has one event."""
    moves: list[Transition] = []
    if dispute := found.dispute:
        moves.append(
            lambda payment: payment.disputed(dispute.status, dispute.reason, datetime.now(UTC), dispute.opened_at)
        )
    if (refunds := found.refunds) != Refunds():
        moves.append(
            lambda payment: payment.note_refunds(
                refunds.reason, refunds.failures, datetime.now(UTC), returned=refunds.returned, amount=refunds.amount
            )
        )
    return moves
