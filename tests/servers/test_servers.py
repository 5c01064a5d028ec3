"""The servers of the tests and the laptop are real, keep what they acknowledged, and show each user its own only."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from redis.asyncio import Redis

from common.bus.connection import heard
from common.bus.streams import stream_config
from infra.servers.mongo import MongoServer
from infra.servers.nats import Administrator, NatsServer, NatsUser
from infra.servers.process import Child, MissingBinary, StartFailed, find_binary, free_port, is_free
from infra.servers.redis import RedisServer
from infra.servers.server import Server
from tests.support.waiting import eventually, is_alive

S = TypeVar("S", bound=Server)
SERVERS = (MongoServer, NatsServer, RedisServer)


@asynccontextmanager
async def running(server: S) -> AsyncIterator[S]:
    """The server, started; stopped at the end."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def mongo_client(url: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    async with AsyncMongoClient[dict[str, Any]](url, serverMonitoringMode="poll") as client:
        yield client


@asynccontextmanager
async def bus(url: str) -> AsyncIterator[tuple[Client, asyncio.Queue[Exception]]]:
    """A connection, and the complaints that the server sends to it."""
    complaints: asyncio.Queue[Exception] = asyncio.Queue()
    client = await nats.connect(url, error_cb=complaints.put, allow_reconnect=False, connect_timeout=30)
    try:
        yield client, complaints
    finally:
        await client.close()


async def say(port: int, text: bytes) -> bytes:
    """All that a server answers to a client that has not signed in."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def keep(server: Server) -> None:
    """Make the server acknowledge a value."""
    match server:
        case MongoServer():
            async with mongo_client(server.url) as mongo, mongo.start_session() as session:
                await session.with_transaction(lambda s: mongo.shop.things.insert_one({"_id": 7}, session=s))
        case NatsServer():
            async with bus(server.url) as (client, _):
                await client.jetstream().add_stream(StreamConfig(name="ORDERS", subjects=["orders.>"]))
                await client.jetstream().publish("orders.placed", b"7")
        case RedisServer():
            async with Redis.from_url(server.url) as redis:
                await redis.set("thing", "7")


async def kept(server: Server) -> object:
    """Ask for the value again."""
    match server:
        case MongoServer():
            async with mongo_client(server.url) as mongo:
                return (await mongo.shop.things.find_one({}) or {})["_id"]
        case NatsServer():
            async with bus(server.url) as (client, _):
                return int((await client.jetstream().get_msg("ORDERS", 1)).data or 0)
        case RedisServer():
            async with Redis.from_url(server.url) as redis:
                return int(await redis.get("thing") or 0)
    return None


@pytest.mark.servers
@pytest.mark.parametrize("server_type", SERVERS)
async def test_what_was_acknowledged_survives_a_crash_and_a_restart(
    server_type: type[MongoServer | NatsServer | RedisServer], tmp_path: Path
) -> None:
    async with running(server_type(tmp_path)) as server:
        await keep(server)

        await server.kill()
        await server.start()
        assert await kept(server) == 7

        await server.stop()
        assert server.pid is None
        assert is_free(server.port)
        await server.start()
        assert await kept(server) == 7


@pytest.mark.servers
async def test_mongo_keeps_its_data_when_its_port_changes(tmp_path: Path) -> None:
    async with running(MongoServer(tmp_path)) as server:
        await keep(server)

    async with running(MongoServer(tmp_path)) as moved:
        assert moved.port != server.port
        assert await kept(moved) == 7


@pytest.mark.servers
async def test_a_mongo_user_reads_and_writes_the_database_of_its_name_only(tmp_path: Path) -> None:
    users = {"items": "first:pass/word", "orders": "second"}
    async with running(MongoServer(tmp_path, users=users)) as server:
        async with mongo_client(server.url_for("orders")) as client:
            database = client.get_default_database()
            await database.orders.create_index("buyer_id")
            await database.orders.insert_one({"_id": 1})
            for forbidden in (
                client.items.items.find_one({}),
                client.items.items.insert_one({}),
                client.drop_database("items"),
            ):
                with pytest.raises(OperationFailure, match="not authorized"):
                    await forbidden

        async with mongo_client(server.url) as stranger:
            with pytest.raises(OperationFailure, match="requires authentication"):
                await stranger.orders.orders.find_one({})


@pytest.mark.servers
async def test_a_changed_mongo_password_holds_from_the_next_start(tmp_path: Path) -> None:
    async with running(MongoServer(tmp_path, users={"orders": "old"})) as server:
        old = server.url_for("orders")

    async with running(MongoServer(tmp_path, server.port, users={"orders": "new"})) as server:
        async with mongo_client(server.url_for("orders")) as client:
            await client.get_default_database().command("ping")
        async with mongo_client(old) as client:
            with pytest.raises(OperationFailure, match="Authentication failed"):
                await client.get_default_database().command("ping")


USERS = [
    NatsUser("items", "pass-word_1", asks=("items.>", "books.orders.>"), hears=("news.orders.>",)),
    NatsUser("orders", "secret", asks=("orders.>",), answers=("books.orders.>",)),
    Administrator("provisioner", "admin"),
]


@pytest.mark.servers
async def test_a_bus_user_publishes_its_own_subjects_and_asks_and_hears_what_it_may(tmp_path: Path) -> None:
    async with (
        running(NatsServer(tmp_path, users=USERS)) as server,
        bus(server.url_for("items")) as (items, complaints),
        bus(server.url_for("orders")) as (orders, _),
        bus(server.url_for("provisioner")) as (provisioner, _),
    ):
        await provisioner.jetstream().add_stream(stream_config("ITEMS"))
        await provisioner.jetstream().add_stream(stream_config("ORDERS"))
        news = await items.subscribe("news.orders.>")

        async def answer(request: Msg) -> None:
            await request.respond(b"a page")

        await orders.subscribe("books.orders.>", cb=answer)
        await heard(items)
        await heard(orders)

        assert (await items.jetstream().publish("items.listed", b"a chair")).stream == "ITEMS"
        assert (await orders.jetstream().publish("orders.placed", b"for Ada")).stream == "ORDERS"
        assert (await news.next_msg(30)).data == b"for Ada"
        assert (await items.request("books.orders.orders", b"", timeout=30)).data == b"a page"
        assert complaints.empty()


@pytest.mark.servers
async def test_a_stranger_is_not_let_in(tmp_path: Path) -> None:
    async with running(NatsServer(tmp_path, users=USERS)) as server:
        answer = await say(server.port, b"CONNECT {}\r\nPING\r\n")
    assert b"Authorization Violation" in answer
    assert b"PONG" not in answer


@pytest.mark.servers
async def test_redis_asks_for_its_password_and_evicts_nothing(tmp_path: Path) -> None:
    async with running(RedisServer(tmp_path, password='pass "word"')) as server:
        async with Redis.from_url(server.url) as redis:
            settings = await redis.config_get("maxmemory-policy", "appendfsync")
            assert settings == {"maxmemory-policy": "noeviction", "appendfsync": "always"}
        assert b"Authentication required" in await say(server.port, b"PING\r\nQUIT\r\n")


class Script(Child):
    """A Python program that answers once it has written a file."""

    def __init__(self, folder: Path, code: str) -> None:
        super().__init__("script", folder)
        self.code = code

    def command(self) -> Sequence[str]:
        return [sys.executable, "-c", self.code, str(self.folder)]

    async def answers(self) -> bool:
        return (self.folder / "ready").exists()


READY = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'ready').touch(); "


@pytest.mark.servers
async def test_a_child_that_dies_at_its_start_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match=r"(?s)script ended at its start with code 3.*no such luck"):
        await Script(tmp_path, "print('no such luck'); raise SystemExit(3)").start()


class Thinking(Child):
    """A program that says so at once, and never answers. A Python would need a while to say it."""

    def command(self) -> Sequence[str]:
        return ["sh", "-c", "echo thinking; exec sleep 60"]

    async def answers(self) -> bool:
        return False


@pytest.mark.servers
async def test_a_child_that_does_not_answer_in_time_is_ended(tmp_path: Path) -> None:
    child = Thinking("thinking", tmp_path)

    with pytest.raises(StartFailed, match=r"(?s)did not answer within 2 s.*thinking"):
        await child.start(limit=2)

    assert await child.wait() == -signal.SIGKILL


@pytest.mark.servers
async def test_a_child_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    child = Script(
        tmp_path, "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY + "time.sleep(60)"
    )
    await child.start()

    await child.stop(limit=0.2)

    assert await child.wait() == -signal.SIGKILL


@pytest.mark.servers
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children that their parent has died")
async def test_a_child_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    parent = Script(
        tmp_path,
        """
import asyncio, pathlib, sys, subprocess
from infra.servers.process import spawn
async def main():
    child = await spawn([sys.executable, "-c", "import time; time.sleep(60)"], output=subprocess.DEVNULL)
    pathlib.Path(sys.argv[1], "child").write_text(str(child.pid))
    pathlib.Path(sys.argv[1], "ready").touch()
    await child.wait()
asyncio.run(main())
""",
    )
    await parent.start()
    grandchild = int((tmp_path / "child").read_text())
    assert is_alive(grandchild)

    await parent.kill()

    async def gone() -> bool:
        return not is_alive(grandchild)

    await eventually(gone)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's own setting")
def test_a_free_port_is_not_one_that_an_outgoing_connection_could_take() -> None:
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert free_port() < low


TAKE_MANY = """
from infra.servers.process import free_port
print(*(free_port() for _ in range(1_000)), flush=True)
input()
"""


async def test_a_free_port_is_given_to_one_process_only() -> None:
    """Tests run in several processes: two that start a server at the same moment must not choose the same port."""
    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", TAKE_MANY, stdin=pipe, stdout=pipe)
    assert other.stdout
    theirs = {int(port) for port in (await other.stdout.readline()).split()}

    ours = {free_port() for _ in range(1_000)}

    await other.communicate(b"\n")
    assert len(theirs) == len(ours) == 1_000
    assert not ours & theirs


def test_a_missing_program_is_a_sentence_that_says_what_to_do() -> None:
    with pytest.raises(MissingBinary) as error:
        find_binary("souk-nothing", "souk-no-server", distribution="souk-none", instead="set SOUK_URL")
    assert str(error.value) == (
        "souk-nothing or souk-no-server was not found, neither as the Python package souk-none nor on the PATH: "
        "install it, or set SOUK_URL."
    )


def test_a_program_without_its_wheel_comes_from_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "souk-program"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_binary("souk-program", distribution="souk-none", instead="") == program
