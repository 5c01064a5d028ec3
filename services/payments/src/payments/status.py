"""Where a payment stands. No I/O."""

from enum import StrEnum


class PaymentStatus(StrEnum):
    """Where a payment stands."""

    CREATED = "created"  # the intent is written; whether the gateway was asked is not known yet
    ABANDON_DUE = "abandon_due"  # too late: the gateway must take nothing, or give up what it keeps ready
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
    PaymentStatus.ABANDON_DUE: PublicStatus.PROCESSING,
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
    {
        PaymentStatus.CREATED,
        PaymentStatus.ABANDON_DUE,
        PaymentStatus.PROCESSING,
        PaymentStatus.AUTHORIZED,
        PaymentStatus.CAPTURE_DUE,
    }
)
"""Statuses in which the payment may still be captured or fail."""

NOTHING_MOVED = NOT_YET_MOVED | {PaymentStatus.FAILED, PaymentStatus.RELEASE_DUE, PaymentStatus.RELEASED}
"""Statuses in which Souk knows of no money."""

TROUBLE = (PaymentStatus.REFUND_FAILED, PaymentStatus.DISPUTED)
"""Statuses that an operator should look at. A lost dispute is final: the bank has the money, nothing is left to do."""
