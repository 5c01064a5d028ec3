"""The index of a process follows what MongoDB has: what others change, what nobody told, and while news are missing."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from common.events import Category, Currency, StockChanged
from common.mongo.client import Database
from items.catalogue_store import CatalogueStore
from items.domain import Item
from items.index.engine import SearchEngine
from items.index.feed import IndexFeed
from items.memory import ItemMemory, Versions
from items.search import Sort, Wanted, words_of
from tests.support.waiting import eventually

JAZZ = Wanted(words=("jazz",))


class Told(ItemMemory):
    """What others change is told by the test; whether news are missing, too."""

    age = 0.0

    def news_age(self) -> float:
        return self.age


def document(item_id: str, title: str = "Jazz night", **different: Any) -> dict[str, Any]:
    """An item as MongoDB has it."""
    offered: dict[str, Any] = {"title": title, "description": "", "price": 100, "currency": Currency.EUR, "quantity": 5}
    item = Item.offer(seller_id="s", now=datetime.now(UTC), **offered)
    state = {name: value for name, value in item.to_document().items() if value is not None}
    return {**state, "_id": item_id, "version": 1, "seller_name": "Ada", "seller_words": words_of("Ada"), **different}


@asynccontextmanager
async def following(db: Database, memory: ItemMemory) -> AsyncIterator[tuple[IndexFeed, CatalogueStore]]:
    """An index that has read all items."""
    await CatalogueStore(db).prepare()
    async with IndexFeed(db, memory).running() as feed:
        await eventually(feed.up_to_date)
        yield feed, CatalogueStore(db, feed)


async def found(catalogue: CatalogueStore, wanted: Wanted = JAZZ) -> list[str]:
    """The ids of a list."""
    return [item["_id"] for item in await catalogue.page(wanted, 10)]


async def test_what_another_replica_lists_renames_and_withdraws_is_followed(db: Database) -> None:
    memory = Told()
    await db.items.insert_many([document("1"), document("2", "A lamp")])
    async with following(db, memory) as (feed, catalogue):
        assert await found(catalogue) == ["1"]

        await db.items.insert_one(document("3"))
        renamed = document("2", "Jazz lamp", version=2)
        await db.items.replace_one({"_id": "2"}, renamed)
        await db.items.update_one({"_id": "1"}, {"$set": {"status": "withdrawn", "version": 2}})
        assert await feed.ask(lambda engine: engine.find(JAZZ, 10, 10)) == [("1", 0)], "nobody has told it"
        for item_id, version in (("3", 1), ("2", 2), ("1", 2)):
            memory.changed(item_id, Versions(item=version))

        assert await found(catalogue) == ["3", "2"]
        assert await found(catalogue, Wanted(words=("lamp",))) == ["2"]
        await eventually(feed.up_to_date)
        assert await feed.ask(lambda engine: engine.known(["1"])) == {}
        assert (await catalogue.facets(JAZZ)).total == 2


async def test_what_is_left_comes_with_the_news_and_never_from_older_ones(db: Database) -> None:
    memory, can_be_bought = Told(), replace(JAZZ, available=True)
    await db.items.insert_one(document("1"))
    async with following(db, memory) as (feed, _):

        async def hits() -> int:
            await eventually(feed.up_to_date)
            return len(await feed.ask(lambda engine: engine.find(can_be_bought, 10, 10)))

        memory.receive(StockChanged(item_id="1", stock_version=2, quantity=5, available=0))
        assert await hits() == 0
        memory.receive(StockChanged(item_id="1", stock_version=1, quantity=5, available=3))
        assert await hits() == 0
        memory.receive(StockChanged(item_id="1", stock_version=3, quantity=5, available=3))
        assert await hits() == 1


async def test_a_sellers_name_is_found_once_it_has_arrived_although_nobody_tells_this_process(db: Database) -> None:
    await db.items.insert_one(document("1", seller_name=None, seller_words=[]))
    async with following(db, Told()) as (feed, _):
        await db.items.update_one({"_id": "1"}, {"$set": {"seller_name": "Grace", "seller_words": ["grace"]}})

        async def by_name() -> bool:
            return bool(await feed.ask(lambda engine: engine.find(Wanted(words=("grace",)), 10, 10)))

        await eventually(by_name)


async def test_what_nobody_told_is_found_when_the_index_is_compared(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("items.index.feed.COMPARE_SECONDS", 0.05)
    await db.items.insert_many([document("1"), document("2")])
    async with following(db, Told()) as (_, catalogue):
        await db.items.insert_one(document("3"))
        await db.items.update_one({"_id": "1"}, {"$set": {"status": "withdrawn", "version": 2}})

        async def same() -> bool:
            return await found(catalogue) == ["3", "2"]

        await eventually(same)


async def test_while_news_are_missing_mongodb_answers(db: Database) -> None:
    memory = Told()
    await db.items.insert_one(document("1"))
    async with following(db, memory) as (_, catalogue):
        await db.items.insert_one(document("2"))
        assert await found(catalogue) == ["1"]
        memory.age = 6.0
        assert await found(catalogue) == ["2", "1"]


async def test_what_is_no_longer_wanted_never_shortens_a_page(db: Database) -> None:
    """The index may be behind by moments: a page that would lack an item is asked for once more, from MongoDB."""
    await db.items.insert_many([document(str(n)) for n in range(5)])
    async with following(db, Told()) as (_, catalogue):
        await db.items.update_one({"_id": "3"}, {"$set": {"status": "withdrawn", "version": 2}})
        assert [item["_id"] for item in await catalogue.page(JAZZ, 3)] == ["4", "2", "1"]


@pytest.mark.parametrize("sort", list(Sort))
async def test_no_words_break_a_question(sort: Sort) -> None:
    engine = SearchEngine()
    engine.put([document("1", '"Jazz" OR NEAR(* ⑴ ㏂ ﷺ '), document("2", "A lamp")])
    for typed in ('"', "OR", "NEAR", "a* b:c -d", "⑴", "㏂", "ﷺ", "'; DROP TABLE facts", "jazz^2"):
        words = tuple(words_of(typed))
        await asyncio.to_thread(engine.find, Wanted(words=words, sort=sort), 10, 10)
        engine.count(Wanted(words=words), 10, ["category"])
    assert [hit.item_id for hit in engine.find(Wanted(words=("near", "or")), 10, 10)] == ["1"]


def test_a_search_begins_with_the_words_whatever_else_is_wanted() -> None:
    """SQLite would begin with the city, and look into the words once for each item of it: minutes at 100,000 items."""
    engine = SearchEngine()
    engine.put(document(f"{n:05}", "Jazz night", city="Graz", city_key="graz", category="music") for n in range(3_000))
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    engine._db.set_progress_handler(step, 1_000)
    wanted = Wanted(words=("jazz",), city="Graz", category=Category.MUSIC)
    for sort in Sort:
        engine.find(replace(wanted, sort=sort), 10, 1_000)
    engine.count(wanted, 1_000, ["kind"])
    engine.count(wanted, 1_000, ["city"], "city")
    assert steps < 400, f"{steps} thousand steps of SQLite"


async def test_while_many_searches_wait_for_the_index_mongodb_answers_the_others(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("items.index.feed.MOST_WAITING", 1)
    await db.items.insert_one(document("1"))
    async with following(db, Told()) as (feed, catalogue):
        free = threading.Event()
        waiting = asyncio.create_task(feed.ask(lambda _: free.wait(60)))
        try:
            await asyncio.sleep(0)  # It is asked.
            assert not await feed.up_to_date()
            assert await found(catalogue) == ["1"]
        finally:
            free.set()
        assert await waiting
        await eventually(feed.up_to_date)
