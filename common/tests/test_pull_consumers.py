"""Replicas share durable pull consumers: one that hangs, dies or is cut off delays only what it has asked for."""

import asyncio
import math
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import accumulate
from pathlib import Path

import pytest

from common.bus import pulling
from common.bus.connection import Bus
from common.bus.consumers import Consumers
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.events import StockChanged
from infra.servers.nats import NatsServer
from tests.support.bus import Events
from tests.support.member import Member
from tests.support.waiting import eventually

SHARE = 64
"""Messages that one member may have asked for or in hand."""


def stocks(count: int, first: int = 0) -> list[Envelope]:
    """Envelopes of events with versions from `first`."""
    return [
        Envelope.of(StockChanged(item_id="chair", stock_version=version, quantity=1, available=0))
        for version in range(first, first + count)
    ]


@asynccontextmanager
async def items(url: str, seen: list[int]) -> AsyncIterator[Bus]:
    """A member of the service `items` in this process, with a handler that notes the versions it sees."""
    consumers = Consumers("items")

    @consumers.on(StockChanged)
    async def copy_stock(event: StockChanged) -> None:
        await asyncio.sleep(0)
        seen.append(event.stock_version)

    await provision(url, consumers.durables)
    async with Bus.connected(url, "items", delays=()) as bus, bus.consuming(consumers, []):
        yield bus


@pytest.mark.prove
async def test_a_hung_member_delays_only_what_it_asked_for_and_makes_no_dead_letter(
    bus_url: str, events: Events, tmp_path: Path
) -> None:
    count, seen = 3_000, list[int]()

    async def every_event() -> bool:
        return len(set(seen)) == count

    async with Member(bus_url, tmp_path).running() as other, items(bus_url, seen) as bus:
        other.send(signal.SIGSTOP)
        await bus.publish(stocks(count))
        await eventually(every_event, 60)
    late = sum(version + 2 * SHARE < newest for version, newest in zip(seen, accumulate(seen, max), strict=True))
    assert late <= SHARE, "only what the hung member had asked for came after all others"
    assert await events.dead_letters(0) == []


@pytest.mark.prove
async def test_a_member_that_was_hung_takes_messages_again(bus_url: str, events: Events, tmp_path: Path) -> None:
    async with Member(bus_url, tmp_path).running() as member, Bus.connected(bus_url, "orders") as orders:
        member.send(signal.SIGSTOP)
        await orders.publish(stocks(5))
        await eventually(
            lambda: asked_for_nothing(events), 30, "the hung member's requests have ended: it must ask again"
        )
        await orders.publish(stocks(5, first=5))
        member.send(signal.SIGCONT)

        async def every_event() -> bool:
            return set(member.versions()) == set(range(10))

        await eventually(every_event, 30)


async def test_a_restart_of_the_server_loses_no_request(
    nats_server: Callable[[], NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "SILENCE", math.inf)  # It is no silence that shows the restart.
    server, seen = nats_server(), list[int]()
    await server.start()
    try:
        async with items(server.url, seen) as bus, Bus.connected(server.url, "orders") as orders:
            for version in range(3):
                await server.kill()
                await server.start()
                await eventually(lambda: connected(bus, True))
                await eventually(lambda: connected(orders, True))
                await orders.publish(stocks(1, first=version))
                await eventually(lambda version=version: saw(seen, version))  # type: ignore[misc]
    finally:
        await server.stop()


async def test_a_replica_stops_while_its_durable_is_gone(
    bus_url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()

    async def wait_for(*_: object) -> None:
        """Loses its first cancellation, as Python 3.11 may."""
        waiting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async with items(bus_url, []):
        monkeypatch.setattr(pulling, "wait_for", wait_for)
        [durable] = await events.js.consumers_info("ORDERS")
        await events.js.delete_consumer("ORDERS", durable.name)
        await asyncio.wait_for(waiting.wait(), 60)
    # Otherwise leaving would not have ended.


async def asked_for_nothing(events: Events) -> bool:
    [consumer] = await events.js.consumers_info("ORDERS")
    return consumer.num_waiting == 0


async def saw(seen: list[int], version: int) -> bool:
    return version in seen


async def connected(bus: Bus, wanted: bool) -> bool:
    return bus.connected_now is wanted


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore:Exception ignored in.*StreamWriter:pytest.PytestUnraisableExceptionWarning")
async def test_a_server_that_hangs_is_left_within_seconds(nats_server: Callable[[], NatsServer]) -> None:
    server, seen = nats_server(), list[int]()
    await server.start()
    assert server.pid
    try:
        async with items(server.url, seen) as bus, Bus.connected(server.url, "orders") as orders:
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await orders.publish(stocks(200))
                await eventually(lambda: connected(bus, False), 10)
            finally:
                os.kill(server.pid, signal.SIGCONT)
            await eventually(lambda: connected(orders, True))
            await orders.publish(stocks(1, first=500))
            await eventually(lambda: saw(seen, 500))
    finally:
        await server.stop()


async def test_no_member_has_more_in_hand_than_its_share(bus_url: str, events: Events) -> None:
    consumers, in_hand, most = Consumers("items"), 0, 0
    finish = asyncio.Event()

    @consumers.on(StockChanged)
    async def copy_stock(_: StockChanged) -> None:
        nonlocal in_hand, most
        in_hand += 1
        most = max(most, in_hand)
        await finish.wait()
        in_hand -= 1

    await provision(bus_url, consumers.durables)
    async with Bus.connected(bus_url, "items") as bus, bus.consuming(consumers, []):
        await bus.publish(stocks(500))

        async def its_share() -> bool:
            return most == SHARE

        await eventually(its_share)
        finish.set()
        await events.handled("ORDERS")
    assert most == SHARE
