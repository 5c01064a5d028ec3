"""Two replicas' desks on one database: exact whatever collides."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio

from common.bus.connection import Bus
from common.events import Currency, ItemListed, ItemStatus
from common.ids import new_id
from common.mongo.client import AWAY, Database, database
from common.outbox import Relay
from orders.commands import PlaceOrder
from orders.desk import ReservationDesk
from orders.domain import HoldLimit, Order, OrderStatus
from orders.holds import HoldLimits
from orders.stock import SoldOut
from orders.store import OrderStore


@asynccontextmanager
async def desk_of_a_replica(mongo_url: str, bus_url: str) -> AsyncIterator[ReservationDesk]:
    async with (
        database(mongo_url) as db,
        Bus.connected(bus_url, "orders", away=AWAY) as bus,
        Relay.running(bus, db.orders, db.stock) as relay,
    ):
        store = OrderStore(db, relay)
        await store.prepare()
        yield ReservationDesk(store, HoldLimits(timedelta(minutes=15)))


@pytest_asyncio.fixture
async def desks(mongo_url: str, bus_url: str) -> AsyncIterator[tuple[ReservationDesk, ReservationDesk]]:
    async with desk_of_a_replica(mongo_url, bus_url) as one, desk_of_a_replica(mongo_url, bus_url) as other:
        yield one, other


async def listed(desk: ReservationDesk, quantity: int) -> str:
    item_id = new_id()
    item = ItemListed(
        item_id=item_id,
        item_version=1,
        seller_id="seller",
        title="A lamp",
        description="",
        price=1250,
        currency=Currency.EUR,
        quantity=quantity,
        status=ItemStatus.LISTED,
    )
    await desk.follow(item)
    return item_id


def placing(item_id: str, quantity: int = 1, buyer: str | None = None, key: str | None = None) -> PlaceOrder:
    return PlaceOrder(item_id, quantity, buyer or new_id(), "Bo", key)


async def taken(db: Database, item_id: str) -> tuple[int, int]:
    """What the stock says is taken, and what its live orders add up to."""
    stock = await db.stock.find_one({"_id": item_id})
    assert stock is not None
    live = await db.orders.find({"item_id": item_id, "status": {"$in": ["awaiting_payment", "paid"]}}).to_list()
    return stock["taken"], sum(order["quantity"] for order in live)


async def test_two_replicas_sell_exactly_what_there_is(
    desks: tuple[ReservationDesk, ReservationDesk], db: Database
) -> None:
    item = await listed(desks[0], 50)

    results = await asyncio.gather(*(desks[n % 2].place(placing(item)) for n in range(200)), return_exceptions=True)

    assert [isinstance(r, Order) for r in results].count(True) == 50
    assert [isinstance(r, SoldOut) for r in results].count(True) == 150
    assert await taken(db, item) == (50, 50)


async def test_mixed_quantities_and_cancels_never_exceed_the_stock(
    desks: tuple[ReservationDesk, ReservationDesk], db: Database
) -> None:
    item = await listed(desks[0], 40)
    chance = random.Random(7)  # noqa: S311 - the same story every time

    async def buyer(number: int) -> None:
        desk = desks[number % 2]
        try:
            order = await desk.place(placing(item, chance.randint(1, 4)))
        except SoldOut:
            return
        held, _ = await taken(db, item)
        assert held <= 40
        if chance.random() < 0.5:
            await asyncio.gather(desk.cancel(order.id), desks[1 - number % 2].expire(order.id))

    await asyncio.gather(*(buyer(n) for n in range(120)))

    held, live = await taken(db, item)
    assert held == live <= 40


async def test_one_key_at_two_replicas_at_once_is_one_order(
    desks: tuple[ReservationDesk, ReservationDesk], db: Database
) -> None:
    item = await listed(desks[0], 40)

    placed = await asyncio.gather(*(desks[n % 2].place(placing(item, 2, "bo", key="k")) for n in range(6)))

    assert len({order.id for order in placed}) == 1
    assert await taken(db, item) == (2, 2)


async def test_a_buyer_at_two_replicas_still_holds_ten_at_most(
    desks: tuple[ReservationDesk, ReservationDesk], db: Database
) -> None:
    item = await listed(desks[0], 100)

    results = await asyncio.gather(
        *(desks[n % 2].place(placing(item, 3, "bo")) for n in range(8)), return_exceptions=True
    )

    assert [isinstance(r, Order) for r in results].count(True) == 3
    assert [isinstance(r, HoldLimit) for r in results].count(True) == 5
    assert await taken(db, item) == (9, 9)


async def test_a_failing_command_costs_nobody_else_anything(
    desks: tuple[ReservationDesk, ReservationDesk], db: Database
) -> None:
    item = await listed(desks[0], 10)
    too_large = PlaceOrder(item, 1, new_id(), "N" * 17_000_000)  # more than a document may hold

    good, bad, other = await asyncio.gather(
        desks[0].place(placing(item)),
        desks[0].place(too_large),
        desks[0].place(placing(item)),
        return_exceptions=True,
    )

    assert isinstance(good, Order)
    assert isinstance(other, Order)
    assert isinstance(bad, Exception)
    assert await taken(db, item) == (2, 2)


async def test_a_replica_killed_in_the_middle_of_a_group_holds_nobody_up_for_long(
    desks: tuple[ReservationDesk, ReservationDesk], mongo_url: str, db: Database
) -> None:
    item = await listed(desks[0], 10)
    async with database(mongo_url) as dead, dead.client.start_session() as session:
        await session.start_transaction()
        await dead.stock.update_one({"_id": item}, {"$inc": {"taken": 1}}, session=session)

        placed = await desks[0].place(placing(item))

        assert isinstance(placed, Order)
        assert await taken(db, item) == (1, 1)


@pytest.mark.parametrize("quantity", [1, 3])
async def test_units_come_back_to_the_last_one(
    desks: tuple[ReservationDesk, ReservationDesk], db: Database, quantity: int
) -> None:
    item = await listed(desks[0], 30)
    orders = await asyncio.gather(*(desks[n % 2].place(placing(item, quantity)) for n in range(10)))

    await asyncio.gather(*(desks[n % 2].cancel(order.id) for n, order in enumerate(orders)))

    assert await taken(db, item) == (0, 0)


async def test_an_answer_is_of_its_own_moment_whatever_its_group_decides_next(
    desks: tuple[ReservationDesk, ReservationDesk],
) -> None:
    desk, _ = desks
    item = await listed(desk, 2)
    order = await desk.place(placing(item))
    await desk.expire(order.id)

    _, cancelled, paid = await asyncio.gather(
        desk.place(placing(item)),  # a group of its own; the other two wait for it
        desk.cancel(order.id),
        desk.settle(order.id, "late"),
    )

    assert (cancelled.status, paid.status) == (OrderStatus.EXPIRED, OrderStatus.PAID)
