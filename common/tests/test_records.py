"""A service's records: each one once, in pages that fit on the bus, and an answer to every query."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from common.bus.connection import Bus
from common.errors import NotFound, Unavailable
from common.mongo.client import Collection, Database
from common.mongo_records import changes_in, records_in
from common.records import MAX_RECORDS, ChangesLost, Record, Records, RecordsPage, RecordsQuery

records = Records("larder")


class Larder:
    """Where the records are."""

    def __init__(self, jars: Collection) -> None:
        self.jars = jars


class NothingListed(NotFound):
    code = "nothing_listed"


@records.on("jars")
async def show_jars(query: RecordsQuery, larder: Larder) -> list[Record]:
    return await records_in(larder.jars, query, "label")


@records.on("spoons")
async def show_spoons(query: RecordsQuery) -> list[Record]:
    raise NothingListed("nobody counts spoons")


@pytest_asyncio.fixture
async def bus(bus_url: str, db: Database) -> AsyncIterator[Bus]:
    """A bus on which the larder answers, once in each of two replicas."""
    async with Bus.connected(bus_url, "larder") as bus, Bus.connected(bus_url, "larder") as replica:
        parts = [Larder(db.jars)]
        async with records.answering(bus, parts), records.answering(replica, parts):
            yield bus


async def ask(bus: Bus, kind: str, **query: Any) -> RecordsPage:
    return RecordsPage.model_validate_json(
        await bus.request(f"books.larder.{kind}", RecordsQuery(**query).model_dump_json().encode())
    )


async def all_ids(bus: Bus, **query: Any) -> list[str]:
    ids: list[str] = []
    after: str | None = ""
    while after is not None:
        answer = await ask(bus, "jars", after=after, **query)
        ids += [row["id"] for row in answer.rows]
        after = answer.next
    return ids


async def test_every_record_is_on_one_page(bus: Bus, db: Database) -> None:
    names = [f"{number:03}" for number in range(25)]
    await db.jars.insert_many([{"_id": name, "label": "plum"} for name in reversed(names)])

    assert await all_ids(bus, limit=10) == names
    assert await all_ids(bus, limit=25) == names


async def test_records_that_exist_are_found_by_id(bus: Bus, db: Database) -> None:
    await db.jars.insert_one({"_id": "a", "label": "plum", "secret": "spoon", "pending": [1, 2]})

    answer = await ask(bus, "jars", ids=["b", "a"])

    assert answer.rows == [{"id": "a", "label": "plum", "pending": 2}]
    assert answer.next is None


async def test_a_page_too_large_for_the_bus_is_cut(bus: Bus, db: Database) -> None:
    names = [f"{number:02}" for number in range(12)]
    await db.jars.insert_many([{"_id": name, "label": "x" * 200_000} for name in names])

    assert len((await ask(bus, "jars")).rows) < len(names)
    assert await all_ids(bus) == names
    assert await all_ids(bus, ids=names) == names


async def test_errors_are_part_of_the_answer(bus: Bus) -> None:
    refused = await ask(bus, "spoons")
    assert (refused.rows, refused.code) == ([], "nothing_listed")

    nonsense = RecordsPage.model_validate_json(
        await bus.request("books.larder.jars", b'{"limit": %d}' % (MAX_RECORDS + 1))
    )
    assert nonsense.error

    with pytest.raises(Unavailable, match=r"nobody answers on books\.larder\.forks"):
        await bus.request("books.larder.forks", b"{}")


async def changed(db: Database, after: str, limit: int = MAX_RECORDS) -> list[Record]:
    """A page of what was written."""
    return await changes_in(RecordsQuery(after=after, limit=limit), jar=db.jars, tin=db.tins)


async def test_what_anybody_wrote_since_a_mark_is_told_page_by_page(db: Database) -> None:
    await db.jars.insert_one({"_id": "before"})
    [start] = await changed(db, "")
    assert set(start) == {"id"}
    await db.tins.insert_one({"_id": "salt"})
    await db.jars.insert_many([{"_id": name} for name in ("plum", "pear", "fig")])
    await db.spoons.insert_one({"_id": "nobody counts spoons"})
    await db.jars.update_one({"_id": "plum"}, {"$set": {"label": "Plum"}})
    await db.jars.replace_one({"_id": "before"}, {"label": "After"})

    told, mark, pages = [], start["id"], 0
    while rows := await changed(db, mark, limit=2):
        pages += 1
        told += [(row["kind"], row["key"]) for row in rows if "key" in row]
        mark = rows[-1]["id"]
        if "key" not in rows[-1]:
            break

    jars = [("jar", name) for name in ("plum", "pear", "fig", "plum", "before")]
    assert told == [("tin", "salt"), *jars]
    assert pages == 4  # the last one says that there is no more
    assert [set(row) for row in await changed(db, mark)] == [{"id"}]


async def test_what_others_write_does_not_end_a_page_early(db: Database) -> None:
    [start] = await changed(db, "")
    for _ in range(4):
        await db.spoons.insert_many([{"pad": "x" * 100} for _ in range(2_500)])
    await db.jars.insert_one({"_id": "plum"})

    assert [row.get("key") for row in await changed(db, start["id"])] == ["plum", None]


@pytest.mark.parametrize("loss", ["deleted", "dropped", "not a mark"])
async def test_where_changes_cannot_be_told_that_is_said(db: Database, loss: str) -> None:
    await db.jars.insert_one({"_id": "plum"})
    [start] = await changed(db, "")
    match loss:
        case "deleted":
            await db.jars.delete_one({"_id": "plum"})
        case "dropped":
            await db.jars.drop()
    with pytest.raises(ChangesLost):
        await changed(db, "not a mark" if loss == "not a mark" else start["id"])
