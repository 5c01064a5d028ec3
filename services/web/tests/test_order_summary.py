"""The page of an order says what happened, and what its buyer can do now."""

from datetime import UTC, datetime
from typing import Any

import pytest

from common.events import Currency
from web.clients.models import Order, Payment
from web.rendering.i18n import i18n_for
from web.rendering.order_summary import OrderSummary, Tone, status_of, summary_of, tone_of

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def order(**changes: Any) -> Order:
    """An order that awaits its payment, or what these changes make of it."""
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
    return Order(**{**fields, **changes})


def summary(payments: tuple[str, ...] = (), client_secret: str | None = None, **changes: Any) -> OrderSummary:
    """The summary of an order whose payments have these statuses, newest first."""
    attempts = [Payment(status=status, client_secret=client_secret) for status in payments]
    return summary_of(order(**changes), attempts, i18n_for("en"))


def test_who_refunded_is_said_where_it_was_the_seller() -> None:
    assert "The seller" in summary(("refunded",), status="refunded", refund_requested=True).text
    assert "The seller" not in summary(("refunded",), status="refunded").text


def test_a_refund_that_orders_has_not_heard_of_is_awaited() -> None:
    found = summary(("refunded",), status="paid")

    assert (found.headline, found.moving) == ("Your money is on its way back", True)
    assert summary(("refunded", "captured"), status="paid").headline == "It is yours"  # Somebody paid it twice.


def test_money_that_a_bank_has_is_not_said_to_be_safe_with_us() -> None:
    assert summary(("disputed",), status="paid", refund_failure="expired_card").headline == "This payment is disputed"


@pytest.mark.parametrize("dispute", ["open", "lost"])
def test_money_that_a_bank_has_is_not_said_to_be_on_its_way_while_payments_is_away(dispute: str) -> None:
    asked = order(status="paid", refund_requested=True, dispute=dispute)

    found = summary_of(asked, None, i18n_for("en"))

    assert (found.headline, found.moving) == ("This payment is disputed", False)


@pytest.mark.parametrize(("dispute", "under_way"), [(None, True), ("open", False), ("won", True), ("lost", False)])
def test_a_refund_is_under_way_or_possible_unless_a_bank_has_the_money(dispute: str | None, under_way: bool) -> None:
    assert order(status="paid", refund_requested=True, dispute=dispute).refund_under_way is under_way
    assert order(status="paid", dispute=dispute).refundable is under_way


def test_a_buyer_whose_bank_waits_for_them_gets_what_they_need_to_confirm() -> None:
    found = summary(("processing",), client_secret="pi_secret")

    assert "with your bank" in found.text
    assert found.client_secret == "pi_secret"
    assert summary(("failed", "processing"), client_secret=None).client_secret is None


@pytest.mark.parametrize(
    ("payments", "changes", "text"),
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
        (("authorized",), {"status": "expired"}, "A payment is still on its way."),
        (("authorized",), {}, "Your bank has agreed. We are finishing your order."),
        (("authorized",), {"accepted_payment": "p"}, "Your bank has agreed, and we keep it for you."),
        (("captured",), {"accepted_payment": "p"}, "Your payment is being made"),
        (("released",), {}, "Nothing was charged, and we still hold it"),
        (
            ("authorized",),
            {"status": "expired", "late_payment": "rejected"},
            "The item was gone, so nothing was charged.",
        ),
        (
            ("released",),
            {"status": "expired", "late_payment": "rejected"},
            "The item was gone, so nothing was charged.",
        ),
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
            "A payment that is still on its way is not taken, or sent back.",
        ),
        (("released",), {"status": "cancelled", "cancel_reason": "buyer"}, "Nothing was charged."),
        (
            ("failed",),
            {"status": "cancelled", "cancel_reason": "payment_failed", "payment_failure": "capture_refused"},
            "Your bank agreed at first, but then did not pay. What we held for you is back on sale."
            " The reason it gave: capture refused. Nothing was charged.",
        ),
        (("refund_failed",), {"status": "refunded"}, "We could not send your money back"),
        (("captured",), {"status": "paid", "refund_requested": True, "refund_failure": "x"}, "did not take it"),
        (("refund_failed",), {"status": "expired", "late_payment": "rejected"}, "Your money is safe with us"),
        (("disputed",), {"status": "paid"}, "You have asked your bank to take this payment back."),
        (("refunded",), {"status": "cancelled", "cancel_reason": "buyer"}, "so we sent your money back."),
    ],
)
def test_the_headline_and_text_of_an_order(payments: tuple[str, ...], changes: dict[str, Any], text: str) -> None:
    found = summary(payments, **changes)

    assert text in f"{found.headline}. {found.text}"


@pytest.mark.parametrize(
    ("status", "said", "headline"),
    [
        ("captured", "€0.30 of €1.00 was refunded", "It is yours"),
        ("refunded", "", "Your money is on its way back"),
    ],
)
def test_a_part_that_went_back_is_said_unless_everything_did(status: str, said: str, headline: str) -> None:
    paid = Payment(status=status, refunded_amount=30)
    found = summary_of(order(status="paid"), [Payment(status="failed"), paid], i18n_for("en"))

    assert (found.part, found.headline) == (said, headline)


@pytest.mark.parametrize(
    ("payments", "changes", "payable", "moving"),
    [
        ((), {}, True, False),
        (("failed",), {}, True, False),
        (("processing",), {}, False, True),
        (("captured",), {}, False, True),
        (("captured",), {"status": "paid"}, False, False),
        (("processing",), {"status": "expired"}, False, True),
        ((), {"status": "expired"}, False, False),
        (("authorized",), {}, False, True),
        (("authorized",), {"accepted_payment": "p"}, False, True),
        (("failed",), {"accepted_payment": "p"}, False, True),
        (("released",), {}, True, False),
        (("released",), {"status": "expired", "late_payment": "rejected"}, False, False),
        (("authorized",), {"status": "expired", "late_payment": "rejected"}, False, True),
        (("failed",), {"status": "cancelled", "cancel_reason": "payment_failed"}, False, False),
        (("disputed",), {"status": "paid"}, False, False),
    ],
)
def test_an_order_is_paid_only_where_it_waits_for_money(
    payments: tuple[str, ...], changes: dict[str, Any], payable: bool, moving: bool
) -> None:
    found = summary(payments, **changes)

    assert (found.payable, found.moving) == (payable, moving)


def test_the_clock_runs_and_an_order_can_be_cancelled_until_a_payment_is_accepted() -> None:
    assert order().held
    assert not order(accepted_payment="p").held
    assert not order(status="paid").held


@pytest.mark.parametrize(
    ("changes", "word", "tone"),
    [
        ({}, "Awaiting payment", Tone.WAITING),
        ({"accepted_payment": "p"}, "Being paid", Tone.WAITING),
        ({"status": "paid"}, "Paid", Tone.GOOD),
        ({"status": "paid", "refund_requested": True}, "Refund under way", Tone.GOOD),
        ({"status": "paid", "refund_requested": True, "refund_failure": "x"}, "Refund failed", Tone.BAD),
        ({"status": "refunded", "refund_failure": "x"}, "Refund failed", Tone.BAD),
        ({"status": "paid", "refund_requested": True, "dispute": "open"}, "Disputed", Tone.BAD),
        ({"status": "paid", "refund_failure": "x", "dispute": "lost"}, "Taken back by the bank", Tone.BAD),
        ({"status": "paid", "dispute": "won"}, "Paid", Tone.GOOD),
        ({"status": "cancelled", "cancel_reason": "payment_failed"}, "Cancelled", Tone.OVER),
    ],
)
def test_an_order_in_a_list_has_a_word_and_a_colour(changes: dict[str, Any], word: str, tone: Tone) -> None:
    assert status_of(order(**changes), i18n_for("en")) == word
    assert tone_of(order(**changes)) is tone


@pytest.mark.parametrize(
    ("payments", "counting", "cancellable"),
    [
        ((), True, True),
        (("failed",), True, True),
        (("processing",), False, True),
        (("authorized",), False, False),
        (("captured",), False, False),
    ],
)
def test_no_time_runs_while_a_payment_is_made(payments: tuple[str, ...], counting: bool, cancellable: bool) -> None:
    found = summary(payments)

    assert (found.counting, found.cancellable) == (counting, cancellable)


@pytest.mark.parametrize("status", ["awaiting_payment", "expired", "cancelled"])
def test_an_order_whose_payments_nobody_knows_promises_nothing_about_money(status: str) -> None:
    found = summary_of(order(status=status), None, i18n_for("en"))

    assert found.moving
    assert not found.payable
    assert "charged" not in found.text
    assert summary_of(order(status="paid"), None, i18n_for("en")).headline == "It is yours"
