"""Holds end on time, whatever happens to Redis, to the bus or to a worker."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from shutil import rmtree
from typing import TypeVar

import pytest
from nats.aio.msg import Msg
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from common.bus.connection import Bus, heard
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.events import Event, HoldElapsed
from expiration.consumers import consumers
from expiration.deadlines import AWAY, MILLISECOND, Deadlines, milliseconds, utc_now
from expiration.worker import BATCH, Worker
from infra.servers.nats import NatsServer
from infra.servers.redis import RedisServer
from infra.servers.server import Server
from tests.chaos.proxy import Proxy
from tests.support.bus import Events
from tests.support.clock import Clock
from tests.support.waiting import eventually

from .conftest import Expiration, World, cancelled, order_placed, paid

S = TypeVar("S", bound=Server)


@asynccontextmanager
async def started(server: S) -> AsyncIterator[S]:
    """The server, started; stopped at the end."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def complete(redis: Redis, *, lease: timedelta = timedelta(hours=1)) -> Deadlines:
    """A complete and empty set of deadlines, as a worker sees it that makes claims of this length."""
    deadlines = Deadlines(redis, lease=lease)
    assert await deadlines.begin_rebuild()
    await deadlines.rebuild({}, complete=True)
    return deadlines


async def overdue(deadlines: Deadlines, count: int) -> list[str]:
    """Orders whose holds ended a moment ago, a millisecond after each other."""
    orders = [f"order-{i}" for i in range(count)]
    start = utc_now() - timedelta(milliseconds=count)
    await asyncio.gather(*(deadlines.add(o, start + timedelta(milliseconds=i)) for i, o in enumerate(orders)))
    return orders


async def test_a_dead_workers_claim_ends_with_its_lease(
    redis: Redis, redis_url: str, bus_url: str, expiration: Expiration
) -> None:
    dead = await complete(redis, lease=timedelta(seconds=1))
    await overdue(dead, 1)
    claim = await dead.claim(1)

    async with expiration(redis_url, bus_url) as world:
        [reported] = (await world.reported(1)).values()

    assert milliseconds(reported) > claim.leased_until
    assert not await redis.exists("deadlines")


async def test_a_stopped_worker_leaves_no_claim_behind(
    redis: Redis, redis_url: str, bus_url: str, expiration: Expiration
) -> None:
    orders = await overdue(await complete(redis), 3 * BATCH)

    async with expiration(redis_url, bus_url) as world:
        await world.reported(1)
    assert not await redis.zcount("deadlines", milliseconds(utc_now()), "+inf"), "a lease"

    async with expiration(redis_url, bus_url) as world:
        assert set(await world.reported(len(orders))) == set(orders)


async def test_two_workers_share_a_backlog_and_report_nothing_twice(
    redis: Redis, bus_url: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.bus.publishing.ACK_TIMEOUT", 60.0)  # What the bus stores slowly would be sent again.
    received: list[Msg] = []

    async def receive(message: Msg) -> None:
        received.append(message)

    await world.connection.subscribe(HoldElapsed.subject, cb=receive)  # also what JetStream would drop as a duplicate
    await heard(world.connection)
    async with Bus.connected(bus_url, "expiration", away=AWAY) as bus, Worker.working(Deadlines(redis), bus):
        orders = await overdue(Deadlines(redis), 4 * BATCH)
        assert set(await world.reported(len(orders))) == set(orders)

    assert len(received) == len(orders)


async def test_holds_survive_an_emptied_redis(world: World, clock: Clock, redis: Redis) -> None:
    orders = [await world.held(seconds) for seconds in (1.5, 1.2, 1.8)]
    settled = await world.held(1.2)
    await world.events.deliver(paid(settled))

    await redis.flushall()

    orders.append(await world.held(1.5))
    await world.assert_elapse_on_time(clock, *orders)


async def test_an_emptied_redis_is_noticed_while_nothing_else_happens(world: World, redis: Redis) -> None:
    order = await world.held(60)
    for _ in range(3):
        await redis.flushall()
        await eventually(lambda: redis.zscore("deadlines", order.order_id))


@pytest.mark.parametrize("lost", [False, True], ids=["restarted", "replaced by an empty one"])
async def test_holds_survive_a_redis_that_is_killed(
    lost: bool, clock: Clock, redis_server: Callable[[], RedisServer], bus_url: str, expiration: Expiration
) -> None:
    async with started(redis_server()) as redis, expiration(redis.url, bus_url) as world:
        orders = [await world.held(seconds) for seconds in (0.5, 2, 2.5)]
        settled = await world.held(2)
        await world.events.deliver(cancelled(settled))

        await redis.kill()
        if lost:
            rmtree(redis.folder / "data")
        placed_meanwhile = asyncio.create_task(world.held(2))
        await eventually(lambda: misses(world, "redis"))
        await redis.start()

        await world.assert_elapse_on_time(clock, *orders, await placed_meanwhile)
        await eventually(lambda: is_ready(world))


async def test_a_redis_that_comes_back_from_before_a_failover_is_not_trusted(
    clock: Clock, redis_server: Callable[[], RedisServer], bus_url: str, expiration: Expiration
) -> None:
    async with (
        started(redis_server()) as old,
        started(redis_server()) as promoted,
        leading_to(old) as wire,
        expiration(f"redis://127.0.0.1:{wire.port}/0", bus_url) as world,
        Redis.from_url(promoted.url) as after,
    ):
        wire.lead_to(promoted.port)
        await eventually(lambda: after.exists("marker"))
        order = await world.held(3)

        wire.lead_to(old.port)  # Its marker says that it is complete, but it never heard of the order.

        await world.assert_elapse_on_time(clock, order)


@asynccontextmanager
async def leading_to(server: RedisServer) -> AsyncIterator[Proxy]:
    """An address that leads to this server until it leads to another."""
    wire = Proxy(server.port)
    await wire.open()
    try:
        yield wire
    finally:
        await wire.close()


async def fill_the_disk(redis: RedisServer, client: Redis) -> None:
    """Let Redis fail to save a snapshot, as on a full disk; it refuses writes from now on."""
    (redis.folder / "data/dump.rdb").mkdir()  # where a file should go
    await client.config_set("save", "3600 1000000")
    await client.bgsave()
    await eventually(lambda: saved(client, "err"))


async def mend_the_disk(redis: RedisServer, client: Redis) -> None:
    (redis.folder / "data/dump.rdb").rmdir()
    await client.bgsave()
    await eventually(lambda: saved(client, "ok"))


async def saved(client: Redis, status: str) -> bool:
    return bool((await client.info("persistence"))["rdb_last_bgsave_status"] == status)


async def fill_the_memory(_: RedisServer, client: Redis) -> None:
    await client.config_set("maxmemory", 1)


async def mend_the_memory(_: RedisServer, client: Redis) -> None:
    await client.config_set("maxmemory", 0)


Fault = Callable[[RedisServer, Redis], Awaitable[None]]


@pytest.mark.parametrize(
    ("fill", "mend", "error"),
    [(fill_the_disk, mend_the_disk, "MISCONF"), (fill_the_memory, mend_the_memory, "command not allowed")],
    ids=["disk", "memory"],
)
async def test_while_redis_is_full_holds_wait_and_none_becomes_a_dead_letter(
    fill: Fault,
    mend: Fault,
    error: str,
    redis_server: Callable[[], RedisServer],
    bus_url: str,
    events: Events,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        started(redis_server()) as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
        Bus.connected(bus_url, "expiration", delays=(), away=AWAY) as bus,  # the first failure is the last
    ):
        deadlines = await complete(redis)
        due, placed = order_placed(-1), order_placed(0.5)
        await deadlines.add(due.order_id, due.expires_at)
        await fill(server, redis)
        with pytest.raises(ResponseError, match=error):
            await redis.set("anything", 1)

        await provision(bus_url, consumers.durables)
        async with Worker.working(deadlines, bus), bus.consuming(consumers, [deadlines]):
            waiting = asyncio.create_task(events.deliver(placed))
            await eventually(lambda: complained(caplog, "common."))
            await eventually(lambda: complained(caplog, "expiration."))
            assert not await redis.zscore("deadlines", placed.order_id)
            assert not await events.published(HoldElapsed, 0)
            await mend(server, redis)
            await waiting

            reported = await events.published(HoldElapsed, 2)
        assert [event.order_id for event in reported] == [due.order_id, placed.order_id]
        assert await events.dead_letters(0) == []


async def complained(caplog: pytest.LogCaptureFixture, who: str) -> bool:
    return any(r.name.startswith(who) and r.levelno >= logging.WARNING for r in caplog.records)


async def misses(world: World, server: str) -> bool:
    """Whether the service says that it is not ready for want of this server."""
    answer = await world.client.get("/readyz")
    return answer.status_code == 503 and list(answer.json()["away"]) == [server]


async def test_a_redis_that_is_away_is_logged_once(
    clock: Clock,
    redis_server: Callable[[], RedisServer],
    bus_url: str,
    expiration: Expiration,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with started(redis_server()) as redis, expiration(redis.url, bus_url) as world:
        await world.held(60)
        await redis.kill()
        placed_meanwhile = asyncio.gather(*(world.held(1) for _ in range(50)))
        await eventually(lambda: misses(world, "redis"))
        for who in ("common.bus", "expiration"):
            await eventually(lambda who=who: complained(caplog, who))  # type: ignore[misc]
        a_while = datetime.now(UTC) + timedelta(seconds=1)
        await eventually(lambda: passed(a_while), why="fifty waiting messages had their chance to complain")
        await redis.start()
        await world.assert_elapse_on_time(clock, *await placed_meanwhile)

    lines = [record.message for record in caplog.records if record.name.startswith(("common.bus", "expiration"))]
    assert 1 < len(lines) < 10, lines


async def test_reading_the_deadlines_again_is_said_but_is_no_warning(
    redis: Redis, redis_url: str, bus_url: str, expiration: Expiration, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with expiration(redis_url, bus_url) as world:
        await world.held(60)
        caplog.clear()

        await redis.flushdb()
        await eventually(lambda: redis.exists("marker"))

    assert any("reading the deadlines from the orders' events" in r.message for r in caplog.records)
    assert not await complained(caplog, "expiration")


async def is_ready(world: World) -> bool:
    return (await world.client.get("/readyz")).status_code == 200


async def passed(moment: datetime) -> bool:
    return datetime.now(UTC) > moment


async def test_holds_that_end_while_the_bus_is_away_are_told_when_it_is_back(
    clock: Clock, redis_url: str, nats_server: Callable[[], NatsServer], expiration: Expiration
) -> None:
    async with started(nats_server()) as nats, expiration(redis_url, nats.url) as world:
        first, *others = [await world.held(1), *await asyncio.gather(*(world.held(60) for _ in range(99)))]
        await world.assert_elapse_on_time(clock, first)

        await nats.kill()
        clock.now = others[0].expires_at + MILLISECOND
        await eventually(lambda: misses(world, "bus"))
        assert (await world.client.get("/healthz")).status_code == 200
        await nats.start()

        await world.reconnected()
        await world.assert_elapse_on_time(clock, first, *others)


@pytest.mark.prove
async def test_a_backlog_survives_a_bus_that_dies_in_the_middle_of_it(
    redis: Redis, redis_url: str, nats_server: Callable[[], NatsServer], expiration: Expiration
) -> None:
    orders = await overdue(await complete(redis), 6 * BATCH)

    async with started(nats_server()) as nats, expiration(redis_url, nats.url) as world:
        await eventually(lambda: told_at_least(world, 2 * BATCH))
        await nats.kill()
        await nats.start()
        await world.reconnected()
        assert set(await world.reported(len(orders))) == set(orders)


async def told_at_least(world: World, count: int) -> bool:
    return (await world.events.js.stream_info("EXPIRATION")).state.messages >= count


async def test_a_long_history_is_read_again_and_the_settled_stay_silent(
    redis: Redis, bus_url: str, events: Events
) -> None:
    orders = [order_placed(0) for _ in range(3 * BATCH)]
    held, bought, given_back = orders[::3], orders[1::3], orders[2::3]
    history: list[Event] = [*orders, *map(paid, bought), *map(cancelled, given_back)]

    async with Bus.connected(bus_url, "orders") as bus:
        for start in range(0, len(history), BATCH):
            assert await bus.publish([Envelope.of(event) for event in history[start : start + BATCH]])
    async with Bus.connected(bus_url, "expiration") as bus, Worker.working(Deadlines(redis), bus):
        reported = await events.published(HoldElapsed, len(held))

    assert [event.order_id for event in reported] == [order.order_id for order in held]
    assert not await redis.exists("deadlines")
