"""Every listener gets every event that JetStream stores, also across a restart of the server."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, tzinfo

import pytest

from common.bus import listener
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.events import Event, HoldElapsed, StockChanged
from infra.servers.nats import NatsServer
from tests.support.bus import Events
from tests.support.waiting import eventually


def stock(version: int) -> StockChanged:
    return StockChanged(item_id="i1", stock_version=version, quantity=100, available=100 - version)


async def publish(bus: Bus, *events: Event) -> None:
    assert len(await bus.publish([Envelope.of(event) for event in events])) == len(events)


def has_received(events: list[Event], *expected: Event) -> Callable[[], Awaitable[bool]]:
    async def all_of_them() -> bool:
        assert events == list(expected)
        return True

    return all_of_them


async def test_every_listener_gets_every_event_from_its_start_on_in_order(
    bus_url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "LOOK_EVERY", 3_600)  # The news bring them, no look at the stream.
    first: list[Event] = []
    second: list[Event] = []
    async with Bus.connected(bus_url, "orders") as bus, Bus.connected(bus_url, "web") as web:
        await publish(bus, stock(1))
        async with web.listening(first.append, StockChanged), bus.listening(second.append, StockChanged):
            batch = [stock(version) for version in range(2, 22)]
            await publish(bus, *batch)  # Enough for an atomic batch.
            await publish(bus, stock(22))

            await eventually(has_received(first, *batch, stock(22)))
            await eventually(has_received(second, *batch, stock(22)))


async def test_a_listener_that_wants_the_past_has_received_it_before_it_is_ready(
    bus_url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InAMinute(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return (begin + timedelta(minutes=1)).astimezone(tz)

    monkeypatch.setattr(listener, "datetime", InAMinute)
    async with Bus.connected(bus_url, "orders") as bus, Bus.connected(bus_url, "web") as web:
        await publish(bus, stock(1))
        begin = datetime.now(UTC)
        await publish(bus, stock(2))
        await publish(bus, stock(3))

        received: list[Event] = []
        every: list[Event] = []
        none: list[Event] = []
        async with (
            web.listening(received.append, StockChanged, past=60),
            web.listening(every.append, StockChanged, past=600),
            web.listening(none.append, StockChanged, past=1e-6),
        ):
            assert received == [stock(2), stock(3)]
            assert every == [stock(1), stock(2), stock(3)]
            assert none == []

            await publish(bus, stock(4))

            await eventually(has_received(received, stock(2), stock(3), stock(4)))
            await eventually(has_received(none, stock(4)))


async def test_a_listener_gets_no_other_events_of_the_stream(bus_url: str, events: Events) -> None:
    elapsed: list[Event] = []
    async with (
        Bus.connected(bus_url, "expiration") as bus,
        bus.listening(elapsed.append, HoldElapsed),
    ):
        await events.deliver_raw("expiration.other", b"{}")
        await events.deliver_raw("expiration.elapsed", b"not an event")
        await publish(bus, HoldElapsed(order_id="o1"))

        await eventually(has_received(elapsed, HoldElapsed(order_id="o1")))


async def test_a_restart_of_the_server_loses_nothing(nats_server: Callable[[], NatsServer]) -> None:
    server = nats_server()
    await server.start()
    try:
        received: list[Event] = []
        async with (
            Bus.connected(server.url, "orders") as bus,
            Bus.connected(server.url, "web") as web,
            web.listening(received.append, StockChanged),
        ):
            await publish(bus, stock(1))
            await eventually(has_received(received, stock(1)))

            await server.kill()
            await server.start()

            async def published() -> bool:
                return bool(await bus.publish([Envelope.of(stock(2), event_id="second")]))

            await eventually(published)
            await eventually(has_received(received, stock(1), stock(2)))
    finally:
        await server.stop()
