"""Copies that are no longer what the streams say: found, and mended beside the running service."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from common import projections as projections_module
from common.events import StockChanged, UserErased, UserRegistered
from common.projections import Projection, differences_of, rebuild
from items.projections import opened

from .conftest import Shop


@pytest_asyncio.fixture
async def projections(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Projection]]:
    """The projections by name, opened beside the service."""
    monkeypatch.setattr(projections_module, "SETTLE_SECONDS", 0.1)
    async with opened() as projections:
        yield {projection.name: projection for projection in projections}


async def test_what_is_left_is_read_again(shop: Shop, projections: dict[str, Projection]) -> None:
    items = [(await shop.offer(quantity=40))["id"] for _ in range(3)]
    for version in (2, 1):
        for item in items[:2]:
            await shop.events.deliver(
                StockChanged(item_id=item, stock_version=version, quantity=40, available=40 - version)
            )
    available = projections["items.available"]
    assert await differences_of(available) == []

    await shop.db.items.update_one({"_id": items[0]}, {"$set": {"available": 7}})
    await shop.db.items.update_one({"_id": items[1]}, {"$set": {"available": 39, "stock_version": 1}})
    found = {difference.key: str(difference) for difference in await differences_of(available)}

    assert found == {
        items[0]: f"{items[0]}: available 38 expected, 7 found",
        items[1]: f"{items[1]}: available 38 expected, 39 found; stock_version 2 expected, 1 found",
    }
    assert await rebuild(available, swap=False) == 2
    assert await rebuild(available, swap=True) == 0
    assert [(await shop.item(item))["available"] for item in items] == [38, 38, 40]


async def test_the_version_that_orders_sells_by_is_read_again(shop: Shop, projections: dict[str, Projection]) -> None:
    item = (await shop.offer())["id"]
    for version, item_version in ((1, 1), (2, 2), (3, None)):  # the last by the revision before, during an upgrade
        await shop.events.deliver(
            StockChanged(item_id=item, stock_version=version, quantity=5, available=5, item_version=item_version)
        )
    available = projections["items.available"]
    assert await differences_of(available) == []

    await shop.db.items.update_one({"_id": item}, {"$set": {"followed_version": 1}})
    assert [str(d) for d in await differences_of(available)] == [f"{item}: followed_version 2 expected, 1 found"]
    assert await rebuild(available, swap=True) == 0
    assert (await shop.db.items.find_one({"_id": item}) or {})["followed_version"] == 2


async def test_a_mend_never_overwrites_what_came_meanwhile(shop: Shop, projections: dict[str, Projection]) -> None:
    item = (await shop.offer(quantity=40))["id"]
    await shop.events.deliver(StockChanged(item_id=item, stock_version=1, quantity=40, available=39))
    await shop.db.items.update_one({"_id": item}, {"$set": {"available": 7}})
    available = projections["items.available"]
    differences = await differences_of(available)

    await shop.events.deliver(StockChanged(item_id=item, stock_version=2, quantity=40, available=30))
    await available.repair(differences)

    assert (await shop.item(item))["available"] == 30


async def test_the_names_of_sellers_are_read_again(shop: Shop, projections: dict[str, Projection]) -> None:
    people = ["lost", "wrong", "right"]
    for name in people:
        await shop.events.deliver(UserRegistered(user_id=name, email=f"{name}@souk.test", name=name.title()))
    await shop.db.sellers.delete_one({"_id": "lost"})
    await shop.db.sellers.update_one({"_id": "wrong"}, {"$set": {"name": "Mallory"}})
    await shop.db.sellers.insert_one({"_id": "stranger", "name": "Nobody"})
    sellers = projections["items.sellers"]

    assert {d.key for d in await differences_of(sellers)} == {"lost", "wrong", "stranger"}
    assert await rebuild(sellers, swap=True) == 0
    assert {d["_id"]: d["name"] async for d in shop.db.sellers.find({})} == {name: name.title() for name in people}


async def test_who_was_erased_does_not_come_back_when_the_names_are_read_again(
    shop: Shop, projections: dict[str, Projection]
) -> None:
    await shop.events.deliver(UserErased(user_id="gone", account_version=2))
    await shop.events.deliver(UserRegistered(user_id="gone", email="gone@souk.test", name="Gone"))
    await shop.db.sellers.replace_one({"_id": "gone"}, {"name": "Gone"})
    sellers = projections["items.sellers"]

    assert {d.key for d in await differences_of(sellers)} == {"gone"}
    assert await rebuild(sellers, swap=True) == 0
    assert await shop.db.sellers.find_one({}) == {"_id": "gone", "erased": True}
