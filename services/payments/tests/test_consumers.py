"""What payments does when orders tells it something, in any order and any number of times."""

import asyncio
from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from common.bus.connection import Bus
from common.bus.provision import provision
from common.events import (
    CancelReason,
    OrderCancelled,
    OrderPaid,
    OrderPaymentRejected,
    OrderPlaced,
    PaymentRefunded,
    RejectReason,
)
from common.ids import new_id
from payments.consumers import consumers
from payments.gateways.sandbox import SandboxGateway
from tests.support.bus import Events

if TYPE_CHECKING:
    from services.payments.tests.conftest import Workshop, World


def later(version: int) -> dict[str, object]:
    return {"order_version": version}


@pytest.mark.parametrize("arrival", list(permutations(range(3))))
async def test_the_newest_word_on_an_order_stays_whatever_the_order_of_arrival(
    world: "World", arrival: tuple[int, ...]
) -> None:
    order = world.new_order()
    state = order.model_dump()
    expired = OrderCancelled(**state | later(2), reason=CancelReason.EXPIRED)
    paid_late = OrderPaid(**state | later(3), payment_id=new_id())
    said = [order, expired, paid_late]

    for index in arrival:
        await world.events.deliver(said[index])
        await world.events.deliver(said[index])

    due = await world.db.dues.find_one({"_id": order.order_id})
    assert due
    assert (due["order_version"], due["state"]) == (3, "paid")
    assert (due["amount"], due["currency"], due["buyer_id"]) == (1250, "EUR", world.buyer.id)


async def test_two_words_on_many_new_orders_at_once_all_end_with_the_newer(world: "World") -> None:
    orders = [world.new_order() for _ in range(40)]
    cancelled = [OrderCancelled(**o.model_dump() | later(2), reason=CancelReason.BUYER) for o in orders]

    await asyncio.gather(*(world.events.deliver(event) for event in [*orders, *cancelled]))

    assert await world.db.dues.count_documents({"state": "cancelled", "order_version": 2}) == 40
    assert not await world.events.dead_letters(0)


@pytest.mark.parametrize("redelivered", [False, True])
async def test_rejected_money_goes_back_once(world: "World", redelivered: bool) -> None:
    order = await world.placed_order()
    payment = await world.captured(order)

    rejected = await world.rejected(order, payment["id"])
    if redelivered:
        await asyncio.gather(*(world.events.deliver(rejected) for _ in range(5)))
    await world.becomes(payment["id"], "refunded")
    await world.events.deliver(rejected)

    [refunded] = await world.events.published(PaymentRefunded)
    assert (refunded.payment_id, refunded.amount, refunded.reason) == (payment["id"], 1250, "sold_out")
    assert refunded.payment_version > 2
    assert await world.money() == 0


async def test_the_seller_gives_the_money_back(world: "World") -> None:
    order = await world.placed_order()
    payment = await world.captured(order)
    await world.paid(order, payment["id"])

    await world.refund_requested(order, payment["id"])

    await world.becomes(payment["id"], "refunded")
    [refunded] = await world.events.published(PaymentRefunded)
    assert refunded.reason == "requested_by_seller"
    assert await world.money() == 0


async def test_a_refund_that_is_asked_for_twice_for_two_reasons_is_one(world: "World") -> None:
    order = await world.placed_order()
    payment = await world.captured(order)

    await asyncio.gather(world.rejected(order, payment["id"]), world.refund_requested(order, payment["id"]))

    await world.becomes(payment["id"], "refunded")
    assert len(await world.events.published(PaymentRefunded)) == 1
    assert await world.money() == 0


async def test_a_refund_waits_for_the_money_to_come(world: "World") -> None:
    order = await world.placed_order()
    payment = (await world.pay(order.order_id, "pm_bank")).json()  # It is captured without asking orders first.
    assert payment["status"] == "processing"

    await world.rejected(order, payment["id"])  # Returns when the consumer is done with it, so: after the money came.

    await world.becomes(payment["id"], "refunded")
    assert await world.money() == 0


async def test_a_refund_of_a_payment_nobody_knows_is_kept_for_people_to_look_at(
    workshop: "Workshop", sandbox: SandboxGateway, events: Events, bus_url: str, order: OrderPlaced
) -> None:
    parts = [workshop.payments, workshop.dues, workshop.cashier(sandbox)]
    unknown = OrderPaymentRejected(**order.model_dump(), payment_id=new_id(), reason=RejectReason.SOLD_OUT)

    await provision(bus_url, consumers.durables)
    async with Bus.connected(bus_url, "payments", delays=(0.01, 0.01)) as bus, bus.consuming(consumers, parts):
        await events.deliver(unknown)

    [letter] = await events.dead_letters()
    assert letter.headers["Souk-Consumer"] == "payments-return_rejected_payment"
    assert "PaymentNotFound" in letter.headers["Souk-Error"]
