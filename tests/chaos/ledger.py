"""Where the money of a charge is: what the provider's ledger says of it, and what Souk says of its payment. Pure."""

from collections.abc import Mapping
from datetime import datetime

from tests.chaos.history import Json

NOTHING, SOUK, BUYER, BANK = "nothing moved", "captured", "refunded", "disputed"
"""Nobody was charged; the money is here; it went back; the buyer's bank has it."""

STATUSES: Mapping[str, str] = {
    "failed": NOTHING,
    "released": NOTHING,
    "captured": SOUK,
    "refunded": BUYER,
    "refund_failed": SOUK,
    "disputed": BANK,
}
"""Where the money is, for each status that a payment can end in."""


def captured(charge: Json, now: datetime) -> bool:
    """Whether money has moved by then."""
    at = charge.get("captured_at")
    return at is not None and at <= now


def dispute_of(charge: Json, now: datetime) -> str | None:
    """How the dispute of a charge stands."""
    at = charge.get("disputed_at")
    return charge.get("dispute", "open") if captured(charge, now) and at is not None and at <= now else None


def part_in_ledger(charge: Json) -> int:
    """How much of a charge went back, if that is not all, in minor units."""
    return 0 if charge.get("refunded_at") else charge.get("part_refunded", 0)


def part_in_souk(payment: Json) -> int:
    """How much the provider must have given back of a payment, if that is not all."""
    back: int = payment.get("refunded_amount", 0)
    return back if back < payment["amount"] else 0


def split(currency: str, where: str, amount: int, part: int) -> Mapping[tuple[str, str], int]:
    """Where an amount is of which a part went back to the buyer, by currency and place."""
    return {(currency, where): amount - part, (currency, BUYER): part} if part else {(currency, where): amount}


def in_ledger(charge: Json, now: datetime) -> str:
    """Where the money is, according to the provider; but for a part that went back."""
    if not captured(charge, now):
        return NOTHING
    if dispute_of(charge, now) in {"open", "lost"}:
        return BANK
    return BUYER if charge.get("refunded_at") else SOUK


def in_souk(payment: Json) -> str:
    """Where the provider must have the money, according to Souk.

    If an operator has settled a failed refund by other means, the provider's part of it is still here.
    """
    if payment["status"] == "refunded" and payment.get("settled_by"):
        return SOUK
    return STATUSES.get(payment["status"], payment["status"])


def is_settled(payment: Json) -> bool:
    """Whether the buyer got the money by other means than the provider's."""
    return bool(payment.get("settled_by"))
