"""What Stripe's objects mean, and the parameters of what is asked of it. No I/O."""

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from stripe import APIError, PaymentIntent
from stripe import Dispute as StripeDispute
from stripe import Refund as StripeRefund
from stripe.params import PaymentIntentCreateParams

from common.events import DisputeStatus
from common.ids import minted_at
from payments.gateways.port import Charge, Dispute, Refunds

IDEMPOTENCY_KEY_LIFETIME = timedelta(hours=23)
"""Stripe forgets idempotency keys after 24 hours (docs.stripe.com/api/idempotent_requests); this is a little less."""

EVENTS = (
    "refund.failed",
    "refund.updated",
    "charge.dispute.created",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
"""What can become of a refund or dispute long after it was created. Stripe lists events for 30 days."""

HEARD = {
    *EVENTS,
    "charge.refunded",
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
}
"""The webhook calls that are about the money of a charge. Stripe sends what its endpoint was told to."""

DISPUTES = {
    "needs_response": DisputeStatus.OPEN,
    "under_review": DisputeStatus.OPEN,
    "won": DisputeStatus.WON,
    "lost": DisputeStatus.LOST,
}
"""Disputes in which money moves. An inquiry (`warning_*`), and one that was `prevented`, leave the money here."""

FAILED = {"failed", "canceled"}
"""The statuses of a refund that gives nothing back."""


def unconfirmed(charge: Charge) -> PaymentIntentCreateParams:
    """The parameters of an intent that takes nothing: always the same for the same charge, as its key requires.

    Stripe counts in the smallest unit, as Souk does. Souk does not sell in the currencies where Stripe differs (ISK,
    UGX, those with three decimals).
    """
    return {
        "amount": charge.amount,
        "currency": charge.currency.lower(),
        "allowed_payment_method_types": ["card"],
        "capture_method": "manual",
        "metadata": {
            "payment_id": charge.payment_id,
            "order_id": charge.order_id,
            "hold_ends_at": str(int(charge.hold_ends_at.timestamp())),
        },
    }


def confirmed(charge: Charge) -> PaymentIntentCreateParams:
    """The parameters that create and confirm an intent: also always the same."""
    order = unconfirmed(charge)
    order["confirm"] = True
    order["use_stripe_sdk"] = True  # The buyer confirms on our page, through Stripe.js.
    order["confirmation_token" if charge.method.startswith("ctoken_") else "payment_method"] = charge.method
    return order


def is_forgotten(charge: Charge) -> bool:
    """Whether Stripe may have forgotten the key of a charge."""
    return time.time() - minted_at(charge.payment_id) > IDEMPOTENCY_KEY_LIFETIME.total_seconds()


def is_replayed(error: APIError) -> bool:
    """Whether asking again brings the same answer: Stripe stores even a 500 under its key."""
    return bool(error.headers and error.headers.get("idempotent-replayed"))


def reason_of(intent: PaymentIntent) -> str:
    """Why no money came. What the bank reports to the shop alone (a lost card, suspected fraud) is left out."""
    error, charge = intent.last_payment_error, intent.latest_charge
    code = error.code if error else charge.failure_code if charge and not isinstance(charge, str) else None
    return code or intent.cancellation_reason or "canceled"


def intent_named_by(thing: Any) -> str | None:
    """The id of the intent that an object of Stripe's is or belongs to."""
    field = "id" if thing["object"] == "payment_intent" else "payment_intent"
    name = thing[field] if field in thing else None  # noqa: SIM401 - an object of the SDK has no `get`
    return name if isinstance(name, str) else None


def sum_of_refunds(refunds: Sequence[StripeRefund], amount: int) -> Refunds:
    """What the refunds of a charge over `amount`, the newest first, come to."""
    failed = [refund for refund in refunds if refund.status in FAILED]
    returned = sum(refund.amount for refund in refunds if refund.status not in FAILED)
    reason = (failed[0].failure_reason or failed[0].status or "") if failed else ""
    return Refunds(returned >= amount, len(failed), reason, returned)


def newest_dispute(disputes: Sequence[StripeDispute]) -> Dispute | None:
    """The newest dispute in which money moves."""
    moving = [Dispute(DISPUTES[d.status], d.reason, d.created) for d in disputes if d.status in DISPUTES]
    return max(moving, key=lambda dispute: dispute.opened_at, default=None)


def marks_of(
    intent: PaymentIntent, refunds: Sequence[StripeRefund] = (), disputes: Sequence[StripeDispute] = ()
) -> tuple[str, ...]:
    """The marks of a captured charge, and of what became of its money."""
    charge = intent.latest_charge
    captured = (f"{charge if isinstance(charge, str) else charge.id}:captured",) if charge else ()
    return (*captured, *(mark for thing in (*refunds, *disputes) if (mark := mark_of(thing))))


def mark_of(thing: Any) -> str | None:
    """A thing of Stripe's in the state it has, or None if no money has moved by it."""
    if thing["object"] == "charge":
        return f"{thing['id']}:captured" if thing["captured"] and "payment_id" in thing["metadata"] else None
    return f"{thing['id']}:{thing['status']}"
