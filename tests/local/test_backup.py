"""A backup of a running Souk becomes another Souk, in which nothing is sold twice and no money is lost."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from audit.reconciliation.checker import reconcile
from common.bus.address import connected_to
from common.mongo.client import Document, database
from infra.local.backup.archive import Manifest, NoBackup, files_in
from infra.local.backup.create import back_up
from infra.local.backup.restore import restore
from infra.local.backup.stream_snapshots import CHUNK, load_streams, save_streams
from infra.local.backup.write_lock import writes_locked
from infra.local.stack.program import passed_on
from infra.local.stack.stack import Stack
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.services import ROOT
from tests.journeys.test_crashes import all_handled
from tests.support.people import People, Person
from tests.support.shopping import becomes, leaves, money, ok, pay, place, sell
from tests.support.waiting import eventually

STOCK = 5_000


def quietly(_: str) -> None:
    """Nobody looks at the progress."""


async def keep_buying(buyer: Person, item: str, card: str, over: asyncio.Event) -> int:
    """Place orders and pay them with this card until it is over; return how many."""
    count = 0
    while not over.is_set():
        placed = await place(buyer, item)
        await pay(buyer, placed["id"], card)
        count += 1
    return count


async def contents(stack: Stack, service: str, collection: str) -> list[Document]:
    """All of a collection."""
    async with database(stack.mongo_url(service)) as db:
        return await db[collection].find().to_list()


@pytest.mark.servers
@pytest.mark.prove
async def test_a_backup_under_load_is_consistent_and_lives_on_elsewhere(tmp_path: Path) -> None:
    over = asyncio.Event()
    async with Stack(tmp_path / "first", hold_seconds=30) as first, AsyncExitStack() as exits:
        people = People(first, exits)
        seller = await people.signed_up("Sid")
        item = await sell(seller, STOCK)
        await place(await people.new("Ada"), item)  # the item has arrived at orders
        buying = [
            asyncio.create_task(keep_buying(await people.new(card), item, card, over))
            for card in ("pm_card_visa", "pm_card_visa", "pm_card_duplicate")
        ]
        await eventually(lambda: some_paid(first))
        await place(await people.new("Pat"), item, quantity=3)  # never paid
        await back_up(first, tmp_path / "backup", quietly)
        over.set()
        placed = sum(await asyncio.gather(*buying))

    assert {stat.S_IMODE(file.stat().st_mode) for file in files_in(tmp_path / "backup")} == {0o600}
    await restore(tmp_path / "backup", tmp_path / "second", quietly)

    async with Stack(tmp_path / "second", hold_seconds=10) as second, AsyncExitStack() as exits:
        people = People(second, exits)
        nobody = await people.anybody()
        ok(await nobody.post("/api/users/signin", json={"email": seller.user.email, "password": "correct horse"}))

        sold = await eventually(lambda: settled(second), seconds=90, why="orders and money do not agree")
        assert 0 < sold < placed  # what came after the backup is not in it
        await all_handled(second)
        report = await reconcile(nats_url=second.nats_url("audit"), mongo_url=second.mongo_url("audit"), grace=10)
        assert report.violations == []

        buyer = await people.new("Bea")
        await leaves(buyer, item, STOCK - sold)
        later = await place(buyer, item)
        await pay(buyer, later["id"])
        await becomes(buyer, later["id"], "paid")
        await money(buyer, later["id"], "captured")
        await leaves(buyer, item, STOCK - sold - 1)


async def some_paid(stack: Stack) -> bool:
    """Whether the sale is well under way."""
    return len([o for o in await contents(stack, "orders", "orders") if o["status"] == "paid"]) > 15


async def settled(stack: Stack) -> int:
    """How many units are sold, once no hold is open: stock, orders, payments and the gateway's ledger agree."""
    orders = await contents(stack, "orders", "orders")
    assert {o["status"] for o in orders} == {"paid", "expired"}  # Redis was not in the backup
    paid = {o["payment_id"]: o["unit_price"] * o["quantity"] for o in orders if o["status"] == "paid"}
    [stock] = await contents(stack, "orders", "stock")
    assert stock["taken"] == len(paid)
    payments = await contents(stack, "payments", "payments")
    assert {p["status"] for p in payments} <= {"captured", "failed", "released"}
    assert {p["_id"]: p["amount"] for p in payments if p["status"] == "captured"} == paid
    ledger = await contents(stack, "payments", "sandbox_charges")
    assert {c["_id"]: c["amount"] for c in ledger if c.get("captured_at")} == paid
    return len(paid)


@pytest.mark.servers
async def test_a_stream_larger_than_one_chunk_comes_back(tmp_path: Path) -> None:
    first, second = NatsServer(tmp_path / "first"), NatsServer(tmp_path / "second")
    events = [os.urandom(CHUNK // 2) for _ in range(5)]
    for bus in (first, second):
        await bus.start()
    try:
        async with connected_to(first.url, "test") as client:
            await client.jetstream().add_stream(name="ORDERS", subjects=["orders.>"])
            for event in events:
                await client.jetstream().publish("orders.placed", event)
            saved = await save_streams(client, tmp_path / "streams", quietly)
        async with connected_to(second.url, "test") as client:
            await load_streams(client, tmp_path / "streams", saved, quietly)
            restored = [await client.jetstream().get_msg("ORDERS", number) for number in range(1, 6)]
    finally:
        await first.stop()
        await second.stop()
    assert [message.data for message in restored] == events


@pytest_asyncio.fixture
async def mongo(tmp_path: Path) -> AsyncIterator[MongoServer]:
    """A MongoDB with passwords, like a stack's."""
    server = MongoServer(tmp_path / "mongo", users={"orders": "secret"})
    await server.start()
    yield server
    await server.stop()


async def locked(mongo: MongoServer) -> bool:
    """Whether MongoDB says that writes wait."""
    async with mongo.administrator() as client:
        return bool((await client.admin.command("currentOp")).get("fsyncLock"))


LOCK_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from infra.servers.mongo import MongoServer
from infra.local.backup.write_lock import writes_locked

async def main():
    async with writes_locked(MongoServer(Path(sys.argv[1]), int(sys.argv[2]), users={})):
        print("locked", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.servers
async def test_a_backup_that_is_killed_does_not_leave_the_database_locked(mongo: MongoServer) -> None:
    backup = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LOCK_AND_WAIT, str(mongo.folder), str(mongo.port)), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert backup.stdout
    assert await backup.stdout.readline() == b"locked\n"
    async with database(mongo.url_for("orders")) as db:
        write = asyncio.create_task(db.orders.insert_one({"_id": "waits"}))
        assert await locked(mongo)
        backup.kill()
        await backup.wait()
        await write
        assert not await locked(mongo)


@pytest.mark.servers
async def test_a_backup_during_which_the_database_was_restarted_is_none(mongo: MongoServer) -> None:
    async def copy() -> None:
        async with writes_locked(mongo):
            await mongo.kill()
            await mongo.start()

    with pytest.raises(NoBackup, match="not locked all the time"):
        await copy()


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """A folder that looks like a small backup."""
    folder = tmp_path / "backup"
    (folder / "mongo").mkdir(parents=True)
    (folder / "mongo" / "WiredTiger").write_text("a file")
    Manifest(taken_at=datetime.now(UTC), mongod="6.0.5", nats="2.15.0", streams={}).seal(folder)
    return folder


def damage(backup: Path) -> None:
    (backup / "mongo" / "WiredTiger").write_text("a fils")


def lose(backup: Path) -> None:
    (backup / "mongo" / "WiredTiger").unlink()


def leave_unfinished(backup: Path) -> None:
    (backup / "manifest.json").unlink()


def remake_as_newer(backup: Path) -> None:
    manifest = backup / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (damage, "damaged: mongo/WiredTiger is not what it was"),
        (lose, "damaged: mongo/WiredTiger is missing"),
        (leave_unfinished, "no finished backup"),
        (remake_as_newer, "manifest of .* cannot be read"),
    ],
)
def test_nothing_is_restored_from_a_backup_that_is_not_whole(
    backup: Path, tmp_path: Path, spoil: Any, sentence: str
) -> None:
    spoil(backup)
    with pytest.raises(NoBackup, match=sentence):
        asyncio.run(restore(backup, tmp_path / "new", quietly))
    assert not list(tmp_path.glob("new*"))


async def test_nothing_is_restored_over_data(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "something").touch()
    with pytest.raises(NoBackup, match="nothing is written over it"):
        await restore(backup, tmp_path / "old", quietly)


async def test_a_server_from_outside_is_not_backed_up_here(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "data", servers={"mongod": "mongodb://db.test"})
    with pytest.raises(NoBackup, match=r"MONGO_URL or NATS_URL .* mongodump --oplog"):
        await back_up(stack, tmp_path / "backup", quietly)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("create", "no Souk runs on the data in {folder}: start it with `make dev`"),
        ("restore", "which backup? Name its folder with FROM=..."),
        ("drill", "NOT PROVEN: which backup? Name it with FROM=..."),
    ],
)
def test_the_commands_say_what_is_missing(command: str, sentence: str, tmp_path: Path) -> None:
    variables = passed_on() | {"DATA_DIR": str(tmp_path / "data")}
    call = [sys.executable, "-m", f"infra.local.backup.{command}"]
    done = subprocess.run(call, cwd=ROOT, env=variables, capture_output=True, text=True)  # noqa: S603 - our own
    assert done.returncode == 1
    assert done.stderr.startswith(sentence.format(folder=tmp_path / "data"))
    assert not list(tmp_path.iterdir())
