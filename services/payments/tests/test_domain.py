"""The rules of payments. No server."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.events import (
    CancelReason,
    Currency,
    DisputeStatus,
    Event,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPlaced,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentProcessing,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundRetried,
    PaymentReleased,
)
from payments.domain import NotAuthorized, Payment
from payments.due import Due, DueState, OrderNotPayable
from payments.refunds import NotCaptured
from payments.status import PaymentStatus, PublicStatus

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def an_order() -> OrderPlaced:
    return OrderPlaced(
        order_id="o1",
        order_version=1,
        buyer_id="b1",
        seller_id="s1",
        item_id="i1",
        item_title="Chair",
        quantity=3,
        unit_price=400,
        currency=Currency.JPY,
        expires_at=NOW + timedelta(minutes=15),
    )


def a_payment() -> Payment:
    return Payment.begin(Due.of(an_order()), method="pm", request_key="k", now=NOW)


def test_a_payment_tells_once_that_it_is_being_processed() -> None:
    heard, unheard = a_payment(), a_payment()

    heard.process("ch", NOW, "secret")
    heard.process("ch", NOW, "secret")
    heard.leave_open()
    unheard.leave_open()
    unheard.leave_open()

    for payment in (heard, unheard):
        [processing] = [event for event in payment.recorded if isinstance(event, PaymentProcessing)]
        assert (processing.payment_id, processing.buyer_id) == (payment.id, "b1")


def test_what_the_buyer_confirms_with_is_there_while_it_is_needed() -> None:
    captured, failed = a_payment(), a_payment()
    for payment in (captured, failed):
        payment.process("ch", NOW, "secret")
        assert payment.client_secret == "secret"
        assert all("secret" not in event.model_dump_json() for event in payment.recorded)

    captured.capture("ch", NOW)
    failed.fail("ch", "abandoned")

    assert captured.client_secret is failed.client_secret is None


def test_the_amount_due_is_that_of_the_whole_order() -> None:
    due = Due.of(an_order())

    assert (due.amount, due.currency, due.state) == (1200, Currency.JPY, DueState.OPEN)


def test_nothing_is_due_once_an_order_is_paid_cancelled_or_over() -> None:
    order = an_order().model_dump()

    for due, now in (
        (Due.of(OrderPaid(**order, payment_id="p1")), NOW),
        (Due.of(OrderPaymentAccepted(**order, payment_id="p1")), NOW),
        (Due.of(OrderCancelled(**order, reason=CancelReason.BUYER)), NOW),
        (Due.of(an_order()), NOW + timedelta(minutes=15)),
    ):
        with pytest.raises(OrderNotPayable):
            Payment.begin(due, method="pm", request_key=None, now=now)
    Due.of(an_order()).check_payable(NOW + timedelta(minutes=15, microseconds=-1))


def test_an_intent_tells_nobody_anything_and_holds_the_order() -> None:
    payment = a_payment()

    assert payment.recorded == ()
    assert payment.answer is None
    assert payment.live_order == "o1"
    assert payment.check_at == NOW + timedelta(seconds=2)  # should the request die, somebody else finishes


def test_nothing_moves_before_orders_keeps_the_units() -> None:
    payment = a_payment()

    payment.authorize("ch", NOW)
    payment.authorize("ch", NOW)
    assert (payment.status, payment.check_at) == (PaymentStatus.AUTHORIZED, NOW + timedelta(seconds=10))
    payment.accepted(NOW)
    payment.accepted(NOW)
    payment.authorize("ch", NOW)
    assert (payment.status, payment.check_at) == (PaymentStatus.CAPTURE_DUE, NOW)
    payment.capture("ch", NOW)
    payment.accepted(NOW)

    assert [type(event) for event in payment.recorded] == [PaymentAuthorized, PaymentCaptured]
    assert payment.answer is PublicStatus.CAPTURED


def test_what_orders_does_not_take_is_released_once_and_nothing_moves() -> None:
    payment = a_payment()
    payment.authorize("ch", NOW)

    payment.give_back("sold_out", NOW)
    payment.give_back("cancelled", NOW)
    assert (payment.status, payment.check_at, payment.live_order) == (PaymentStatus.RELEASE_DUE, NOW, "o1")
    payment.released()
    payment.released()
    payment.give_back("sold_out", NOW)

    [_, released] = payment.recorded
    assert isinstance(released, PaymentReleased)
    assert (released.reason, payment.reason) == ("sold_out", "sold_out")
    assert (payment.answer, payment.live_order, payment.check_at) == (PublicStatus.RELEASED, None, None)


def test_an_authorization_that_lapses_or_is_not_captured_fails_the_payment() -> None:
    lapsed, refused, let_go = a_payment(), a_payment(), a_payment()
    for payment in (lapsed, refused, let_go):
        payment.authorize("ch", NOW)
    refused.accepted(NOW)
    let_go.give_back("sold_out", NOW)

    for payment in (lapsed, refused, let_go):
        payment.fail("ch", "lapsed")

    assert [payment.status for payment in (lapsed, refused)] == [PaymentStatus.FAILED] * 2
    assert let_go.status is PaymentStatus.RELEASED


def test_orders_that_accepts_a_payment_which_has_failed_is_told_again() -> None:
    payment = a_payment()
    payment.authorize("ch", NOW)
    payment.fail("ch", "lapsed")
    payment.saved()

    payment.accepted(NOW)

    [failed] = payment.recorded
    assert isinstance(failed, PaymentFailed)
    assert payment.status is PaymentStatus.FAILED


def test_nothing_is_given_back_of_an_authorization_that_has_lapsed_unless_money_moved_after_all() -> None:
    payment = a_payment()
    payment.authorize("ch", NOW)
    payment.fail("ch", "lapsed")

    payment.give_back("sold_out", NOW)
    payment.give_back("sold_out", NOW)
    assert (payment.status, payment.reason, payment.check_at) == (PaymentStatus.FAILED, "lapsed", None)

    payment.capture("ch", NOW)
    assert (payment.status, payment.refund_reason, payment.check_at) == (PaymentStatus.REFUND_DUE, "sold_out", NOW)


def test_only_what_is_authorized_is_accepted_or_released() -> None:
    created, processing = a_payment(), a_payment()
    processing.process("ch", NOW)

    for payment in (created, processing):
        with pytest.raises(NotAuthorized):
            payment.accepted(NOW)
        with pytest.raises(NotAuthorized):
            payment.released()


def test_an_authorization_found_after_a_failure_is_released() -> None:
    payment = a_payment()
    payment.fail("", "abandoned")

    payment.authorize("ch", NOW)

    assert (payment.status, payment.reference, payment.check_at) == (PaymentStatus.RELEASE_DUE, "ch", NOW)


def test_money_that_moved_although_it_was_to_be_released_goes_back() -> None:
    payment = a_payment()
    payment.authorize("ch", NOW)
    payment.give_back("sold_out", NOW)

    payment.capture("ch", NOW)

    assert [type(event) for event in payment.recorded] == [PaymentAuthorized, PaymentCaptured]
    assert (payment.status, payment.refund_reason) == (PaymentStatus.REFUND_DUE, "sold_out")


def test_a_refund_that_failed_is_asked_for_again_or_paid_by_other_means() -> None:
    again, by_hand = a_payment(), a_payment()
    for payment in (again, by_hand):
        payment.capture("ch", NOW)
        payment.owe_refund("sold_out", NOW)
        payment.refunded(0)
        payment.refund_failed("account_closed", NOW)
        payment.refund_failed("account_closed", NOW)
        assert (payment.public_status, payment.reason) == (PublicStatus.REFUND_FAILED, "account_closed")

    again.refund_again(NOW, "ola@souk.test")
    assert (again.status, again.check_at, again.refund_attempt) == (PaymentStatus.REFUND_DUE, NOW, 1)
    again.refunded(1)
    by_hand.refunded_elsewhere("bank transfer")

    told = [PaymentCaptured, PaymentRefunded, PaymentRefundFailed]
    assert [type(event) for event in again.recorded] == [*told, PaymentRefundRetried, PaymentRefunded]
    assert [type(event) for event in by_hand.recorded] == [*told, PaymentRefunded]
    for payment in (again, by_hand):
        assert payment.reason == "sold_out"
        with pytest.raises(NotCaptured):
            payment.refund_again(NOW, "ola@souk.test")


def test_a_refund_that_souk_did_not_ask_for_is_a_refund() -> None:
    payment, unpaid = a_payment(), a_payment()
    payment.capture("ch", NOW)

    for one in (payment, unpaid):
        one.refunded_elsewhere("refunded_at_provider")

    assert (payment.status, payment.reason) == (PaymentStatus.REFUNDED, "refunded_at_provider")
    assert unpaid.status is PaymentStatus.CREATED


def test_the_bank_has_the_money_of_a_dispute_until_it_is_won() -> None:
    payment = a_payment()
    payment.disputed(DisputeStatus.OPEN, "fraudulent", NOW)
    payment.capture("ch", NOW)

    payment.disputed(DisputeStatus.OPEN, "fraudulent", NOW)
    payment.disputed(DisputeStatus.OPEN, "fraudulent", NOW)
    assert (payment.public_status, payment.reason) == (PublicStatus.DISPUTED, "fraudulent")
    payment.owe_refund("requested_by_seller", NOW)
    assert (payment.public_status, payment.check_at) == (PublicStatus.DISPUTED, None)  # until the bank has decided
    payment.disputed(DisputeStatus.WON, "fraudulent", NOW)

    assert (payment.status, payment.check_at) == (PaymentStatus.REFUND_DUE, NOW)
    disputes = [event.dispute for event in payment.recorded if isinstance(event, PaymentDisputed)]
    assert disputes == [DisputeStatus.OPEN, DisputeStatus.WON]


def test_a_lost_dispute_stays() -> None:
    payment = a_payment()
    payment.capture("ch", NOW)

    payment.disputed(DisputeStatus.LOST, "fraudulent", NOW)

    assert (payment.status, payment.dispute) == (PaymentStatus.DISPUTED, DisputeStatus.LOST)


def test_captured_twice_is_one_capture_and_one_event() -> None:
    payment = a_payment()

    payment.capture("ch", NOW)
    payment.capture("ch", NOW)

    [captured] = payment.recorded
    assert isinstance(captured, PaymentCaptured)
    assert (captured.payment_version, captured.amount) == (1, 1200)
    assert payment.check_at is None
    assert payment.live_order == "o1"  # nobody pays this order a second time


def test_processing_is_no_news_after_the_outcome() -> None:
    captured, failed = a_payment(), a_payment()
    captured.capture("ch", NOW)
    failed.fail("ch", "card_declined")

    captured.process("ch", NOW)
    failed.process("ch", NOW)

    assert captured.status is PaymentStatus.CAPTURED
    assert failed.status is PaymentStatus.FAILED


def test_processing_again_does_not_put_off_the_time_to_ask() -> None:
    payment = a_payment()
    payment.process("ch", NOW)
    payment.process("ch", NOW + timedelta(seconds=9))

    assert payment.check_at == NOW + timedelta(seconds=10)


def test_a_failure_frees_the_order_and_does_not_unmove_money() -> None:
    failed, captured = a_payment(), a_payment()
    captured.capture("ch", NOW)

    failed.fail("ch", "card_declined")
    failed.fail("ch", "card_declined")
    captured.fail("ch", "card_declined")

    [event] = failed.recorded
    assert isinstance(event, PaymentFailed)
    assert (failed.live_order, failed.check_at, failed.reason) == (None, None, "card_declined")
    assert captured.status is PaymentStatus.CAPTURED


def test_money_that_comes_after_a_failure_counts_but_does_not_take_the_order_up_again() -> None:
    payment = a_payment()
    payment.fail("ch", "card_declined")

    payment.capture("ch", NOW)

    assert [type(event) for event in payment.recorded] == [PaymentFailed, PaymentCaptured]
    assert payment.live_order is None  # another payment may be live for it by now
    assert payment.answer is PublicStatus.FAILED  # and whoever asked was told so


def test_a_refund_is_owed_once_and_done_once() -> None:
    payment = a_payment()
    payment.capture("ch", NOW)

    payment.owe_refund("sold_out", NOW)
    payment.owe_refund("requested_by_seller", NOW + timedelta(seconds=1))
    assert (payment.public_status, payment.reason, payment.check_at) == (PublicStatus.CAPTURED, "sold_out", NOW)
    payment.refunded(0)
    payment.refunded(0)
    payment.owe_refund("sold_out", NOW)

    [_, event] = payment.recorded
    assert isinstance(event, PaymentRefunded)
    assert event.reason == "sold_out"
    assert (payment.status, payment.live_order, payment.check_at) == (PaymentStatus.REFUNDED, None, None)


def test_what_was_not_captured_can_not_go_back() -> None:
    created, processing, failed, captured = (a_payment() for _ in range(4))
    processing.process("ch", NOW)
    failed.fail("ch", "card_declined")
    captured.capture("ch", NOW)

    for payment in (created, processing, failed):
        with pytest.raises(NotCaptured):
            payment.owe_refund("sold_out", NOW)
    for payment in (created, processing, failed, captured):
        with pytest.raises(NotCaptured):
            payment.refunded(0)


def test_the_first_answer_stays() -> None:
    payment = a_payment()
    payment.leave_open()
    payment.capture("ch", NOW)
    payment.leave_open()

    assert payment.answer is PublicStatus.PROCESSING
    assert payment.public_status is PublicStatus.CAPTURED


def test_each_turn_begins_to_count_its_tries_anew() -> None:
    payment = a_payment()
    for turn in ("process", "authorize", "accepted", "capture", "owe_refund", "refunded"):
        payment.tries = 7
        TURNS[turn](payment)
        assert payment.tries == 0


TURNS: dict[str, Callable[[Payment], None]] = {
    "process": lambda payment: payment.process("ch", NOW),
    "authorize": lambda payment: payment.authorize("ch", NOW),
    "accepted": lambda payment: payment.accepted(NOW),
    "give_back": lambda payment: payment.give_back("sold_out", NOW),
    "released": lambda payment: payment.released(),
    "capture": lambda payment: payment.capture("ch", NOW),
    "fail": lambda payment: payment.fail("ch", "card_declined"),
    "leave_open": lambda payment: payment.leave_open(),
    "owe_refund": lambda payment: payment.owe_refund("sold_out", NOW),
    "refunded": lambda payment: payment.refunded(0),
}


@given(st.lists(st.sampled_from(sorted(TURNS))))
def test_whatever_is_heard_in_whatever_order_money_is_never_lost_or_told_twice(turns: list[str]) -> None:
    payment = a_payment()
    told: list[Event] = []
    for turn in turns:
        try:
            TURNS[turn](payment)
        except (NotAuthorized, NotCaptured):
            continue
        told += payment.recorded
        payment.saved()

    kinds = [type(event) for event in told]
    repeated = {PaymentFailed, PaymentReleased}  # to orders that accepts what has ended
    assert all(kinds.count(kind) <= 1 for kind in kinds if kind not in repeated)
    assert (PaymentCaptured in kinds) == ("capture" in turns)
    moved = {PaymentStatus.CAPTURED, PaymentStatus.REFUND_DUE, PaymentStatus.REFUNDED}
    assert (payment.status in moved) == ("capture" in turns)
    assert (PaymentRefunded in kinds) == (payment.status is PaymentStatus.REFUNDED)
    assert PaymentReleased not in kinds or payment.status in {PaymentStatus.RELEASED, *moved}
    settled = {PaymentStatus.CAPTURED, PaymentStatus.REFUNDED, PaymentStatus.RELEASED, PaymentStatus.FAILED}
    assert (payment.check_at is None) == (payment.status in settled)


def test_a_payment_states_again_where_its_money_is() -> None:
    payment = a_payment()
    payment.saved()
    stated: list[list[Event]] = [payment.restated()]
    steps: list[Callable[[], None]] = [
        lambda: payment.process("ch", NOW),
        lambda: payment.authorize("ch", NOW),
        lambda: payment.accepted(NOW),
        lambda: payment.capture("ch", NOW),
        lambda: payment.owe_refund("sold_out", NOW),
        lambda: payment.refunded(0),
        lambda: payment.refund_failed("closed_account", NOW),
        lambda: payment.disputed(DisputeStatus.OPEN, "fraudulent", NOW),
        lambda: payment.disputed(DisputeStatus.WON, "fraudulent", NOW),
    ]
    for step in steps:
        step()
        payment.saved()
        stated.append(payment.restated())

    kinds: list[list[type[Event]]] = [
        [],
        [PaymentProcessing],
        [PaymentAuthorized],
        [PaymentAuthorized],
        [PaymentCaptured],
        [PaymentCaptured],
        [PaymentRefunded],
        [PaymentCaptured, PaymentRefundFailed],
        [PaymentCaptured, PaymentRefundFailed, PaymentDisputed],
        [PaymentDisputed, PaymentCaptured, PaymentRefundFailed],
    ]
    assert [[type(event) for event in events] for events in stated] == kinds
    [refunded] = stated[6]
    assert isinstance(refunded, PaymentRefunded)
    assert (refunded.payment_version, refunded.reason, refunded.restated) == (7, "sold_out", True)
