"""The way back of a payment's money: refunds, and what the buyer's bank takes back. No I/O."""

from datetime import datetime
from typing import Any

from common.aggregate import Aggregate
from common.errors import Conflict
from common.events import (
    Currency,
    DisputeStatus,
    MinorUnits,
    PaymentDisputed,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundRetried,
)
from payments.status import NOTHING_MOVED, PaymentStatus

REFUNDED_BY_PROVIDER = "refunded_by_provider"
"""The reason of a refund that was made at the provider and not by Souk."""


class NotCaptured(Conflict):
    """There is no money to refund."""

    code = "not_captured"


class NoFailedRefund(NotCaptured):
    """No refund of this payment waits for an operator."""

    code = "no_failed_refund"


class Refundable(Aggregate):
    """A payment as far as its money can go back to the buyer."""

    order_id: str
    buyer_id: str
    amount: MinorUnits
    currency: Currency
    status: PaymentStatus = PaymentStatus.CREATED
    live_order: str | None = None
    """The order's id, until the payment failed, was released or refunded. Unique, so an order has one live payment."""
    refund_reason: str | None = None
    """Why the money goes back, or the authorization is released."""
    due_cause: dict[str, Any] | None = None
    """The cause of a capture, release or refund that is due, as events carry it: it happens later, with the same."""
    refund_failure: str | None = None
    refund_attempt: int = 0
    """How often a refund that had failed was asked for again. The gateway knows each as another refund."""
    failed_refunds: int = 0
    """How many refunds the gateway has reported as failed."""
    refunded_amount: MinorUnits = 0
    """How much went back at the gateway, also what somebody gave back there without Souk."""
    refunds_read: int = 0
    """How many refunds had failed when `refunded_amount` was read, which tells old reports from new ones."""
    refunded_told: MinorUnits = 0
    """How much went back as a part, as the last event said."""
    settled_by: str | None = None
    """The operator who gave the money of a failed refund back by other means, and why so."""
    settlement: str | None = None
    settled_amount: MinorUnits = 0
    """How much went back by other means, in all."""
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
            self.refunded_told = self.part_refunded
            self.record(PaymentRefundFailed(**self._state(), reason=reason, refunded_amount=self.part_refunded))

    def refunded_elsewhere(self, reason: str) -> None:
        """The provider reports a refund that Souk did not ask for, or an operator paid a failed one by other means."""
        if self.status in {PaymentStatus.CAPTURED, PaymentStatus.REFUND_DUE, PaymentStatus.REFUND_FAILED}:
            self.refund_reason = self.refund_reason or reason
            self._refunded()

    @property
    def part_refunded(self) -> int:
        """How much went back, in minor units, if that is not all."""
        return self.refunded_amount if self.refunded_amount < self.amount else 0

    def note_refunds(self, reason: str, failures: int, now: datetime, *, returned: bool, amount: int = 0) -> None:
        """The gateway reports what its refunds came to: how many failed, how much went back, and whether that is all.

        Of two reports, the one with fewer failures is older, or with as many failures the one with the smaller amount.
        During a dispute the amount alone changes: the report comes again with the end of the dispute.
        """
        amount = self.amount if returned else amount
        if failures < self.failed_refunds or (failures, amount) < (self.refunds_read, self.refunded_amount):
            return
        self.refunds_read, self.refunded_amount = failures, amount
        if self.status is not PaymentStatus.DISPUTED:
            self._follow_refunds(reason, failures, now, returned=returned)
        if not returned and amount != self.refunded_told:
            self._tell_part(reason if amount < self.refunded_told else None)

    def _follow_refunds(self, reason: str, failures: int, now: datetime, *, returned: bool) -> None:
        if failures > self.failed_refunds:
            self.failed_refunds = failures
            if not returned:
                self.refund_failed(reason, now)
        if returned:
            self.refunded_elsewhere(REFUNDED_BY_PROVIDER)

    def _tell_part(self, failure: str | None) -> None:
        before, self.refunded_told = self.refunded_told, self.refunded_amount
        self.record(
            PaymentPartlyRefunded(
                **self._state(), refunded_amount=self.refunded_told, refunded_before=before, failure=failure
            )
        )

    def refund_again(self, now: datetime, by: str, cause: dict[str, Any] | None = None) -> None:
        """Ask for a refund that has failed once more, as an operator wants it. Raises `NoFailedRefund`.

        So it does when a part went back by other means: the gateway would give that back again.
        """
        self._check_refund_failed()
        if self.settled_amount:
            raise NoFailedRefund(f"a part of payment {self.id} was settled by hand; settle the rest by hand, too")
        self.status = PaymentStatus.REFUND_DUE
        self.refund_attempt += 1
        self.due_cause = cause
        self._check(now)
        self.record(PaymentRefundRetried(**self._state(), by=by))

    def settle_refund(self, by: str, reason: str) -> None:
        """An operator has given the money of a failed refund back by other means. Raises `NoFailedRefund`."""
        self._check_refund_failed()
        self.settled_by, self.settlement = by, reason
        self.settled_amount = self.amount - self.part_refunded
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

    def _check_refund_failed(self) -> None:
        if self.status is not PaymentStatus.REFUND_FAILED:
            raise NoFailedRefund(f"payment {self.id} is {self.status}; no refund has failed")

    def _refunded(self) -> None:
        self.status = PaymentStatus.REFUNDED
        if not self.settled_by:
            self.refunds_read, self.refunded_amount = max(self.refunds_read, self.failed_refunds), self.amount
        self.live_order = None
        self.refund_failure = None
        self._check(None)
        self.record(PaymentRefunded(**self._state(), **self._refund()))

    def _refund(self) -> dict[str, Any]:
        return {
            "reason": self.refund_reason or "",
            "settled_by": self.settled_by,
            "settlement": self.settlement,
            "refunded_before": self.refunded_told,
        }

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
