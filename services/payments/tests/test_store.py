"""What the indexes and guarded writes promise, against a real MongoDB."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from common.events import DisputeStatus, PaymentCaptured
from payments.domain import Payment
from payments.due import Due, DueState, OrderNotPayable
from payments.status import PaymentStatus, PublicStatus
from tests.support.bus import Events

if TYPE_CHECKING:
    from services.payments.tests.conftest import Workshop

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def begin(due: Due, key: str | None = None) -> Payment:
    return Payment.begin(due, method="pm", request_key=key, now=datetime.now(UTC))


async def test_an_order_has_one_live_payment_at_a_time(workshop: "Workshop") -> None:
    due = await workshop.due()
    first = begin(due)
    await workshop.payments.add(first)

    with pytest.raises(OrderNotPayable):
        await workshop.payments.add(begin(due))
    await workshop.payments.change(first, lambda p: p.fail("ch", "card_declined"))
    await workshop.payments.add(begin(due))


async def test_a_key_is_used_once_by_each_buyer(workshop: "Workshop") -> None:
    due, other, mine = [await workshop.due() for _ in range(3)]
    first = begin(due, "k")
    await workshop.payments.add(first)
    await workshop.payments.add(begin(other, "k"))

    with pytest.raises(OrderNotPayable):
        await workshop.payments.add(begin(mine.model_copy(update={"buyer_id": due.buyer_id}), "k"))
    found = await workshop.payments.under_key(due.buyer_id, "k")
    assert found
    assert found.id == first.id
    assert await workshop.payments.under_key(due.buyer_id, "another") is None


async def test_payments_without_a_key_do_not_get_in_each_others_way(workshop: "Workshop") -> None:
    due = await workshop.due()
    other = (await workshop.due()).model_copy(update={"buyer_id": due.buyer_id})

    await workshop.payments.add(begin(due))
    await workshop.payments.add(begin(other))


async def test_a_change_of_what_somebody_else_changed_is_made_to_what_he_left(workshop: "Workshop") -> None:
    payment = begin(await workshop.due(), "k")
    await workshop.payments.add(payment)
    mine, theirs = [await workshop.payments.get(payment.id) for _ in range(2)]

    await workshop.payments.change(theirs, lambda p: p.leave_open())
    left = await workshop.payments.change(mine, lambda p: p.capture("ch", NOW))

    assert (left.status, left.answer) == (PaymentStatus.CAPTURED, PublicStatus.PROCESSING)
    assert (await workshop.payments.get(payment.id)).model_dump() == left.model_dump()


async def test_a_change_that_was_made_already_writes_and_tells_nothing(workshop: "Workshop", events: Events) -> None:
    payment = begin(await workshop.due())
    await workshop.payments.add(payment)
    mine, theirs = [await workshop.payments.get(payment.id) for _ in range(2)]

    await workshop.payments.change(theirs, lambda p: p.capture("ch", NOW))
    left = await workshop.payments.change(mine, lambda p: p.capture("ch", NOW))

    assert left.version == 2
    assert len(await events.published(PaymentCaptured)) == 1


async def test_who_waits_for_a_payment_hears_of_a_change_at_once_and_otherwise_goes_on(workshop: "Workshop") -> None:
    payment = begin(await workshop.due())
    await workshop.payments.add(payment)
    hearing = [asyncio.create_task(workshop.payments.changed(payment.id, 3_600)) for _ in range(2)]
    await workshop.payments.changed(payment.id, 0.01)  # nothing has changed
    assert not any(task.done() for task in hearing)

    await workshop.payments.change(payment, lambda p: p.process("ch", NOW))

    await asyncio.gather(*hearing)
    assert not workshop.payments._waiting


async def test_a_payment_is_read_back_as_it_was_saved(workshop: "Workshop") -> None:
    payment = begin(await workshop.due(), "k")
    await workshop.payments.add(payment)
    for turn in (
        lambda p: p.process("ch", NOW),
        lambda p: p.authorize("ch", NOW),
        lambda p: p.accepted(NOW),
        lambda p: p.capture("ch", NOW),
        lambda p: p.owe_refund("sold_out", NOW),
        lambda p: p.refunded(0),
        lambda p: p.refund_failed("lost_or_stolen_card", NOW),
        lambda p: p.disputed(DisputeStatus.OPEN, "fraudulent", NOW),
    ):
        payment = await workshop.payments.change(payment, turn)
        read = await workshop.payments.get(payment.id)
        assert (read.status, read.check_at, read.live_order) == (payment.status, payment.check_at, payment.live_order)
        assert (read.answer, read.reason, read.version) == (payment.answer, payment.reason, payment.version)


@pytest.mark.parametrize("text", ["$order_version", "{$ne: 1}"])
async def test_what_a_due_contains_is_never_read_as_a_query(workshop: "Workshop", text: str) -> None:
    due = (await workshop.due()).model_copy(update={"order_version": 2, "buyer_id": text, "state": DueState.PAID})

    await workshop.dues.keep(due)

    kept = await workshop.dues.find(due.id)
    assert kept
    assert (kept.buyer_id, kept.state) == (text, DueState.PAID)


@pytest.mark.parametrize(
    "query",
    [
        {"live_order": "o"},
        {"buyer_id": "b", "request_key": "k"},
        {"buyer_id": "b", "_id": {"$lt": "p"}},
        {"buyer_id": "b", "order_id": "o"},
    ],
)
async def test_every_query_has_its_index(workshop: "Workshop", query: dict[str, object]) -> None:
    plan = await workshop.db.payments.find(query).sort("_id", -1).explain()

    assert "COLLSCAN" not in str(plan["queryPlanner"]["winningPlan"])
