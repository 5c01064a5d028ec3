"""A message's tries are counted when a handler began, whatever else the bus, the servers and the replicas do."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest

from common.bus import consumers as bus_consumers
from common.bus import pulling
from common.bus.connection import Bus
from common.bus.consumers import Consumers, RetryLater
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.events import StockChanged
from infra.servers.nats import NatsServer
from tests.support.bus import Events
from tests.support.member import AWAY, DEADLY, Member
from tests.support.waiting import eventually

Handle = Callable[[StockChanged], Awaitable[None]]


def stocks(*versions: int) -> list[Envelope]:
    """Envelopes of events with these versions."""
    return [
        Envelope.of(StockChanged(item_id="chair", stock_version=version, quantity=1, available=0))
        for version in versions
    ]


@asynccontextmanager
async def items(url: str, handle: Handle) -> AsyncIterator[Bus]:
    """A process of the service `items`. A message that fails once is a dead letter."""
    consumers = Consumers("items")

    @consumers.on(StockChanged)
    async def copy_stock(event: StockChanged) -> None:
        await handle(event)

    await provision(url, consumers.durables)
    async with Bus.connected(url, "items", delays=()) as bus, bus.consuming(consumers, []):
        yield bus


async def tries_recorded(events: Events) -> int:
    """How many messages have a record of their tries."""
    return (await events.js.stream_info("TRIES")).state.messages


async def test_a_message_that_succeeds_at_once_leaves_no_record(bus_url: str, events: Events) -> None:
    async def handle(_: StockChanged) -> None:
        """Succeed."""

    async with items(bus_url, handle) as bus:
        await bus.publish(stocks(*range(100)))
        await events.handled("ORDERS")
    assert await tries_recorded(events) == 0


async def test_asking_for_a_later_call_uses_no_try(bus_url: str, events: Events) -> None:
    calls = 0

    async def handle(_: StockChanged) -> None:
        nonlocal calls
        calls += 1
        if calls < 8:
            raise RetryLater(0.05)

    async with items(bus_url, handle) as bus:
        await bus.publish(stocks(1))
        await events.handled("ORDERS")
    assert calls == 8
    assert await events.dead_letters(0) == []


async def test_a_bus_that_goes_away_before_a_call_asks_for_a_later_one_uses_no_try(
    nats_server: Callable[[], NatsServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server, calls = nats_server(), 0
    await server.start()

    async def handle(_: StockChanged) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            await server.kill()  # The try is on record as begun.
        if calls <= 2:
            raise RetryLater(0.05)

    async def is_waiting() -> bool:
        return "waiting for the bus to record a try" in caplog.text

    try:
        async with items(server.url, handle) as bus:
            await bus.publish(stocks(1))
            await eventually(is_waiting, 20)
            await server.start()
            connection = await nats.connect(server.url)
            events = Events(connection.jetstream(timeout=10))
            await events.handled("ORDERS")
            letters = await events.dead_letters(0)
            await connection.close()
        assert (calls, letters) == (3, [])
    finally:
        await server.stop()


async def test_a_call_that_takes_too_long_uses_no_try(
    bus_url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_consumers, "HANDLER_TIMEOUT", 0.1)
    monkeypatch.setattr(bus_consumers, "TIMED_OUT_DELAY", 0.1)
    calls = 0

    async def hangs_for_a_while(_: StockChanged) -> None:
        nonlocal calls
        calls += 1
        if calls < 5:
            await asyncio.Event().wait()

    async with items(bus_url, hangs_for_a_while) as bus:
        await bus.publish(stocks(1))
        await events.handled("ORDERS")
    assert calls == 5
    assert await events.dead_letters(0) == []


async def test_a_restart_uses_no_try_of_the_messages_in_hand(
    bus_url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulling, "STOP_TIMEOUT", 0.2)
    monkeypatch.setattr(pulling, "HAND_BACK_TIMEOUT", 30)
    calls, in_hand, finish = 0, asyncio.Event(), asyncio.Event()

    async def handle(_: StockChanged) -> None:
        nonlocal calls
        calls += 1
        in_hand.set()
        await finish.wait()

    async with Bus.connected(bus_url, "orders") as orders:
        for _ in range(4):
            async with items(bus_url, handle):
                await orders.publish(stocks(1) if not calls else [])
                await asyncio.wait_for(in_hand.wait(), 30)
            in_hand.clear()
        finish.set()
        async with items(bus_url, handle):
            await events.handled("ORDERS")
    assert calls == 5
    assert await events.dead_letters(0) == []


async def test_deliveries_to_a_member_that_never_begins_use_no_try(bus_url: str, events: Events) -> None:
    seen: list[int] = []

    async def handle(event: StockChanged) -> None:
        seen.append(event.stock_version)

    async with items(bus_url, handle):
        pass  # The durable is there now.
    async with Bus.connected(bus_url, "orders") as orders:
        await orders.publish(stocks(1))
    hung = await events.js.pull_subscribe_bind("items-copy_stock-orders_stock_changed", "ORDERS")
    for delivery in range(1, 21):
        [message] = await hung.fetch(1, timeout=30)
        assert message.metadata.num_delivered == delivery
        await message.nak()

    async with items(bus_url, handle):
        await events.handled("ORDERS")
    assert seen == [1]
    assert await events.dead_letters(0) == []


@pytest.mark.prove
async def test_a_message_that_keeps_killing_its_process_is_a_dead_letter_and_its_neighbours_are_not(
    bus_url: str, events: Events, tmp_path: Path
) -> None:
    neighbours = range(30)
    member = Member(bus_url, tmp_path)
    async with Bus.connected(bus_url, "orders") as orders:
        await member.start()
        await orders.publish(stocks(DEADLY, *neighbours))
        deaths = 0
        while not await events.dead_letters(0):
            assert await member.death() == -signal.SIGKILL
            deaths += 1
            assert deaths < 6
            await member.start()
            await eventually(lambda: dead_or_lettered(member, events), 40)
        await events.handled("ORDERS")
        member.send(signal.SIGKILL)
        await member.death()

    [letter] = await events.dead_letters()
    assert StockChanged.model_validate_json(letter.data).stock_version == DEADLY
    assert "never finished" in letter.headers["Souk-Error"]
    assert set(member.versions()) == set(neighbours)
    assert member.versions("begun").count(DEADLY) == deaths


async def dead_or_lettered(member: Member, events: Events) -> bool:
    return member.is_dead or bool(await events.dead_letters(0))


@pytest.mark.prove
async def test_killing_a_process_that_waits_for_a_server_uses_no_try(
    bus_url: str, events: Events, tmp_path: Path
) -> None:
    member = Member(bus_url, tmp_path)
    async with Bus.connected(bus_url, "orders") as orders:
        await member.start()
        await orders.publish(stocks(AWAY))
        for kills in range(1, 4):
            tried = len(member.versions("begun"))
            await eventually(lambda tried=tried: tried_again(member, tried), 30)  # type: ignore[misc]
            member.send(signal.SIGKILL)
            await member.death()
            if kills == 3:
                (tmp_path / "back").touch()
            await member.start()
        await events.handled("ORDERS", seconds=40)
        member.send(signal.SIGKILL)
        await member.death()
    assert member.versions() == [AWAY]
    assert await events.dead_letters(0) == []


async def tried_again(member: Member, tried: int) -> bool:
    return len(member.versions("begun")) >= tried + 2
