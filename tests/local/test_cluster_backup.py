"""Backups of servers that are reached only over the network, and the drill that restores them."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from bson import decode_all, encode

from common.bus.address import connected_to
from common.bus.provision import provision
from common.bus.streams import EVERY_STREAM
from common.mongo.client import database
from infra.bus import durables
from infra.local.backup.archive import Manifest
from infra.local.backup.cluster import DATABASES, back_up_servers
from infra.local.backup.create import own_servers
from infra.local.backup.drill import drill
from infra.local.backup.remote import fetched, send
from infra.local.backup.restore import restore
from infra.local.stack.program import passed_on
from infra.local.stack.stack import Stack
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer, NatsUser
from infra.servers.process import Child
from infra.services import ROOT
from tests.local.test_backup import STOCK, backup, damage, keep_buying, quietly, some_paid
from tests.local.test_object_store import PLACE, keys
from tests.local.test_reconcile import run
from tests.support.bare_servers import bare_servers
from tests.support.object_storage import ObjectStorage, storage
from tests.support.people import People
from tests.support.shopping import place, sell
from tests.support.waiting import eventually

__all__ = ["backup", "storage"]


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


@pytest.mark.prove
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
        async with connected_to(second.nats_url("backup"), "test") as client:
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
        connected_to(bus.url, "test") as client,
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
async def test_a_cluster_is_restored_where_it_is_empty_and_never_over_data(
    storage: ObjectStorage, tmp_path: Path
) -> None:
    mongo, bus = MongoServer(tmp_path / "mongo"), NatsServer(tmp_path / "nats")
    empty = MongoServer(tmp_path / "empty", users=dict.fromkeys(DATABASES, "secret-1"))
    unused = NatsServer(tmp_path / "unused")
    env = keys()
    assert env.backup_identity
    identity = env.backup_identity.get_secret_value()
    passwords = tmp_path / "passwords"
    passwords.mkdir()
    for name in DATABASES:
        (passwords / name).write_text("secret-1")

    async def restored(mongo_url: str, nats_url: str) -> tuple[int | None, str]:
        servers = {"MONGO_URL": mongo_url, "NATS_URL": nats_url, "PASSWORDS": str(passwords)}
        return await run(
            "infra.local.backup.restore_cluster", **storage.variables, **servers, FROM=PLACE, BACKUP_IDENTITY=identity
        )

    async with running(mongo, bus, empty, unused):
        for url in (bus.url, unused.url):
            await provision(url, durables())
        async with connected_to(bus.url, "test") as client, database(mongo.url_for("orders")) as orders:
            await client.jetstream().publish("orders.counted", b"")
            await orders.numbers.insert_many([{"_id": number} for number in range(2_500)])
        servers = {"MONGO_URL": mongo.url_for("SERVICE"), "NATS_URL": bus.url}
        recipient = str(env.backup_recipient)
        code, said = await run(
            "infra.local.backup.cluster", **storage.variables, **servers, TO=PLACE, BACKUP_RECIPIENT=recipient
        )
        assert code == 0, said

        assert await refusal(restored(mongo.url_for("SERVICE"), bus.url)) == "stream ORDERS has been in use"
        assert (
            await refusal(restored(mongo.url_for("SERVICE"), unused.url)) == "database orders has documents in numbers"
        )
        login = f"mongodb://SERVICE:PASSWORD@127.0.0.1:{empty.port}/SERVICE?replicaSet=rs0&authSource=SERVICE"
        code, said = await restored(login, unused.url)
        assert code == 0, said
        assert "database orders: 2500 documents" in said
        await provision(unused.url, durables())  # finds all as it should be

        async with connected_to(unused.url, "test") as client, database(empty.url_for("orders")) as orders:
            assert await orders.numbers.count_documents({}) == 2_500
            streams = {info.config.name: info.state.messages for info in await client.jetstream().streams_info()}
        assert streams == {name: 1 if name == "ORDERS" else 0 for name in EVERY_STREAM}


async def refusal(done: Awaitable[tuple[int | None, str]]) -> str:
    """The beginning of the sentence with which a command ended."""
    code, said = await done
    assert code == 1
    return said.splitlines()[-1].partition(",")[0]


@pytest.mark.servers
async def test_a_backup_that_is_ended_lets_people_write_again_at_once(storage: ObjectStorage, tmp_path: Path) -> None:
    may_ask_for_no_stream = NatsUser("backup", "secret-1", asks=("nothing",))
    mongo, bus = MongoServer(tmp_path / "mongo"), NatsServer(tmp_path / "nats", users=[may_ask_for_no_stream])
    async with running(mongo, bus), mongo.administrator() as client:
        servers = {"MONGO_URL": mongo.url_for("SERVICE"), "NATS_URL": bus.url_for("backup")}
        where = {"TO": PLACE, "BACKUP_RECIPIENT": str(keys().backup_recipient)}
        backup = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.local.backup.cluster"),
            env=passed_on() | storage.variables | servers | where,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert backup.stdout
        assert await backup.stdout.readline() == b"writes are paused\n"
        backup.send_signal(signal.SIGSTOP)  # Its next question fails after five seconds.
        assert (await client.admin.command("currentOp")).get("fsyncLock")
        backup.terminate()
        backup.send_signal(signal.SIGCONT)
        _, said = await backup.communicate()
        assert (backup.returncode, said) == (1, b"stopped; no backup was kept, and writes have resumed\n")
        assert not (await client.admin.command("currentOp")).get("fsyncLock")


async def test_a_drill_says_that_a_damaged_backup_proves_nothing(backup: Path) -> None:
    damage(backup)
    code, said = await run("infra.local.backup.drill", FROM=str(backup))
    assert code == 1
    assert "NOT PROVEN: the backup is damaged: mongo/WiredTiger is not what it was" in said


def sell_once_more(backup: Path) -> None:
    """Make it the whole backup of a Souk in which a unit is sold that no order has."""
    manifest = Manifest.of(backup)
    file = backup / "databases/orders/stock.bson"
    [stock] = decode_all(file.read_bytes())
    file.write_bytes(encode(stock | {"taken": stock["taken"] + 1}))
    (backup / "manifest.json").unlink()
    manifest.seal(backup)


@pytest.mark.prove
@pytest.mark.servers
async def test_the_drill_proves_a_backup_made_while_people_buy_and_finds_books_that_do_not_balance(
    storage: ObjectStorage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    env, over = keys(), asyncio.Event()
    async with Stack(tmp_path / "first", hold_seconds=30) as first, AsyncExitStack() as exits:
        mongo = first.servers["mongod"]
        assert isinstance(mongo, MongoServer)
        urls = await as_on_a_cluster(mongo)
        people = People(first, exits)
        item = await sell(await people.signed_up("Sid"), STOCK)
        await place(await people.new("Ada"), item)
        cards = ("pm_card_visa", "pm_card_visa", "pm_card_duplicate")
        buying = [asyncio.create_task(keep_buying(await people.new(card), item, card, over)) for card in cards]
        await eventually(lambda: some_paid(first))
        bus = first.nats_url("backup")
        await asyncio.to_thread(send, env, PLACE, lambda to: back_up_servers(urls, bus, to, quietly))
        over.set()
        placed = sum(await asyncio.gather(*buying))

    with fetched(env, PLACE, quietly) as source:
        async with bare_servers(tmp_path / "bare") as servers:
            assert await drill(source, servers, quietly) == 0
        printed = capfd.readouterr().out
        assert "the books balance" in printed
        [orders] = re.findall(r"(\d+) orders", printed)
        assert 15 < int(orders) < placed  # what came after the backup is not in it

        sell_once_more(source)
        assert await drill(source, {}, quietly, grace=5) == 1
    assert "the books do not balance" in capfd.readouterr().out
