"""Items in a real MongoDB."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from common.bus.connection import Bus
from common.errors import StaleWrite
from common.events import Currency, StockChanged
from common.ids import new_id
from common.mongo.client import Database, database
from common.outbox import Relay
from infra.servers.process import free_port
from items.catalogue_store import CatalogueStore
from items.domain import Item, ItemNotFound, PictureNotFound
from items.picture_store import PictureStore
from items.search import Wanted
from items.store import ItemStore


@pytest_asyncio.fixture
async def store(db: Database, bus_url: str) -> AsyncIterator[ItemStore]:
    async with Bus.connected(bus_url, "items") as bus, Relay.running(bus, db.items) as relay:
        store = ItemStore(db, relay)
        await store.prepare()
        yield store


def lamp(**different: Any) -> Item:
    offer: dict[str, Any] = {"seller_id": "ada", "title": "A lamp", "description": "", "price": 1250, "quantity": 5}
    return Item.offer(**offer | different, currency=Currency.EUR, now=datetime.now(UTC))


async def test_what_was_saved_is_what_is_loaded(store: ItemStore) -> None:
    item = lamp()
    await store.add(item)

    assert await store.get(item.id) == item
    with pytest.raises(ItemNotFound):
        await store.get("nothing")


async def test_the_name_of_a_seller_who_is_known_goes_along(store: ItemStore) -> None:
    await store.name_seller("ada", "Ada")
    item = lamp()
    await store.add(item)

    assert (await store.get(item.id)).seller_name == "Ada"


async def test_a_name_that_arrives_at_the_very_moment_of_the_offer_is_not_lost(store: ItemStore) -> None:
    items = [lamp(seller_id=f"seller {n}") for n in range(50)]

    async def arrive(item: Item) -> None:
        await asyncio.gather(store.add(item), store.name_seller(item.seller_id, "Ada"))

    await asyncio.gather(*map(arrive, items))

    assert [(await store.get(item.id)).seller_name for item in items] == ["Ada"] * 50


async def test_a_name_is_filled_in_where_it_is_missing_and_moves_no_version(store: ItemStore) -> None:
    mine, other = lamp(), lamp(seller_id="grace")
    await store.add(mine)
    await store.add(other)

    await store.name_seller("ada", "Ada")
    await store.name_seller("ada", "Ada")

    assert (await store.get(mine.id)).seller_name == "Ada"
    assert (await store.get(mine.id)).version == 1
    assert (await store.get(other.id)).seller_name is None


async def test_of_changes_at_once_none_is_lost(store: ItemStore) -> None:
    item = lamp()
    await store.add(item)

    await asyncio.gather(
        store.change(item.id, lambda i: i.edit("ada", {"price": 1})),
        store.change(item.id, lambda i: i.edit("ada", {"title": "A brass lamp"})),
        store.change(item.id, lambda i: i.edit("ada", {"quantity": 9})),
    )

    kept = await store.get(item.id)
    assert (kept.price, kept.title, kept.quantity, kept.version) == (1, "A brass lamp", 9, 4)


async def test_a_change_that_always_comes_too_late_gives_up(store: ItemStore, db: Database) -> None:
    item = lamp()
    await store.add(item)
    tries = 0

    def outrun(loaded: Item) -> None:
        nonlocal tries
        tries += 1
        loaded.edit("ada", {"price": tries})
        loaded.version -= 1  # as if somebody else had saved it since

    with pytest.raises(StaleWrite):
        await store.change(item.id, outrun)

    assert 1 < tries < 30
    assert (await store.get(item.id)).price == 1250


async def test_a_change_leaves_what_the_consumers_wrote(store: ItemStore) -> None:
    item = lamp()
    await store.add(item)

    def edit_while_events_arrive(loaded: Item) -> None:
        loaded.edit("ada", {"price": 1})
        loaded.available, loaded.seller_name = 77, "Nobody"  # What was loaded is old; none of it is written.

    await store.show_stock(StockChanged(item_id=item.id, stock_version=3, quantity=5, available=2))
    await store.name_seller("ada", "Ada")
    await store.change(item.id, edit_while_events_arrive)

    kept = await store.get(item.id)
    assert (kept.price, kept.available, kept.stock_version, kept.seller_name) == (1, 2, 3, "Ada")


async def test_the_newest_stock_wins_in_any_order_and_within_one_batch(store: ItemStore) -> None:
    items = [lamp() for _ in range(3)]
    for item in items:
        await store.add(item)
    changes = [
        StockChanged(item_id=item.id, stock_version=version, quantity=50, available=50 - version)
        for item in items
        for version in (4, 9, 1, 9, 7)
    ]

    await asyncio.gather(*map(store.show_stock, changes))
    await store.show_stock(changes[2])  # version 1, late

    assert [(await store.get(item.id)).available for item in items] == [41] * 3
    assert {(await store.get(item.id)).version for item in items} == {1}


async def test_pages_follow_each_other_without_gap_or_repetition(store: ItemStore, db: Database) -> None:
    items = [lamp() for _ in range(7)]
    for item in items:
        await store.add(item)
    seen: list[str] = []
    cursor: str | None = None
    sizes = []

    while True:
        page = await CatalogueStore(db).page(Wanted(), 3, {"_id": cursor} if cursor else None)
        seen += [item["_id"] for item in page]
        sizes.append(len(page))
        if len(page) < 3:
            break
        cursor = seen[-1]
        await store.add(lamp())  # what comes in between is newer than every cursor

    assert seen == [item.id for item in reversed(items)]
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize(
    "query",
    [
        {"status": "listed"},
        {"status": "listed", "_id": {"$lt": "f"}},
        {"seller_id": "ada"},
        {"seller_id": "ada", "status": "listed", "_id": {"$lt": "f"}},
        {"seller_id": "ada", "seller_name": None},
    ],
)
async def test_no_list_reads_or_sorts_more_than_it_shows(store: ItemStore, db: Database, query: dict[str, Any]) -> None:
    await db.items.insert_many({"_id": f"{n:x}", "status": "listed", "seller_id": "ada"} for n in range(200))

    plan = await db.items.find(query).sort("_id", -1).limit(10).explain()

    assert plan["executionStats"]["totalDocsExamined"] == 10
    assert "SORT" not in str(plan["queryPlanner"]["winningPlan"])


async def test_items_of_an_older_version_are_found_once_their_words_are_filled_in(
    store: ItemStore, db: Database
) -> None:
    item = lamp(title="A brass lamp")
    await store.name_seller(item.seller_id, "Ada")
    await store.add(item)
    await db.items.update_many({}, {"$unset": {"words": "", "names": "", "seller_words": ""}})
    catalogue = CatalogueStore(db)
    await catalogue.prepare()
    assert await catalogue.page(Wanted(words=("brass",)), 9) == []

    await store.fill_in_words()

    for word in ("brass", "ada"):
        [found] = await CatalogueStore(db).page(Wanted(words=(word,)), 9)
        assert found["_id"] == item.id
    assert (await store.get(item.id)).version == 1


# Pictures

SIZES = {"small": b"small", "large": 300_000 * b"large"}  # the large one has several chunks
AT_ONCE = timedelta(seconds=-5)


async def chunks(db: Database) -> int:
    return await db["pictures.chunks"].count_documents({})


async def test_a_picture_is_kept_as_it_was_given(store: ItemStore) -> None:
    item = lamp()
    await store.add(item)

    [picture] = (await store.add_picture(item.id, "ada", SIZES)).pictures

    assert {size: await store.picture(item.id, picture, size) for size in SIZES} == SIZES
    with pytest.raises(PictureNotFound):
        await store.picture("another item", picture, "small")


async def test_a_picture_that_is_deleted_while_it_is_read_is_not_there(store: ItemStore, db: Database) -> None:
    item = lamp()
    await store.add(item)
    [picture] = (await store.add_picture(item.id, "ada", SIZES)).pictures

    await db["pictures.chunks"].delete_many({})

    with pytest.raises(PictureNotFound):
        await store.picture(item.id, picture, "large")


async def test_the_sweep_deletes_what_no_item_names_and_nothing_else(store: ItemStore, db: Database) -> None:
    item = lamp()
    await store.add(item)
    named = [(await store.add_picture(item.id, "ada", SIZES)).pictures[-1] for _ in range(2)]
    pictures = PictureStore(db)
    before = await chunks(db)
    await pictures.write((new_id(), item.id), SIZES)  # died before the item was saved
    await pictures.write((new_id(), "nothing"), {"small": b"small"})  # died between the two sizes
    await pictures.write((new_id(), item.id), SIZES)
    await db["pictures.files"].delete_many({"_id": {"$gt": named[-1] + "~"}, "filename": "large"})  # died in between

    assert await store.sweep() == 0, "what is young may be named in a moment"
    assert await store.sweep(grace=AT_ONCE) == 3

    assert await chunks(db) == before
    assert await store.sweep(grace=AT_ONCE) == 0
    for picture in named:
        assert await store.picture(item.id, picture, "large") == SIZES["large"]


async def test_the_sweep_looks_at_all_files_some_at_a_time(
    store: ItemStore, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = lamp()
    await store.add(item)
    monkeypatch.setattr("items.store.SWEEP_PAGE", 3)
    pictures = PictureStore(db)
    for number in range(5):
        await store.add_picture(item.id, "ada", {"small": b"small", "large": b"large"})
        await pictures.write((new_id(), f"item-{number}"), {"small": b"small", "large": b"large"})

    assert await store.sweep(grace=AT_ONCE) == 5

    assert await chunks(db) == 10


async def test_a_database_that_is_away_is_a_warning_to_the_sweeper(caplog: pytest.LogCaptureFixture) -> None:
    async with database(f"mongodb://127.0.0.1:{free_port()}/away", 0.2) as away:
        store = ItemStore(away, None)  # type: ignore[arg-type]  # nothing is published
        await store._sweep_once(asyncio.Event())

    assert [record.levelname for record in caplog.records if record.name == "items.store"] == ["WARNING"]
