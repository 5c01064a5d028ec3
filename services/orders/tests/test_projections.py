"""Stock that is no longer what the streams and the orders say: found, and mended while people go on buying."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from common import projections as projections_module
from common.events import StockChanged
from common.ids import new_id
from common.projections import Projection, differences_of, rebuild
from orders.projections import opened
from tests.support.waiting import eventually

from .conftest import World


@pytest_asyncio.fixture
async def stock(orders: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Projection]:
    """The projection, opened beside the running service."""
    monkeypatch.setattr(projections_module, "SETTLE_SECONDS", 0.1)
    async with opened() as [projection]:
        yield projection


async def live_units(orders: World, item: str) -> int:
    live = {"item_id": item, "status": {"$in": ["awaiting_payment", "paid"]}}
    return sum([order["quantity"] async for order in orders.db.orders.find(live)])


async def told(orders: World, item: str, **state: Any) -> bool:
    """Whether the newest that others were told of an item's stock is what is kept, and this."""
    newest = max(
        (e for e in await orders.events.published(StockChanged) if e.item_id == item), key=lambda e: e.stock_version
    )
    assert newest.stock_version == (await orders.stock(item))["version"]
    assert newest.model_dump(include=set(state)) == state
    return True


async def test_stock_as_it_should_be_differs_in_nothing(orders: World, stock: Projection) -> None:
    item = await orders.listed(quantity=5)
    await orders.placed(item, 2)
    await orders.change(item, 2, quantity=7)

    assert await differences_of(stock) == []


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"$set": {"taken": 0}}, "units_too_many 0 expected, -2 found"),
        ({"$inc": {"offered": 3}}, "offered 5 expected, 8 found"),
        ({"$set": {"version": 1}}, "versions_behind 0 expected, 1 found"),
        (None, "nothing found"),
    ],
    ids=["taken", "offer", "version", "lost"],
)
async def test_damage_is_found_and_mended(orders: World, stock: Projection, damage: Any, said: str) -> None:
    item = await orders.listed(quantity=5)
    order = await orders.placed(item, 2)
    await orders.events.published(StockChanged, 2)  # Which is what the version is compared with.
    if damage:
        await orders.db.stock.update_one({"_id": item}, damage)
    else:
        await orders.db.stock.delete_one({"_id": item})

    [difference] = await differences_of(stock)
    assert difference.key == item
    assert said in str(difference)
    assert await rebuild(stock, swap=True) == 0

    kept = await orders.stock(item)
    assert (kept["offered"], kept["taken"]) == (5, 2)
    await orders.run_out(order["id"])
    await eventually(lambda: told(orders, item, quantity=5, available=5))


async def test_nothing_is_lost_that_happens_while_it_is_mended(orders: World, stock: Projection) -> None:
    items = [await orders.listed(quantity=100_000) for _ in range(3)]
    mended = asyncio.Event()

    async def buy_and_cancel(number: int) -> None:
        bought = 0
        while not mended.is_set() or bought < 5:
            item = items[(number + bought) % 3]
            answer = await orders.place(item, 1 + bought % 3)
            assert answer.status_code == 201, answer.text
            bought += 1

    buyers = asyncio.gather(*(buy_and_cancel(number) for number in range(8)))
    for _ in range(2):
        for item in items:
            await orders.db.stock.update_one({"_id": item}, {"$inc": {"taken": 100, "version": 1}})
        assert await rebuild(stock, swap=True) == 0
    mended.set()
    await buyers

    for item in items:
        assert (await orders.stock(item))["taken"] == await live_units(orders, item) > 0
    assert await differences_of(stock) == []


async def test_stock_that_nobody_listed_is_told_of_and_stays(orders: World, stock: Projection) -> None:
    item = await orders.listed()
    stranger = {**await orders.stock(item), "_id": new_id(), "pending": []}
    await orders.db.stock.insert_one(stranger)

    assert await rebuild(stock, swap=True) == 1
    assert await orders.stock(stranger["_id"])
