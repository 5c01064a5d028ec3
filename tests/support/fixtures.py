"""Fixtures for tests: real servers, sessions signed with a real key, and ways to wait for the thing itself.

A conftest takes them with `from tests.support.fixtures import *  # noqa: F403`. Backends: the URL in the environment
(MONGO_URL, NATS_URL, REDIS_URL), else servers that are started for the test run and removed after it: as processes of
this machine, or with BACKEND=docker in containers.
"""

import asyncio
import json
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import jwt
import nats
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from common.bus.connection import STREAMS
from common.bus.envelope import Envelope
from common.events import EVENTS, Event
from common.http.sessions import ALGORITHM, ISSUER, User, public_jwk
from common.ids import new_id
from common.mongo.client import Database, database
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.redis import RedisServer
from infra.servers.server import Server

__all__ = ["bus_url", "db", "events", "mongo_server", "mongo_url", "nats_server", "redis_server", "redis_url", "tokens"]
__all__ += ["_mongo", "_nats", "_redis"]  # The servers behind them, one each for a whole test run.

T = TypeVar("T")
E = TypeVar("E", bound=Event)


async def eventually(check: Callable[[], Awaitable[T | None]], seconds: float = 15, why: str = "") -> T:
    """What `check` returns as soon as it is truthy; an AssertionError in it counts as not yet."""
    deadline = time.monotonic() + seconds
    failure: AssertionError | None = None
    while True:
        try:
            if result := await check():
                return result
            failure = None
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why or failure or check}") from failure
        await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    """Whether a process lives. Linux; one that has ended and only waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass
class Tokens:
    """Mints sessions like auth does, with a key pair of its own."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    kid: str = ""
    """What the tokens say they are signed with; the key's own id, if nothing else is said."""

    def __post_init__(self) -> None:
        self.kid = self.kid or public_jwk(self.key.public_key())["kid"]

    @property
    def jwk_set(self) -> str:
        """The public key as JWT_PUBLIC_KEYS."""
        return json.dumps({"keys": [public_jwk(self.key.public_key())]})

    @property
    def private_pem(self) -> str:
        """The private key as JWT_PRIVATE_KEY."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def token(self, user: User, **claims: Any) -> str:
        """A session token of `user`; `claims` replace or add."""
        now = int(time.time())
        payload: dict[str, Any] = {"sub": user.id, "email": user.email, "name": user.name, "iss": ISSUER, "aud": ISSUER}
        payload |= {"roles": user.roles, "iat": now, "exp": now + 3600, **claims}
        return jwt.encode(payload, self.key, algorithm=ALGORITHM, headers={"kid": self.kid})

    def headers(self, user: User, **claims: Any) -> dict[str, str]:
        """The Authorization header of `user`."""
        return {"Authorization": f"Bearer {self.token(user, **claims)}"}


def person(name: str = "Ada", *roles: str) -> User:
    """Somebody new."""
    user_id = new_id()
    return User(id=user_id, email=f"{name.lower()}-{user_id}@souk.test", name=name, roles=roles)


class Events:
    """The bus as a test sees it: deliver events as their owner would, look at what was published and given up."""

    def __init__(self, js: JetStreamContext) -> None:
        self.js = js

    async def deliver(self, event: Event, event_id: str | None = None) -> None:
        """Publish an event (again, under a new id) and wait until every consumer of its stream is done with it."""
        envelope = Envelope.of(event, event_id=event_id)
        await self.js.publish(envelope.subject, envelope.body.encode(), headers=envelope.headers("test"))
        await self.handled(event.stream)

    async def deliver_raw(self, subject: str, body: bytes) -> None:
        """Publish bytes that may be no event at all; does not wait."""
        await self.js.publish(subject, body)

    async def handled(self, *streams: str, seconds: float = 30) -> None:
        """Wait until nothing in these streams (all, if none is named) is waiting for or with a consumer."""
        newest = {stream: await self._newest(stream) for stream in streams or STREAMS}

        async def quiet() -> bool:
            for stream, seen in newest.items():
                for c in await self.js.consumers_info(stream):
                    # The counts alone may not know yet of a message that has just come.
                    read = c.config.filter_subjects or []
                    last = max((seen[s] for s in seen if any(_covers(one, s) for one in read)), default=0)
                    behind = c.config.durable_name and c.ack_floor and c.ack_floor.stream_seq < last
                    if behind or c.num_pending or c.num_ack_pending:
                        return False
            return True

        await eventually(quiet, seconds, why=f"consumers of {streams or 'all streams'} are not done")

    async def _newest(self, stream: str) -> dict[str, int]:
        """The sequence of the newest message of every subject in a stream."""
        subjects = (await self.js.stream_info(stream, subjects_filter=">")).state.subjects or {}
        return {subject: (await self.js.get_last_msg(stream, subject)).seq or 0 for subject in subjects}

    async def published(self, kind: type[E], count: int = 1) -> list[E]:
        """Every event of this kind so far, once there are at least `count`; `count=0` looks at once."""
        assert EVENTS[kind.subject] is kind

        async def enough() -> list[E] | None:
            found = [kind.model_validate_json(m.data) for m in await self.messages(kind.stream, kind.subject)]
            return found if len(found) >= count else None

        return await eventually(enough, why=f"{count} of {kind.subject}") if count else await enough() or []

    async def dead_letters(self, count: int = 1) -> list[Any]:
        """The messages in the dead-letter stream, once there are at least `count`."""

        async def enough() -> list[Any] | None:
            found = await self.messages("DEAD_LETTERS", "dead_letters.>")
            return found if len(found) >= count else None

        return await eventually(enough, why=f"{count} dead letters") if count else await enough() or []

    async def messages(self, stream: str, subject: str) -> list[Any]:
        """Every raw message of a stream under `subject`, in order."""
        found: list[Any] = []
        sequence = 1
        while True:
            try:
                message = await self.js.get_msg(stream, seq=sequence, subject=subject, next=True)
            except NotFoundError:
                return found
            found.append(message)
            sequence = (message.seq or sequence) + 1


def _covers(pattern: str, subject: str) -> bool:
    return pattern == subject or (pattern.endswith(".>") and subject.startswith(pattern[:-1]))


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The app with its lifespan, served in this process; answers 500 instead of raising, like a real server."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://souk.test") as c,
    ):
        yield c


@asynccontextmanager
async def _real(variable: str, make: Callable[[], Server]) -> AsyncIterator[str]:
    if url := os.environ.get(variable):
        yield url
        return
    async with _backend()(make()) as url:
        yield url


def _backend() -> Callable[[Server], AbstractAsyncContextManager[str]]:
    match os.environ.get("BACKEND") or "local":
        case "local":
            return _child
        case "docker":
            from infra.servers.containers import contained  # takes a while to import

            return contained
        case other:
            raise ValueError(f"BACKEND is {other!r}, but must be local or docker")


@asynccontextmanager
async def _child(server: Server) -> AsyncIterator[str]:
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    """Sessions for the services under test; set JWT_PUBLIC_KEYS to `tokens.jwk_set`."""
    return Tokens()


@pytest.fixture
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], MongoServer]:
    """Makes a MongoDB of the test's own, not started: for tests that kill it."""
    return lambda: MongoServer(tmp_path_factory.mktemp("mongo"))


@pytest.fixture
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], NatsServer]:
    """Makes a NATS server of the test's own, not started: for tests that kill it."""
    return lambda: NatsServer(tmp_path_factory.mktemp("nats"))


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], RedisServer]:
    """Makes a Redis of the test's own, not started: for tests that kill it."""
    return lambda: RedisServer(tmp_path_factory.mktemp("redis"))


@pytest_asyncio.fixture(scope="session")
async def _mongo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with _real("MONGO_URL", lambda: MongoServer(tmp_path_factory.mktemp("mongo"))) as url:
        yield url


@pytest_asyncio.fixture(scope="session")
async def _nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with _real("NATS_URL", lambda: NatsServer(tmp_path_factory.mktemp("nats"))) as url:
        yield url


@pytest_asyncio.fixture(scope="session")
async def _redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    async with _real("REDIS_URL", lambda: RedisServer(tmp_path_factory.mktemp("redis"))) as url:
        yield url


@pytest_asyncio.fixture
async def mongo_url(_mongo: str, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The URL of a database that is this test's alone, dropped after it."""
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
    """The URL of a bus without any stream."""
    client = await nats.connect(_nats)
    js = client.jetstream()
    for info in await js.streams_info():
        await js.delete_stream(info.config.name or "")
    await client.close()
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
