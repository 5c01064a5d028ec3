"""The page of an order says what happened, and what its buyer can do now."""

from datetime import UTC, datetime
from typing import Any

import pytest

from common.events import Currency
from web.clients.models import Order, Payment
from web.rendering.i18n import i18n_for
from web.rendering.order_summary import OrderSummary, summary_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def summary(payments: tuple[str, ...] = (), client_secret: str | None = None, **order: Any) -> OrderSummary:
    """The summary of an order whose payments have these statuses, newest first."""
    fields: dict[str, Any] = {
        "id": "o1",
        "buyer_name": "Bo",
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
    attempts = [Payment(status=status, client_secret=client_secret) for status in payments]
    return summary_of(Order(**{**fields, **order}), attempts, i18n_for("en"))


def test_a_buyer_whose_bank_waits_for_them_gets_what_they_need_to_confirm() -> None:
    found = summary(("processing",), client_secret="pi_secret")

    assert "with your bank" in found.text
    assert found.client_secret == "pi_secret"
    assert summary(("failed", "processing"), client_secret=None).client_secret is None


@pytest.mark.parametrize(
    ("payments", "order", "text"),
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
def test_the_headline_and_text_of_an_order(payments: tuple[str, ...], order: dict[str, Any], text: str) -> None:
    found = summary(payments, **order)

    assert text in f"{found.headline}. {found.text}"


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
    found = summary(payments, **order)

    assert (found.payable, found.moving) == (payable, moving)
