"""An order's buyer is told what happened, and what he can do now."""

from datetime import UTC, datetime
from typing import Any

import pytest

from common.events import Currency
from web.clients.api import Order, Payment
from web.rendering.history import Story, story_of
from web.rendering.i18n import words_for

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def told(payments: tuple[str, ...] = (), client_secret: str | None = None, **order: Any) -> Story:
    """The story of an order whose payments, newest first, stand like this."""
    fields: dict[str, Any] = {
        "id": "o1",
        "buyer_name": "Bo",
        "seller_id": "s1",
        "item_id": "i1",
        "item_title": "Lamp",
        "quantity": 1,
        "unit_price": 100,
        "total": 100,
        "currency": Currency.EUR,
        "status": "awaiting_payment",
        "placed_at": NOW,
        "expires_at": NOW,
        "cancel_reason": None,
        "late_payment": None,
        "refund_requested": False,
        "version": 1,
    }
    tries = [
        Payment(
            id=f"p{n}",
            order_id="o1",
            amount=100,
            currency=Currency.EUR,
            status=status,
            reason=None,
            client_secret=client_secret,
        )
        for n, status in enumerate(payments)
    ]
    return story_of(Order(**{**fields, **order}), tries, words_for("en"))


def test_a_buyer_whose_bank_waits_for_him_is_told_and_given_what_he_needs() -> None:
    story = told(("processing",), client_secret="pi_secret")

    assert "with your bank" in story.text
    assert story.client_secret == "pi_secret"
    assert told(("failed", "processing"), client_secret=None).client_secret is None


@pytest.mark.parametrize(
    ("payments", "order", "words"),
    [
        ((), {}, "Pay before the time is up"),
        (("failed",), {}, "Nothing was charged, and we still hold it"),
        (("processing", "failed"), {}, "being processed"),
        (("captured",), {}, "Your payment has arrived"),
        (("captured",), {"status": "paid"}, "It is yours"),
        (
            ("captured",),
            {"status": "paid", "late_payment": "accepted"},
            "came after the hold was over. The item was still free, so it is yours.",
        ),
        (("captured",), {"status": "paid", "refund_requested": True}, "on its way back"),
        (("refunded",), {"status": "refunded"}, "Your money is back"),
        ((), {"status": "expired"}, "Nothing was charged."),
        (("failed",), {"status": "expired"}, "Nothing was charged."),
        (("processing",), {"status": "expired"}, "A payment is still on its way."),
        (
            ("captured",),
            {"status": "expired", "late_payment": "rejected"},
            "The item was gone, so we are sending your money back.",
        ),
        (
            ("refunded",),
            {"status": "expired", "late_payment": "rejected"},
            "The item was gone, so we sent your money back.",
        ),
        ((), {"status": "cancelled", "cancel_reason": "buyer"}, "You cancelled this order"),
        ((), {"status": "cancelled", "cancel_reason": "withdrawn"}, "The seller has withdrawn this"),
        (
            ("processing",),
            {"status": "cancelled", "cancel_reason": "buyer"},
            "A payment that arrives now is sent back.",
        ),
        (("refunded",), {"status": "cancelled", "cancel_reason": "buyer"}, "so we sent your money back."),
    ],
)
def test_the_story_of_an_order(payments: tuple[str, ...], order: dict[str, Any], words: str) -> None:
    story = told(payments, **order)

    assert words in f"{story.headline}. {story.text}"


@pytest.mark.parametrize(
    ("payments", "order", "payable", "moving"),
    [
        ((), {}, True, False),
        (("failed",), {}, True, False),
        (("processing",), {}, False, True),
        (("captured",), {}, False, True),
        (("captured",), {"status": "paid"}, False, False),
        (("processing",), {"status": "expired"}, False, True),
        ((), {"status": "expired"}, False, False),
    ],
)
def test_an_order_is_paid_only_where_it_waits_for_money(
    payments: tuple[str, ...], order: dict[str, Any], payable: bool, moving: bool
) -> None:
    story = told(payments, **order)

    assert (story.payable, story.moving) == (payable, moving)
