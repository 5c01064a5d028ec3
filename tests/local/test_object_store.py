"""Backups in object storage: encrypted, read again, kept for as long as was said, and restored from there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest
import yaml
from pydantic import SecretStr

from audit.reconciliation.checker import reconcile
from common.mongo.client import database
from infra.local.backup.archive import Manifest, NoBackup
from infra.local.backup.cluster import DATABASES, back_up_servers
from infra.local.backup.create import own_servers
from infra.local.backup.object_store import ObjectStore, name_of, superfluous
from infra.local.backup.remote import RemoteEnv, fetched, send
from infra.local.backup.restore import restore
from infra.local.backup.stream_snapshots import connected_to
from infra.local.stack.stack import Stack
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import Child
from infra.services import ROOT
from tests.journeys.test_crashes import all_handled
from tests.local.test_backup import STOCK, keep_buying, quietly, settled, some_paid
from tests.support.object_storage import BUCKET, SECRET, ObjectStorage, storage
from tests.support.people import People
from tests.support.shopping import place, sell
from tests.support.waiting import eventually

__all__ = ["storage"]

NOW = datetime(2026, 11, 29, 12, 17, tzinfo=UTC)
PLACE = f"s3://{BUCKET}/souk"


def keys() -> RemoteEnv:
    """The settings of who makes and opens backups."""
    identity = pyrage.x25519.Identity.generate()
    return RemoteEnv(backup_recipient=str(identity.to_public()), backup_identity=SecretStr(str(identity)))


async def one_file(folder: Path) -> Manifest:
    """A backup with one file."""
    await asyncio.to_thread(folder.mkdir)
    (folder / "file").write_text("of a customer")
    manifest = Manifest(taken_at=datetime.now(UTC), mongod="8", nats="2", streams={})
    manifest.seal(folder)
    return manifest


def test_the_newest_of_each_day_and_week_is_kept_and_nothing_strange_is_touched() -> None:
    names = [name_of(NOW - timedelta(hours=6 * count)) for count in range(4 * 60)]
    kept = set(names) - set(superfluous([*names, "notes.txt", "2026-01-01T00-00-00Z.tar.gz"], daily=7, weekly=5))
    days = sorted({name[:10] for name in kept}, reverse=True)
    assert days == [
        *("2026-11-29", "2026-11-28", "2026-11-27", "2026-11-26", "2026-11-25", "2026-11-24", "2026-11-23"),
        *("2026-11-22", "2026-11-15", "2026-11-08", "2026-11-01"),  # Sundays: each is the last of its week
    ]
    assert kept >= set(names[:4])  # all of the last day
    assert name_of(datetime(2026, 11, 22, 18, 17, tzinfo=UTC)) in kept  # the newest of its day
    assert superfluous([], daily=7, weekly=5) == []


@pytest.mark.servers
async def test_a_backup_is_stored_so_that_only_the_identity_opens_it(storage: ObjectStorage, tmp_path: Path) -> None:
    env = keys()
    done = await asyncio.to_thread(send, env, PLACE, one_file)
    [stored] = (storage.objects / BUCKET / "souk").iterdir()
    assert stored.name in done
    assert b"customer" not in stored.read_bytes()

    def read(who: RemoteEnv, place: str = PLACE) -> str:
        with fetched(who, place, quietly) as folder:
            Manifest.of(folder)
            return (folder / "file").read_text()

    assert await asyncio.to_thread(read, env) == "of a customer"
    assert await asyncio.to_thread(read, env, f"{PLACE}/{stored.name}") == "of a customer"
    with pytest.raises(NoBackup, match="cannot be opened: No matching keys"):
        await asyncio.to_thread(read, keys())
    with pytest.raises(NoBackup, match="BACKUP_IDENTITY"):
        await asyncio.to_thread(read, RemoteEnv())
    sealed = bytearray(stored.read_bytes())
    sealed[-20] ^= 1
    stored.write_bytes(sealed)
    with pytest.raises(NoBackup, match="cannot be opened"):
        await asyncio.to_thread(read, env)


@pytest.mark.servers
async def test_old_backups_go_only_once_a_newer_one_is_there(storage: ObjectStorage) -> None:
    folder = storage.objects / BUCKET / "souk"
    folder.mkdir()
    old = [name_of(datetime.now(UTC) - timedelta(days=count)) for count in range(2, 50)]
    for name in [*old, "notes.txt"]:
        (folder / name).touch()
    env = keys()

    async def nothing(_: Path) -> Manifest:
        raise NoBackup("no MongoDB answers")

    with pytest.raises(NoBackup, match="no MongoDB answers"):
        await asyncio.to_thread(send, env, PLACE, nothing)
    assert {file.name for file in folder.iterdir()} == {*old, "notes.txt"}

    await asyncio.to_thread(send, env, PLACE, one_file)
    left = {file.name for file in folder.iterdir()}
    assert "notes.txt" in left
    assert len(left - {"notes.txt"}) in range(10, 12)  # a week of days, and the weeks before it
    assert old[-1] not in left


@pytest.mark.servers
async def test_what_the_storage_refuses_is_said_without_a_secret(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(NoBackup, match="does not exist"):
        await asyncio.to_thread(send, keys(), "s3://another/souk", one_file)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-2")
    with pytest.raises(NoBackup, match="the object storage: ") as refused:
        await asyncio.to_thread(ObjectStore(PLACE).names)
    assert SECRET not in str(refused.value)
    assert "wrong-secret-2" not in str(refused.value)
    with pytest.raises(NoBackup, match="BACKUP_RECIPIENT"):
        await asyncio.to_thread(send, RemoteEnv(), PLACE, one_file)


async def as_on_a_cluster(mongo: MongoServer) -> dict[str, str]:
    """Create the user that the component makes in every database; return the addresses of all, as that user."""
    patch: Any = yaml.safe_load((ROOT / "infra/k8s/components/backup/database-user.yaml").read_text())
    [role], user, _ = [one["value"] for one in patch]
    async with mongo.administrator() as client:
        await client.admin.command("createRole", role["role"], privileges=role["privileges"], roles=[])
        roles = [{"role": one["name"], "db": one["db"]} for one in user["roles"] if one["db"] == "admin"]
        roles += [{"role": "read", "db": name} for name in DATABASES]  # here one server has them all
        await client.admin.command("createUser", user["name"], pwd="secret-1", roles=roles)
    login = f"mongodb://backup:secret-1@127.0.0.1:{mongo.port}"
    return {name: f"{login}/{name}?replicaSet=rs0&authSource=admin" for name in DATABASES}


@pytest.mark.servers
async def test_no_stream_has_an_event_whose_write_the_databases_lack(storage: ObjectStorage, tmp_path: Path) -> None:
    mongo = MongoServer(tmp_path / "mongo", users=dict.fromkeys(DATABASES, "secret-1"))
    bus = NatsServer(tmp_path / "nats")
    env, counted, over = keys(), [0], asyncio.Event()
    async with running(mongo, bus):
        urls = await as_on_a_cluster(mongo)
        publishing = asyncio.create_task(write_and_publish(mongo, bus, counted, over))
        await eventually(lambda: is_over(counted, 50))
        await asyncio.to_thread(send, env, PLACE, lambda to: back_up_servers(urls, bus.url, to, quietly))
        soon = counted[0] + 50
        await eventually(lambda: is_over(counted, soon), why="writes did not go on")
        over.set()
        await publishing

    with fetched(env, PLACE, quietly) as source:
        await restore(source, tmp_path / "second", quietly)
    second = Stack(tmp_path / "second")
    restored_mongo, restored_bus = own_servers(second)
    async with running(restored_mongo, restored_bus):
        async with connected_to(second.nats_url("backup")) as client:
            published = (await client.jetstream().stream_info("ORDERS")).state.messages
        found = {}
        for name in ("orders", "payments"):
            async with database(second.mongo_url(name)) as db:
                found[name] = await db.numbers.count_documents({})
    assert 50 <= published < soon
    assert published <= found["payments"] <= found["orders"] <= published + 1


async def write_and_publish(mongo: MongoServer, bus: NatsServer, counted: list[int], over: asyncio.Event) -> None:
    """Write a number to two databases, then publish it, over and over."""
    async with (
        connected_to(bus.url) as client,
        database(mongo.url_for("orders")) as orders,
        database(mongo.url_for("payments")) as payments,
    ):
        await client.jetstream().add_stream(name="ORDERS", subjects=["orders.>"])
        while not over.is_set():
            counted[0] += 1
            for db in (orders, payments):
                await db.numbers.insert_one({"_id": counted[0]})
            await client.jetstream().publish("orders.counted", b"")


async def is_over(counted: list[int], limit: int) -> bool:
    """Whether more than that many numbers were written."""
    return counted[0] > limit


@asynccontextmanager
async def running(*servers: Child) -> AsyncIterator[None]:
    """Start servers, and stop them."""
    async with AsyncExitStack() as exits:
        for server in servers:
            await server.start()
            exits.push_async_callback(server.stop)
        yield


@pytest.mark.prove
@pytest.mark.servers
async def test_a_backup_over_the_network_under_load_is_consistent_and_lives_on_elsewhere(
    storage: ObjectStorage, tmp_path: Path
) -> None:
    env, over = keys(), asyncio.Event()
    async with Stack(tmp_path / "first", hold_seconds=10) as first, AsyncExitStack() as exits:
        mongo = first.servers["mongod"]
        assert isinstance(mongo, MongoServer)
        urls = await as_on_a_cluster(mongo)
        people = People(first, exits)
        item = await sell(await people.signed_up("Sid"), STOCK)
        await place(await people.new("Ada"), item)
        cards = ("pm_card_visa", "pm_card_visa", "pm_card_duplicate")
        buying = [asyncio.create_task(keep_buying(await people.new(card), item, card, over)) for card in cards]
        await eventually(lambda: some_paid(first))
        await asyncio.to_thread(
            send, env, PLACE, lambda to: back_up_servers(urls, first.nats_url("backup"), to, quietly)
        )
        over.set()
        placed = sum(await asyncio.gather(*buying))

    with fetched(env, PLACE, quietly) as source:
        await restore(source, tmp_path / "second", quietly)
    async with Stack(tmp_path / "second", hold_seconds=10) as second:
        sold = await eventually(lambda: settled(second), why="orders and money do not agree")
        assert 0 < sold < placed  # what came after the backup is not in it
        await all_handled(second)
        report = await reconcile(nats_url=second.nats_url("audit"), mongo_url=second.mongo_url("audit"), grace=10)
        assert report.violations == []
