"""A running expiration service as its tests see it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import nats
import pytest
from nats.aio.client import Client
from redis.asyncio import Redis

from common.bus import envelope
from common.bus.provision import provision
from common.events import CancelReason, Currency, HoldElapsed, OrderCancelled, OrderPaid, OrderPlaced
from common.ids import new_id
from expiration import deadlines
from expiration.consumers import consumers
from expiration.deadlines import MILLISECOND, utc_now
from expiration.main import app
from tests.support.bus import Events
from tests.support.clock import Clock
from tests.support.serving import running
from tests.support.waiting import eventually


def order_placed(seconds: float) -> OrderPlaced:
    """An order whose hold ends so many seconds from now."""
    return OrderPlaced(
        order_id=new_id(),
        order_version=1,
        buyer_id=new_id(),
        seller_id=new_id(),
        item_id=new_id(),
        item_title="A chair",
        quantity=1,
        unit_price=100,
        currency=Currency.EUR,
        expires_at=utc_now() + timedelta(seconds=seconds),
    )


def cancelled(order: OrderPlaced) -> OrderCancelled:
    """The buyer gave it back."""
    return OrderCancelled(**order.model_dump() | {"order_version": 2}, reason=CancelReason.BUYER)


def paid(order: OrderPlaced) -> OrderPaid:
    """The money came."""
    return OrderPaid(**order.model_dump() | {"order_version": 2}, payment_id=new_id())


@dataclass
class World:
    """The service runs in this process, on real servers."""

    client: httpx.AsyncClient
    connection: Client

    @property
    def events(self) -> Events:
        """The bus."""
        return Events(self.connection.jetstream(timeout=10))

    async def held(self, seconds: float) -> OrderPlaced:
        """An order that expiration knows."""
        order = order_placed(seconds)
        await self.events.deliver(order)
        return order

    async def reported(self, count: int) -> dict[str, datetime]:
        """Which holds were said to be over, in this order, and when: at least `count`, none of them twice."""
        await self.events.published(HoldElapsed, count)
        messages = await self.events.messages("EXPIRATION", HoldElapsed.subject)
        times = {HoldElapsed.model_validate_json(m.data).order_id: m.headers["ce-time"] for m in messages}
        assert len(times) == len(messages)
        return {order: datetime.fromisoformat(time) for order, time in times.items()}

    async def assert_elapse_on_time(self, clock: Clock, *orders: OrderPlaced) -> None:
        """These and no others: each once it is over by the clock, and none of them early."""
        for moment in sorted({order.expires_at for order in orders}):
            clock.now = max(clock.now, moment + MILLISECOND)
            await self.reported(sum(order.expires_at <= moment for order in orders))
        times = await self.reported(len(orders))
        assert times == {order.order_id: order.expires_at + MILLISECOND for order in orders}

    async def reconnected(self) -> None:
        """Return when the bus that the test killed is back for the test, too."""

        async def connected() -> bool:
            return self.connection.is_connected

        await eventually(connected)


Expiration = Callable[[str, str], AbstractAsyncContextManager[World]]


@pytest.fixture
def expiration(monkeypatch: pytest.MonkeyPatch) -> Expiration:
    """Runs the service on the Redis and the bus at these URLs, and waits until its deadlines are complete."""

    async def ignore(_: Exception) -> None:
        """A test that kills the bus expects errors."""

    @asynccontextmanager
    async def run(redis_url: str, nats_url: str) -> AsyncIterator[World]:
        monkeypatch.setenv("REDIS_URL", redis_url)
        monkeypatch.setenv("NATS_URL", nats_url)
        await provision(nats_url, consumers.durables)
        connection = await nats.connect(nats_url, max_reconnect_attempts=-1, reconnect_time_wait=0.1, error_cb=ignore)
        try:
            async with running(app) as client, Redis.from_url(redis_url) as redis:
                await eventually(lambda: redis.exists("marker"))
                yield World(client, connection)
        finally:
            await connection.close()

    return run


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The time of expiration and of its events, which stands still until a test moves it."""
    clock = Clock(utc_now())
    with clock.shown(deadlines, envelope):
        yield clock


@pytest.fixture
async def world(clock: Clock, expiration: Expiration, redis_url: str, bus_url: str) -> AsyncIterator[World]:
    """The service on an empty Redis and an empty bus, by the test's clock."""
    async with expiration(redis_url, bus_url) as world:
        yield world


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """The test's Redis, empty."""
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client
