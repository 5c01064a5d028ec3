"""The orders' events start and stop the clock, in whatever order and however often they come."""

import asyncio

from tests.support.clock import Clock

from .conftest import World, cancelled, order_placed, paid


async def test_a_hold_that_nobody_settles_ends_on_time_and_once(world: World, clock: Clock) -> None:
    orders = [await world.held(seconds) for seconds in (0.9, 0.6, 0.3)]

    await world.assert_elapse_on_time(clock, *orders)
    assert list(await world.reported(3)) == [order.order_id for order in reversed(orders)]


async def test_a_settled_order_does_not_elapse(world: World, clock: Clock) -> None:
    bought, given_back, waiting = [await world.held(0.8) for _ in range(3)]
    await world.events.deliver(paid(bought))
    await world.events.deliver(cancelled(given_back))
    later = await world.held(0.8)

    await world.assert_elapse_on_time(clock, waiting, later)


async def test_every_event_twice_is_one_end(world: World, clock: Clock) -> None:
    settled, waiting = order_placed(0.8), order_placed(0.8)
    for event in (settled, waiting, waiting, paid(settled), paid(settled)):
        await world.events.deliver(event)
    later = await world.held(0.8)
    await world.assert_elapse_on_time(clock, waiting, later)

    await world.events.deliver(waiting)  # when all is over: the bus knows this end already
    last = await world.held(0.2)
    await world.assert_elapse_on_time(clock, waiting, later, last)


async def test_a_settlement_that_overtakes_the_placing_costs_one_event_that_orders_ignores(
    world: World, clock: Clock
) -> None:
    order = order_placed(0.3)
    await world.events.deliver(cancelled(order))
    await world.events.deliver(order)

    await world.assert_elapse_on_time(clock, order)


async def test_a_poison_message_keeps_nobody_waiting(world: World, clock: Clock) -> None:
    await world.events.deliver_raw("orders.placed", b'{"order_id": 7')

    await world.assert_elapse_on_time(clock, await world.held(0.2))
    [letter] = await world.events.dead_letters()
    assert letter.headers["Souk-Consumer"] == "expiration-start_the_clock"


async def test_many_orders_at_once_all_elapse(world: World, clock: Clock) -> None:
    orders = [order_placed(1) for _ in range(1_000)]

    bodies = [order.model_dump_json().encode() for order in orders]
    for first in range(0, len(bodies), 100):
        some = bodies[first : first + 100]
        await asyncio.gather(*(world.events.deliver_raw("orders.placed", body) for body in some))

    await world.assert_elapse_on_time(clock, *orders)
