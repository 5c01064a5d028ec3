"""Fixtures for every test: real servers, one of each kind for a test process, and sessions that services accept."""

import os
import re
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nats
import pytest
import pytest_asyncio
from httpx._transports import default

from common.bus.provision import provision
from common.ids import new_id
from common.mongo.client import Database, database
from infra.servers.mongo import MongoServer
from infra.servers.mongo_trio import MongoTrio
from infra.servers.nats import NatsServer
from infra.servers.redis import RedisServer
from tests.support.bus import Events, ProvisionedNats, emptied
from tests.support.memory import memory_folder
from tests.support.servers import server_url
from tests.support.sessions import Tokens

REPLICATED_TIMEOUT = 5.0
"""Seconds that a call waits for the majority where tests keep it away on purpose."""


@pytest.fixture(scope="session", autouse=True)
def _authorities_read_once() -> Iterator[None]:
    """Let clients without a TLS context of their own share one: else httpx reads 140 authorities for each of them."""
    plain = default.create_ssl_context  # type: ignore[attr-defined]
    usual: dict[tuple[object, ...], ssl.SSLContext] = {}

    def shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        if verify is not True or cert is not None:
            made: ssl.SSLContext = plain(verify=verify, cert=cert, trust_env=trust_env)
            return made
        key = (trust_env, *(os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")))
        if key not in usual:
            usual[key] = plain(trust_env=trust_env)
        return usual[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(default, "create_ssl_context", shared)
        yield


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    """Sessions for the services under test; set JWT_PUBLIC_KEYS to `tokens.jwk_set`."""
    return Tokens()


@pytest.fixture
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], MongoServer]:
    """Makes a MongoDB for this test only, not started: for tests that kill it."""
    return lambda: MongoServer(tmp_path_factory.mktemp("mongo"))


@pytest.fixture
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], NatsServer]:
    """Makes a NATS server for this test only, not started: for tests that kill it."""
    return lambda: ProvisionedNats(tmp_path_factory.mktemp("nats"))


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], RedisServer]:
    """Makes a Redis for this test only, not started: for tests that kill it."""
    return lambda: RedisServer(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def _shared_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the servers that the tests of this process share."""
    with memory_folder(tmp_path_factory.mktemp("shared")) as folder:
        yield folder


@pytest_asyncio.fixture(scope="session")
async def _mongo(_shared_data: Path) -> AsyncIterator[str]:
    async with server_url("MONGO_URL", lambda: MongoServer(_shared_data / "mongo")) as url:
        yield url


@pytest_asyncio.fixture(scope="session")
async def _trio(_shared_data: Path) -> AsyncIterator[MongoTrio]:
    with TemporaryDirectory(dir=_shared_data, prefix="trio-") as folder:  # A process may need it again, later.
        trio = MongoTrio(Path(folder), election_seconds=4)  # A primary on a busy machine may be silent for two.
        await trio.start()
        yield trio
        await trio.stop()


@pytest_asyncio.fixture
async def mongo_trio(_trio: MongoTrio) -> AsyncIterator[MongoTrio]:
    """A replica set of three, healthy at the start of every test: for tests that kill members or keep them behind."""
    await _trio.heal()
    yield _trio


@pytest_asyncio.fixture
async def replicated_db(mongo_trio: MongoTrio) -> AsyncIterator[Database]:
    """A new database on three members, whose calls fail after `REPLICATED_TIMEOUT` seconds."""
    async with database(mongo_trio.url_for(f"test_{new_id()[-12:]}"), REPLICATED_TIMEOUT) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session")
async def _nats(_shared_data: Path) -> AsyncIterator[str]:
    async with server_url("NATS_URL", lambda: NatsServer(_shared_data / "nats")) as url:
        yield url


@pytest_asyncio.fixture(scope="session")
async def _redis(_shared_data: Path) -> AsyncIterator[str]:
    async with server_url("REDIS_URL", lambda: RedisServer(_shared_data / "redis")) as url:
        yield url


@pytest_asyncio.fixture
async def mongo_url(_mongo: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The URL of a database for this test only, which is dropped after it."""
    name = f"test_{re.sub(r'[^a-z0-9]+', '_', request.node.name.lower())[:20]}_{new_id()[-8:]}"
    url = re.sub(r"^(mongodb(?:\+srv)?://[^/]+)/?[^?]*", rf"\1/{name}", _mongo)
    yield url
    async with database(url) as db:
        await db.client.drop_database(db.name)


@pytest_asyncio.fixture
async def db(mongo_url: str) -> AsyncIterator[Database]:
    """The test's database, opened."""
    async with database(mongo_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def bus_url(_nats: str) -> AsyncIterator[str]:
    """The URL of a bus with every stream, empty, and without a durable: `provision` creates those of a service."""
    client = await nats.connect(_nats)
    js = client.jetstream(timeout=10)
    for info in await js.streams_info():
        await emptied(js, info.config.name or "")
    await client.close()
    await provision(_nats)
    yield _nats


@pytest_asyncio.fixture
async def events(bus_url: str) -> AsyncIterator[Events]:
    """The bus as a test sees it."""
    client = await nats.connect(bus_url)
    yield Events(client.jetstream(timeout=10))
    await client.close()


@pytest_asyncio.fixture
async def redis_url(_redis: str) -> AsyncIterator[str]:
    """The URL of a Redis database without any key."""
    import redis.asyncio  # only the service that has a Redis depends on it

    async with redis.asyncio.from_url(_redis) as client:
        await client.flushdb()
    yield _redis
