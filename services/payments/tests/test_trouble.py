"""What becomes of money that had arrived: refunds that fail, disputes, and news that comes late or twice."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from common import leased_work
from common.events import (
    Currency,
    DisputeStatus,
    PaymentCaptured,
    PaymentDisputed,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    ProviderOperation,
)
from common.http.sessions import OPERATOR
from common.ids import new_id
from payments.calls import Call
from payments.domain import Payment
from payments.gateways.port import Captured, Charge, Dispute, Refunds
from payments.gateways.sandbox import SandboxGateway
from payments.refunds import REFUNDED_BY_PROVIDER, NoFailedRefund
from payments.status import PaymentStatus
from tests.support.bus import Events
from tests.support.clock import Clock
from tests.support.sessions import person
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import World

OPEN, WON, LOST = DisputeStatus.OPEN, DisputeStatus.WON, DisputeStatus.LOST


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def payment() -> Payment:
    """A payment whose money is here."""
    ends = now() + timedelta(minutes=15)
    payment = Payment(
        id=new_id(),
        order_id=new_id(),
        buyer_id=new_id(),
        amount=900,
        currency=Currency.EUR,
        method="m",
        hold_ends_at=ends,
    )
    payment.capture("ch_1", now())
    payment.saved()
    return payment


@pytest.fixture
def failed(payment: Payment) -> Payment:
    """A payment whose refund failed."""
    payment.owe_refund("sold_out", now())
    payment.refunded(0)
    payment.note_refunds("expired_card", 1, now(), returned=False)
    payment.saved()
    return payment


def test_a_refund_that_the_provider_reports_is_one(payment: Payment) -> None:
    for _ in range(2):
        payment.note_refunds("", 0, now(), returned=True)

    assert (payment.status, payment.reason) == (PaymentStatus.REFUNDED, REFUNDED_BY_PROVIDER)
    [event] = payment.recorded
    assert isinstance(event, PaymentRefunded)


def test_a_failure_is_reported_once_and_late_news_of_the_refund_changes_nothing(payment: Payment) -> None:
    payment.owe_refund("sold_out", now())
    payment.refunded(0)
    payment.note_refunds("expired_card", 1, now(), returned=False)

    payment.note_refunds("expired_card", 1, now(), returned=False)
    payment.note_refunds("", 0, now(), returned=True)
    payment.refunded(0)

    assert payment.status is PaymentStatus.REFUND_FAILED
    assert [type(event) for event in payment.recorded] == [PaymentRefunded, PaymentRefundFailed]


def test_a_failure_that_is_reported_with_the_next_refund_is_one_event(payment: Payment) -> None:
    payment.owe_refund("sold_out", now())

    payment.note_refunds("expired_card", 1, now(), returned=True)

    assert payment.status is PaymentStatus.REFUNDED
    assert [type(event) for event in payment.recorded] == [PaymentRefunded]


def test_late_news_of_an_attempt_does_not_stop_the_next(failed: Payment) -> None:
    failed.refund_again(now(), "ola@souk.test")

    failed.note_refunds("expired_card", 1, now(), returned=False)
    failed.refunded(0)
    assert failed.status is PaymentStatus.REFUND_DUE

    failed.note_refunds("expired_card", 1, now(), returned=True)
    assert (failed.status, failed.reason) == (PaymentStatus.REFUNDED, "sold_out")


def test_a_second_attempt_fails_like_the_first(failed: Payment) -> None:
    failed.refund_again(now(), "ola@souk.test")

    failed.note_refunds("account_closed", 2, now(), returned=False)

    assert (failed.status, failed.reason) == (PaymentStatus.REFUND_FAILED, "account_closed")


def test_only_a_failed_refund_is_retried_or_settled(payment: Payment) -> None:
    with pytest.raises(NoFailedRefund):
        payment.refund_again(now(), "ola@souk.test")
    with pytest.raises(NoFailedRefund):
        payment.settle_refund("ola@souk.test", "paid by bank transfer")
    assert payment.recorded == ()


def test_who_settled_it_and_why_is_said_again_after_the_bus_was_lost(failed: Payment) -> None:
    failed.settle_refund("ola@souk.test", "paid by bank transfer")

    [said] = failed.recorded
    [again] = failed.restated()
    for event in (said, again):
        assert isinstance(event, PaymentRefunded)
        assert (event.settled_by, event.settlement) == ("ola@souk.test", "paid by bank transfer")


@pytest.mark.parametrize("status", [WON, LOST])
def test_a_decided_dispute_is_not_opened_by_late_news(payment: Payment, status: DisputeStatus) -> None:
    for news in (OPEN, status, OPEN, status):
        payment.disputed(news, "fraudulent", now(), opened_at=10)

    assert payment.status is (PaymentStatus.CAPTURED if status is WON else PaymentStatus.DISPUTED)
    assert [e.dispute for e in payment.recorded if isinstance(e, PaymentDisputed)] == [OPEN, status]


def test_a_second_dispute_is_another(payment: Payment) -> None:
    for news, opened_at in ((OPEN, 10), (WON, 10), (OPEN, 20), (WON, 10)):
        payment.disputed(news, "fraudulent", now(), opened_at)

    assert (payment.status, payment.dispute) == (PaymentStatus.DISPUTED, OPEN)


def test_trouble_has_lasted_since_it_began(failed: Payment) -> None:
    began = failed.in_trouble_since
    failed.note_refunds("expired_card", 1, now(), returned=False)
    failed.disputed(OPEN, "fraudulent", now(), opened_at=10)
    failed.disputed(WON, "fraudulent", now(), opened_at=10)
    assert failed.in_trouble_since == began

    failed.refund_again(now(), "ola@souk.test")
    again = now()
    failed.note_refunds("expired_card", 2, again, returned=False)
    assert failed.in_trouble_since == again


def test_news_of_a_refund_waits_for_the_end_of_the_dispute(payment: Payment) -> None:
    payment.owe_refund("sold_out", now())
    payment.refunded(0)
    payment.disputed(OPEN, "fraudulent", now(), opened_at=10)
    payment.note_refunds("expired_card", 1, now(), returned=False)
    before = payment.status

    payment.disputed(WON, "fraudulent", now(), opened_at=10)
    payment.note_refunds("expired_card", 1, now(), returned=False)

    assert (before, payment.status) == (PaymentStatus.DISPUTED, PaymentStatus.REFUND_FAILED)


def parts_told(payment: Payment) -> list[tuple[int, int]]:
    """What events said about parts of the money: how much went back before, and now."""
    return [(e.refunded_before, e.refunded_amount) for e in payment.recorded if isinstance(e, PaymentPartlyRefunded)]


@pytest.mark.parametrize("news", list(permutations([(0, 300), (0, 450), (1, 150), (1, 350)])))
def test_parts_that_went_back_add_up_in_whatever_order_and_how_often_the_news_comes(
    payment: Payment, news: tuple[tuple[int, int], ...]
) -> None:
    for failures, amount in (*news, *news):
        payment.note_refunds("lost", failures, now(), returned=False, amount=amount)

    assert (payment.status, payment.refunded_amount) == (PaymentStatus.CAPTURED, 350)
    told = parts_told(payment)
    assert told[-1][1] == 350
    assert [before for before, _ in told] == [0, *(amount for _, amount in told[:-1])]
    assert all(before != amount for before, amount in told)
    assert len(told) == len(payment.recorded)


def test_a_part_whose_refund_fails_is_here_again_and_nobody_has_to_settle_it(payment: Payment) -> None:
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    payment.note_refunds("expired_card", 1, now(), returned=False, amount=0)

    assert (payment.status, payment.refunded_amount) == (PaymentStatus.CAPTURED, 0)
    went, came = payment.recorded
    assert isinstance(went, PaymentPartlyRefunded)
    assert isinstance(came, PaymentPartlyRefunded)
    assert (went.failure, came.failure) == (None, "expired_card")


def test_parts_that_reach_the_whole_amount_are_a_refund(payment: Payment) -> None:
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    payment.note_refunds("", 0, now(), returned=True)
    payment.note_refunds("", 0, now(), returned=False, amount=300)

    assert (payment.status, payment.refunded_amount) == (PaymentStatus.REFUNDED, 900)
    _, event = payment.recorded
    assert isinstance(event, PaymentRefunded)
    assert (event.amount, event.refunded_before) == (900, 300)


def test_when_the_rest_fails_to_go_back_only_the_rest_is_left_to_settle(payment: Payment) -> None:
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    payment.owe_refund("requested_by_seller", now())
    payment.refunded(0)
    payment.note_refunds("expired_card", 1, now(), returned=False, amount=300)

    assert (payment.status, payment.refunded_amount) == (PaymentStatus.REFUND_FAILED, 300)
    _, _, failed = payment.recorded
    assert isinstance(failed, PaymentRefundFailed)
    assert failed.refunded_amount == 300

    payment.settle_refund("ola@souk.test", "paid by bank transfer")
    payment.note_refunds("", 0, now(), returned=True)

    assert (payment.status, payment.refunded_amount) == (PaymentStatus.REFUNDED, 300)


def test_what_was_settled_is_not_sent_again_when_the_part_before_it_fails_too(payment: Payment) -> None:
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    payment.owe_refund("requested_by_seller", now())
    payment.refunded(0)
    payment.note_refunds("expired_card", 1, now(), returned=False, amount=300)
    payment.settle_refund("ola@souk.test", "paid by bank transfer")
    payment.note_refunds("expired_card", 2, now(), returned=False, amount=0)

    assert (payment.status, payment.refunded_amount, payment.settled_amount) == (PaymentStatus.REFUND_FAILED, 0, 600)
    with pytest.raises(NoFailedRefund):
        payment.refund_again(now(), "ola@souk.test")  # The gateway gives back all of it, or nothing.

    payment.settle_refund("ola@souk.test", "the rest, too")
    assert (payment.status, payment.settled_amount) == (PaymentStatus.REFUNDED, 900)


def test_a_part_is_known_during_a_dispute_and_the_sum_is_right_after_it(payment: Payment) -> None:
    payment.disputed(OPEN, "fraudulent", now(), opened_at=10)
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    assert (payment.status, payment.refunded_amount) == (PaymentStatus.DISPUTED, 300)

    payment.note_refunds("expired_card", 1, now(), returned=False, amount=100)
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    payment.disputed(WON, "fraudulent", now(), opened_at=10)
    payment.note_refunds("expired_card", 1, now(), returned=False, amount=100)

    assert (payment.status, payment.refunded_amount) == (PaymentStatus.CAPTURED, 100)
    assert payment.failed_refunds == 1
    assert parts_told(payment) == [(0, 300), (300, 100)]


def test_a_refund_that_was_made_just_before_a_dispute_is_known_during_it(payment: Payment) -> None:
    payment.owe_refund("sold_out", now())
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    payment.disputed(OPEN, "fraudulent", now(), opened_at=10)
    answer = Call(ProviderOperation.REFUND).refunded(Refunds(returned=True, amount=900), "ch_1", 0)

    answer(payment)

    assert (payment.status, payment.refunded_amount) == (PaymentStatus.DISPUTED, 900)
    payment.disputed(WON, "fraudulent", now(), opened_at=10)
    answer(payment)
    assert (payment.status, payment.refunded_amount) == (PaymentStatus.REFUNDED, 900)


@pytest.mark.parametrize("dispute", [None, OPEN])
def test_a_part_is_said_again_after_the_bus_was_lost(payment: Payment, dispute: DisputeStatus | None) -> None:
    payment.note_refunds("", 0, now(), returned=False, amount=300)
    if dispute:
        payment.disputed(dispute, "fraudulent", now(), opened_at=10)

    said = payment.restated()

    assert isinstance(said[0], PaymentCaptured)
    assert [event.refunded_amount for event in said if isinstance(event, PaymentPartlyRefunded)] == [300]


async def in_the_sandbox(sandbox: SandboxGateway, method: str) -> tuple[Charge, str]:
    """A charge of the sandbox whose money is here, and its reference."""
    charge = Charge(new_id(), new_id(), 900, Currency.EUR, method, now() + timedelta(minutes=15))
    reference = (await sandbox.charge(charge)).reference
    assert await sandbox.capture(charge.payment_id, reference) == Captured(reference)
    return charge, reference


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The time of payments and of the sandbox, which stands still: nothing comes back until a test moves it."""
    clock = Clock(now())
    with clock.shown(leased_work):
        yield clock


async def test_the_sandbox_has_a_card_whose_first_refund_fails_after_it_was_accepted(
    world: "World", clock: Clock
) -> None:
    order = await world.placed_order()
    payment = (await world.pay(order.order_id, "pm_card_refund_fails")).json()
    await world.accepted(order, payment["id"])
    await world.becomes(payment["id"], "captured")

    await world.refund_requested(order, payment["id"])
    await world.becomes(payment["id"], "refunded")
    assert await world.money() == 0
    clock.advance(timedelta(seconds=2))
    await world.becomes(payment["id"], "refund_failed")
    assert await world.money() == order.quantity * order.unit_price

    operator = world.tokens.headers(person("Ola", OPERATOR))
    await world.http.post(f"/api/payments/{payment['id']}/refund/retry", headers=operator)
    await world.becomes(payment["id"], "refunded")
    assert await world.money() == 0


async def test_the_sandbox_has_a_card_that_is_disputed_after_the_capture(
    world: "World", events: Events, clock: Clock
) -> None:
    order = await world.placed_order()
    payment = (await world.pay(order.order_id, "pm_card_disputed")).json()
    await world.accepted(order, payment["id"])
    await world.becomes(payment["id"], "captured")

    clock.advance(timedelta(seconds=2))
    disputed = await world.becomes(payment["id"], "disputed")

    assert disputed["reason"] == "fraudulent"
    assert [event.dispute for event in await events.published(PaymentDisputed)] == [OPEN]


async def test_the_sandbox_has_a_card_of_which_a_part_goes_back_and_the_seller_refunds_the_rest(
    world: "World", events: Events
) -> None:
    order = await world.placed_order()
    total = order.quantity * order.unit_price
    answer = await world.pay(order.order_id, "pm_card_partly_refunded", key="k")
    payment = answer.json()
    await world.accepted(order, payment["id"])

    [part] = await events.published(PaymentPartlyRefunded)
    shown = await world.becomes(payment["id"], "captured")
    assert (part.amount, part.refunded_amount, shown["refunded_amount"]) == (total, total // 3, total // 3)
    assert await world.money() == total - total // 3
    assert (await world.pay(order.order_id, "pm_card_partly_refunded", key="k")).content == answer.content

    await world.refund_requested(order, payment["id"])
    await world.becomes(payment["id"], "refunded")
    [refunded] = await events.published(PaymentRefunded)
    assert refunded.refunded_before == total // 3
    assert await world.money() == 0
    assert (await world.pay(order.order_id, "pm_card_partly_refunded", key="k")).content == answer.content


async def test_the_sandbox_lists_what_came_back(sandbox: SandboxGateway, clock: Clock) -> None:
    refunded, reference = await in_the_sandbox(sandbox, "pm_card_refund_fails")
    disputed, other = await in_the_sandbox(sandbox, "pm_card_disputed")
    accepted = [await sandbox.refund(refunded.payment_id, reference) for _ in range(2)]
    clock.advance(timedelta(seconds=2))

    async def both_are_here() -> bool:
        first, second = await sandbox.retrieve(reference), await sandbox.retrieve(other)
        return bool(first and second and first.refunds.failures and second.dispute)

    await eventually(both_are_here)
    found = await sandbox.retrieve(other)
    listed = {record.payment_id: record for record in await sandbox.charges("", 10, None)}

    assert accepted == [Refunds(returned=True, amount=900)] * 2
    assert await sandbox.refund(refunded.payment_id, reference) == Refunds(
        returned=False, failures=1, reason="expired_or_canceled_card"
    )
    assert not listed[refunded.payment_id].refunded
    assert listed[disputed.payment_id].disputed
    assert found
    assert isinstance(found.dispute, Dispute)
    assert (await sandbox.refund(refunded.payment_id, reference, attempt=1)).returned
