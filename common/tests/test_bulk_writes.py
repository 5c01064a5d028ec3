"""A bulk write is done whole, also if no connection can be made for it at first."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from pymongo import InsertOne, UpdateOne

from common.bus.connection import Bus
from common.mongo.client import Database, database, write_all, write_in
from common.outbox import Outbox, Relay, write_of
from infra.servers.mongo import MongoServer
from infra.services import ROOT
from tests.support.shelf import Shelf
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


class FailingMongo(MongoServer):
    """A mongod that fails when it is told to."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--setParameter=enableTestCommands=1"]

    async def refuse_a_connection(self, db: Database) -> None:
        """Break the next connection that a client makes. That by which it looks after the server is made already."""
        await db.client.aconnect()
        await eventually(lambda: db.client.primary)
        hello = {"failCommands": ["hello", "isMaster", "ismaster"], "closeConnection": True}
        async with self.administrator() as client:
            await client.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=hello)


@pytest.fixture(scope="module")
async def mongo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FailingMongo]:
    server = FailingMongo(tmp_path_factory.mktemp("failing"))
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def old(mongo: FailingMongo) -> Shelf:
    """A shelf that was saved, and has changed since."""
    shelf = Shelf.new()
    async with database(mongo.url_for("shelves")) as db:
        await db.shelves.insert_one({"_id": shelf.id, "version": 1})
    shelf.saved()
    shelf.put()
    return shelf


@pytest.fixture
async def db(mongo: FailingMongo, old: Shelf) -> AsyncIterator[Database]:
    """The database of a client that looks at the server every ten seconds, and has no other connection yet."""
    async with database(f"{mongo.url_for('shelves')}&serverMonitoringMode=poll") as db:
        yield db


async def versions(db: Database, *shelves: Shelf) -> list[int | None]:
    """The stored versions; None for a shelf that is not there."""
    stored = {shelf["_id"]: shelf["version"] async for shelf in db.shelves.find()}
    return [stored.get(shelf.id) for shelf in shelves]


async def test_new_and_changed_aggregates_that_are_saved_at_once_are_all_saved(
    mongo: FailingMongo, db: Database, old: Shelf, bus_url: str
) -> None:
    new = Shelf.new()
    async with (
        database(mongo.url_for("shelves")) as other,
        Bus.connected(bus_url, "orders") as bus,
        Relay.running(bus, other.shelves) as relay,
    ):
        outbox = Outbox(db.shelves, relay)
        await mongo.refuse_a_connection(db)
        await asyncio.gather(outbox.save(new), outbox.save(old))

    assert await versions(db, new, old) == [1, 2]


async def test_a_transaction_writes_new_and_changed_aggregates(mongo: FailingMongo, db: Database, old: Shelf) -> None:
    new = Shelf.new()
    await mongo.refuse_a_connection(db)

    async with db.client.start_session() as session, await session.start_transaction():
        await write_in(session, db.shelves, [write_of(new, []), write_of(old, [])])

    assert await versions(db, new, old) == [1, 2]


async def test_writes_of_several_kinds_are_refused(db: Database) -> None:
    with pytest.raises(ValueError, match="of one kind"):
        await write_all(db.shelves, [InsertOne({"_id": "new"}), UpdateOne({"_id": "old"}, {"$set": {"count": 1}})])

    assert not await db.shelves.count_documents({"_id": "new"})


def test_nobody_calls_the_driver_past_these_two() -> None:
    sources = [*(ROOT / "common/src").rglob("*.py"), *(ROOT / "services").glob("*/src/**/*.py")]
    calling = {str(path.relative_to(ROOT)) for path in sources if ".bulk_write(" in path.read_text()}
    assert calling == {"common/src/common/mongo/client.py"}
