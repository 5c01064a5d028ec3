"""Souk's clients and real servers, with the settings of production: all of it is encrypted, and certificates change.

Valkey as the tests have it was built without TLS: there a front stands for it, which proves the client's side only.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pymongo.errors import PyMongoError
from redis.exceptions import ConnectionError as RedisConnectionError

from common.bus.address import WrongAddress, address
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.bus.provision import provision, read_table
from common.directory import NAMES
from common.errors import Unavailable
from common.events import StockChanged
from common.mongo.client import database
from expiration.deadlines import AWAY, Deadlines, redis_at, utc_now
from infra.servers.process import free_port
from infra.servers.redis import RedisServer
from tests.k8s.encrypted import EncryptedBus, EncryptedMongo, Front, dns_names, golden, handshake, here, variables
from tests.k8s.objects import Objects
from tests.support.certificates import Authority
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

REFUSED = (OSError, NatsError)


@pytest.fixture(scope="module")
async def bus(
    rendered: dict[str, Objects], secrets: Objects, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EncryptedBus]:
    """Three members, provisioned as the Job does it."""
    async with AsyncExitStack() as exits:
        made = EncryptedBus(tmp_path_factory.mktemp("bus"), rendered["prod"], secrets)
        await made.start(exits)
        table = read_table(rendered["prod"].one("ConfigMap", "durables")["data"]["durables.json"])

        async def provisioned() -> bool:
            try:
                await provision(made.url_for("provision"), table, replicas=3)
            except NatsError:
                return False  # The members have not found each other yet.
            return True

        await eventually(provisioned, 60)
        yield made


async def once(url: str, seconds: int = 30) -> None:
    """Connect to the first of the addresses within that time, without trying again."""
    client = Client()
    first, *_ = url.split(",")
    try:
        await client.connect(**address(first), allow_reconnect=False, max_reconnect_attempts=1, connect_timeout=seconds)
        await client.close()
    finally:
        if client._transport:  # nats-py leaves it open after a handshake that failed, and its `close` waits for ever
            client._transport.close()  # type: ignore[no-untyped-call]


@pytest.mark.prove
async def test_services_reach_the_bus_by_their_rendered_addresses(bus: EncryptedBus) -> None:
    async with Bus.connected(bus.url_for("orders"), "orders", replicas=3) as orders:
        event = Envelope.of(StockChanged(**golden("orders.stock_changed")))
        assert await orders.publish([event]) == [event]


@pytest.mark.prove
async def test_the_bus_refuses_who_speaks_in_the_clear(bus: EncryptedBus) -> None:
    url = bus.url_for("orders").replace("tls://", "nats://").replace(f"?tlsCAFile={bus.trusted}/ca.crt", "")
    with pytest.raises(REFUSED):
        await once(url, seconds=2)  # Both may wait for a word of the other.


async def test_a_service_refuses_a_bus_of_another_authority(bus: EncryptedBus, tmp_path: Path) -> None:
    other = Authority().issue(tmp_path / "other", "127.0.0.1")
    with pytest.raises(REFUSED, match=r"(?i)certificate"):
        await once(bus.url_for("orders", other))


async def test_a_service_refuses_a_bus_of_another_name(bus: EncryptedBus) -> None:
    with pytest.raises(REFUSED, match=r"(?i)certificate"):
        await once(bus.url_for("orders").replace("127.0.0.1", "localhost"))


async def test_nobody_in_between_has_a_service_go_on_without_tls(bus: EncryptedBus) -> None:
    """A server's greeting says whether there is TLS, and it comes in the clear: who is in between may write it."""
    heard = asyncio.get_running_loop().create_future()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1048576,"headers":true}\r\n')
        heard.set_result(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        one, *_ = bus.url_for("orders").split(",")
        with pytest.raises(REFUSED):
            await once(one.replace(f":{bus.members[0].port}", f":{port}"))
        assert b"CONNECT" not in await heard


@pytest.mark.parametrize("url", ["tls://a:4222,nats://b:4222", "nats://a:4222?tlsCAFile=x", "tls://a:4222?tls=no"])
def test_an_address_that_would_not_be_encrypted_is_refused(url: str) -> None:
    with pytest.raises(WrongAddress):
        address(url)


async def test_members_refuse_who_is_no_member(bus: EncryptedBus, tmp_path: Path) -> None:
    stranger = Authority().issue(tmp_path / "stranger", "nats-3.nats-members")
    member = bus.authority.issue(tmp_path / "member", "nats-3.nats-members")
    route = bus.members[0].route

    for options in ({}, {"certificate": str(stranger / "tls.crt"), "key": str(stranger / "tls.key")}):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await handshake(route, bus.trusted / "ca.crt", **options)
    assert await handshake(
        route, bus.trusted / "ca.crt", certificate=str(member / "tls.crt"), key=str(member / "tls.key")
    )


@pytest.mark.prove
async def test_certificates_of_the_bus_change_while_events_and_requests_flow(bus: EncryptedBus) -> None:
    """Every member gets a new certificate of a renewed authority, then each starts again: nothing is lost."""

    async def answer(body: bytes) -> bytes:
        return body

    async with (
        Bus.connected(bus.url_for("orders"), "orders", replicas=3) as orders,
        Bus.connected(bus.url_for("auth"), "auth", replicas=3) as auth,
        Bus.connected(bus.url_for("items"), "items", replicas=3) as items,
        auth.answering(NAMES, answer),
    ):
        published, asked, unanswered = set[str](), list[bytes](), list[Unavailable]()

        async def publish() -> None:
            event = Envelope.of(StockChanged(**golden("orders.stock_changed")))
            await eventually(lambda: orders.publish([event]), 60)  # As the outbox does, with the same id.
            published.add(event.id)

        async def ask() -> None:
            try:
                asked.append(await items.request(NAMES, b"who"))
            except Unavailable as error:  # In flight when a member reloads: its caller is told to try again.
                unanswered.append(error)

        async with flowing(publish), flowing(ask) as requests:
            await eventually(lambda: _more(published, 20))
            before = [await handshake(member.port, bus.trusted / "ca.crt") for member in bus.members]
            bus.authority.renew()
            bus.certify()
            for member, old in zip(bus.members, before, strict=True):
                await eventually(lambda member=member, old=old: _changed(member.port, bus.trusted, old))  # type: ignore[misc]
            await eventually(lambda: _more(published, 20))
            await eventually(lambda: _more(asked, 20), 60)
            await requests.aclose()
            for member in bus.members:
                await member.stop()
                await eventually(lambda: _more(published, 20), 60)
                await member.start()

        stored = {message.headers["ce-id"] async for message in orders.stored_messages("ORDERS")}
        assert published <= stored
        assert set(asked) == {b"who"}
        assert len(unanswered) <= 2 * len(bus.members)


class Flow:
    """Something that is done again and again; a failure comes out at the end."""

    def __init__(self, do: Callable[[], Awaitable[None]]) -> None:
        self._goes_on = True
        self._task = asyncio.create_task(self._go(do))

    async def _go(self, do: Callable[[], Awaitable[None]]) -> None:
        while self._goes_on:
            await do()

    async def aclose(self) -> None:
        """Finish the last one. Raises what failed."""
        self._goes_on = False
        await self._task


@asynccontextmanager
async def flowing(do: Callable[[], Awaitable[None]]) -> AsyncIterator[Flow]:
    flow = Flow(do)
    try:
        yield flow
    finally:
        await flow.aclose()


async def _more(done: set[str] | list[bytes], count: int) -> bool:
    """Whether `count` more are done, a while after the call."""
    wanted = len(done) + count

    async def enough() -> bool:
        return len(done) >= wanted

    return await eventually(enough, 60)


async def _changed(port: int, trusted: Path, old: bytes) -> bool:
    return await handshake(port, trusted / "ca.crt") != old


@pytest.fixture
async def mongo(rendered: dict[str, Objects], secrets: Objects, tmp_path: Path) -> AsyncIterator[EncryptedMongo]:
    """The database of orders."""
    password = variables(rendered["prod"], secrets, "orders")["MONGO_PASSWORD"]
    server = EncryptedMongo(tmp_path / "mongod", tmp_path / "certificate", {"orders": password})
    yield server
    await server.kill()


@pytest.mark.prove
async def test_a_service_and_its_database_speak_tls_only(
    mongo: EncryptedMongo, rendered: dict[str, Objects], secrets: Objects, tmp_path: Path
) -> None:
    authority, names = Authority(), dns_names(rendered["prod"], "orders-mongo")
    certificate = authority.issue(tmp_path / "certificate", *names)
    await mongo.start()
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes((certificate / "ca.crt").read_bytes())
    other = Authority().issue(tmp_path / "other", "127.0.0.1")
    rendered_url = variables(rendered["prod"], secrets, "orders")["MONGO_URL"]
    url = here(rendered_url, "orders-mongo-svc:27017", [mongo.port], trusted)

    for wrong in (url.partition("&tls=")[0], here(rendered_url, "orders-mongo-svc:27017", [mongo.port], other)):
        async with database(wrong, timeout=2) as refused:
            with pytest.raises(PyMongoError):
                await refused.things.find_one()
    async with database(url) as db:
        written = list[bytes]()

        async def write() -> None:
            written.append(str((await db.things.insert_one({})).inserted_id).encode())

        async with flowing(write):
            await _more(written, 20)
            old = await handshake_of_mongo(mongo.port, trusted)
            authority.renew()
            authority.issue(certificate, *names)
            async with mongo.administrator() as client:
                await client.admin.command("rotateCertificates")
            assert await handshake_of_mongo(mongo.port, trusted) != old
            await _more(written, 20)
        async with database(url) as new:
            assert await new.things.count_documents({}) == len(written)


async def handshake_of_mongo(port: int, trusted: Path) -> bytes:
    """As `handshake`, of a server that answers no words."""
    context = ssl.create_default_context(cafile=trusted / "ca.crt")
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    try:
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown
    finally:
        writer.close()


async def test_expiration_speaks_tls_to_its_redis(
    rendered: dict[str, Objects], secrets: Objects, tmp_path: Path
) -> None:
    authority, names = Authority(), dns_names(rendered["prod"], "redis")
    certificate = authority.issue(tmp_path / "certificate", *names)
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    (trusted / "ca.crt").write_bytes((certificate / "ca.crt").read_bytes())
    other = Authority().issue(tmp_path / "other", "127.0.0.1")
    given = variables(rendered["prod"], secrets, "expiration")
    async with AsyncExitStack() as exits:
        server = RedisServer(tmp_path / "redis", free_port(), "administrator", given["REDIS_PASSWORD"])
        exits.push_async_callback(server.kill)
        await server.start()
        front = Front(server.port, certificate)
        await front.start(exits)
        url = here(given["REDIS_URL"], "redis:6379", [front.port], trusted)

        for wrong in (
            url.replace("rediss://", "redis://").partition("?")[0],
            here(given["REDIS_URL"], "redis:6379", [front.port], other),
        ):
            async with redis_at(wrong) as refused:
                with pytest.raises((RedisConnectionError, *AWAY)):
                    await refused.ping()
        async with redis_at(url) as redis:
            await Deadlines(redis).add("an-order", utc_now() + timedelta(hours=1))
            authority.renew()
            authority.issue(certificate, *names)
            front.reload()
            await redis.connection_pool.disconnect()
            assert await redis.zrange("deadlines", 0, -1) == ["an-order"]
