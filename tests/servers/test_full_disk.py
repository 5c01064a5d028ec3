"""A MongoDB whose disk is full refuses what needs a new file, and lives on: the call may succeed later."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from pymongo import InsertOne

from common.mongo.client import AWAY, Database, database, write_all
from infra.servers.mongo import MongoServer
from tests.chaos.disks import SmallDisk, may_mount

MEGABYTES = 400


@pytest_asyncio.fixture
async def disk(tmp_path: Path) -> AsyncIterator[SmallDisk]:
    small = SmallDisk(tmp_path / "data", MEGABYTES)
    await small.mount()
    try:
        yield small
    finally:
        await small.unmount()


@pytest_asyncio.fixture
async def db(disk: SmallDisk, tmp_path: Path) -> AsyncIterator[Database]:
    server = MongoServer(tmp_path)
    await server.start()
    try:
        async with database(server.url_for("shelves")) as found:
            yield found
    finally:
        disk.make_room()
        await server.stop()


CALLS: dict[str, Callable[[Database], Awaitable[object]]] = {
    "insert": lambda db: db.first.insert_one({}),
    "update": lambda db: db.second.update_one({"_id": "chair"}, {"$set": {"seat": "red"}}, upsert=True),
    "bulk write": lambda db: write_all(db.third, [InsertOne({}), InsertOne({})]),
    "index": lambda db: db.fourth.create_index("seat"),
}


@pytest.mark.servers
@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
async def test_what_does_not_fit_on_a_full_disk_may_succeed_later(db: Database, disk: SmallDisk) -> None:
    disk.fill()

    for call in CALLS.values():
        with pytest.raises(AWAY, match="disk is full"):
            await call(db)

    disk.make_room()
    for call in CALLS.values():
        await call(db)
