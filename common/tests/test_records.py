"""A service's records: each one once, in pages that fit on the bus, and an answer to every query."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from common.bus.connection import Bus
from common.errors import NotFound, Unavailable
from common.mongo.client import Collection, Database
from common.mongo_records import records_in
from common.records import MAX_RECORDS, Record, Records, RecordsPage, RecordsQuery

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
