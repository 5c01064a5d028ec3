"""The bus on a real NATS server: nothing is lost or dropped silently, and one bad message does not stop the others."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import nats
import pytest
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from common.bus.connection import Bus
from common.bus.consumers import Consumers, RetryLater
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.bus.publishing import ACK_TIMEOUT
from common.errors import Unavailable
from common.events import Event, HoldElapsed, OrderPaid, StockChanged
from common.telemetry import Cause, caused_by, current_cause
from infra.servers.nats import NatsServer
from tests.support.bus import Events
from tests.support.waiting import eventually

Handle = Callable[[StockChanged], Awaitable[None]]


class Away(Exception):
    """A server that a handler needs does not answer."""


def stock(version: int = 1) -> StockChanged:
    """An event; its version tells it from the others."""
    return StockChanged(item_id="chair", stock_version=version, quantity=1, available=0)


def stocks(count: int) -> list[Envelope]:
    """Envelopes of `count` events, with versions from 0."""
    return [Envelope.of(stock(version)) for version in range(count)]


async def versions(events: Events, count: int) -> list[int]:
    """The versions of the events in the stream, in its order, once there are `count`."""
    return [event.stock_version for event in await events.published(StockChanged, count)]


@asynccontextmanager
async def items(url: str, handle: Handle, **options: Any) -> AsyncIterator[Bus]:
    """A process of the service `items`, whose one consumer `copy_stock` calls `handle`."""
    consumers = Consumers("items")

    @consumers.on(StockChanged)
    async def copy_stock(event: StockChanged) -> None:
        await handle(event)

    await provision(url, consumers.durables)
    async with Bus.connected(url, "items", away=(Away,), **options) as bus, bus.consuming(consumers, []):
        yield bus


@pytest.fixture
async def orders(bus_url: str) -> AsyncIterator[Bus]:
    """The bus of the service `orders`, which owns the events here."""
    async with Bus.connected(bus_url, "orders") as bus:
        yield bus


@pytest.fixture
def seen() -> list[StockChanged]:
    """The events that a handler got, in order."""
    return []


# Publishing


@pytest.mark.parametrize("count", [1, 7, 100])
async def test_what_is_acknowledged_is_stored_in_order(count: int, orders: Bus, events: Events) -> None:
    sent = stocks(count)
    assert await orders.publish(sent) == sent
    assert await versions(events, count) == list(range(count))


async def test_publishing_nothing_is_nothing(orders: Bus) -> None:
    assert await orders.publish([]) == []


@pytest.mark.parametrize("count", [1, 100])
async def test_an_event_published_again_is_one_message(count: int, orders: Bus, events: Events) -> None:
    sent = stocks(count)
    for _ in range(3):
        assert await orders.publish(sent) == sent
    assert await versions(events, count) == list(range(count))


async def test_an_event_that_is_stored_already_does_not_stop_the_others(orders: Bus, events: Events) -> None:
    sent = stocks(100)
    await orders.publish(sent[40:60])
    assert await orders.publish(sent) == sent
    assert sorted(await versions(events, 100)) == list(range(100))


async def test_a_message_is_a_cloud_event(orders: Bus, events: Events) -> None:
    cause = Cause("request-1", "00-" + 32 * "a" + "-" + 16 * "b" + "-01", "event-before")
    before = datetime.now(UTC)
    envelope = Envelope.of(stock(7), cause)
    assert before <= envelope.time <= datetime.now(UTC)
    await orders.publish([envelope])

    [message] = await events.messages("ORDERS", "orders.stock_changed")
    assert message.headers == {
        "Nats-Msg-Id": envelope.id,
        "ce-specversion": "1.0",
        "ce-id": envelope.id,
        "ce-type": "orders.stock_changed",
        "ce-source": "/souk/orders",
        "ce-time": envelope.time.isoformat(),
        "content-type": "application/json",
        "traceparent": cause.traceparent,
        "ce-requestid": "request-1",
        "ce-causationid": "event-before",
    }
    assert json.loads(message.data) == stock(7).model_dump()


def test_an_envelope_comes_back_whole_from_a_document() -> None:
    envelope = Envelope.of(stock(), Cause("request-1", "00-trace", "event-before"))
    assert Envelope.from_document(envelope.to_document()) == envelope


# Handling


async def test_a_handler_is_given_the_parts_it_asks_for(bus_url: str, orders: Bus, events: Events) -> None:
    class Shelf:
        left: int | None = None

    consumers = Consumers("orders")

    @consumers.on(StockChanged)
    async def copy_stock(event: StockChanged, shelf: Shelf) -> None:
        shelf.left = event.available

    shelf = Shelf()
    await provision(bus_url, consumers.durables)
    async with orders.consuming(consumers, ["something else", shelf]):
        await events.deliver(stock())
    assert shelf.left == 0


async def test_a_handler_with_a_parameter_that_no_part_fits_fails_at_the_start(orders: Bus) -> None:
    consumers = Consumers("items")

    @consumers.on(StockChanged)
    async def copy_stock(event: StockChanged, shelf: Events) -> None:
        """Never called."""

    with pytest.raises(KeyError):
        async with orders.consuming(consumers, []):
            pass


async def test_a_handler_takes_the_events_it_names_and_no_others(
    bus_url: str, events: Events, seen: list[StockChanged]
) -> None:
    async def handle(event: StockChanged) -> None:
        seen.append(event)

    async with items(bus_url, handle):
        await events.deliver(stock(1))
        await events.deliver_raw("orders.paid", b"{}")
        await events.deliver(HoldElapsed(order_id="another stream"))
        await events.deliver(stock(2))
    assert seen == [stock(1), stock(2)]
    assert await events.dead_letters(0) == []


async def test_what_was_published_before_the_first_start_is_handled_too(
    orders: Bus, bus_url: str, events: Events, seen: list[StockChanged]
) -> None:
    async def handle(event: StockChanged) -> None:
        seen.append(event)

    await orders.publish(stocks(20))
    async with items(bus_url, handle):
        await events.handled("ORDERS")
    async with items(bus_url, handle):
        await events.handled("ORDERS")
    assert [event.stock_version for event in seen] == list(range(20)), "each once: the second start has nothing to do"


async def test_two_processes_of_a_service_share_its_work(orders: Bus, bus_url: str, events: Events) -> None:
    first: list[int] = []
    second: list[int] = []

    async def left(event: StockChanged) -> None:
        first.append(event.stock_version)

    async def right(event: StockChanged) -> None:
        second.append(event.stock_version)

    async with items(bus_url, left), items(bus_url, right):
        await orders.publish(stocks(200))
        await events.handled("ORDERS")
    assert sorted(first + second) == list(range(200))
    assert len(first) > 20
    assert len(second) > 20


async def test_two_services_each_get_every_event(orders: Bus, bus_url: str, events: Events) -> None:
    counts = {"items": 0, "web": 0}

    def counting(service: str) -> Consumers:
        consumers = Consumers(service)

        @consumers.on(StockChanged)
        async def copy_stock(event: StockChanged) -> None:
            counts[service] += 1

        return consumers

    services = counting("items"), counting("web")
    await provision(bus_url, [durable for service in services for durable in service.durables])
    async with (
        Bus.connected(bus_url, "items") as one,
        Bus.connected(bus_url, "web") as two,
        one.consuming(services[0], []),
        two.consuming(services[1], []),
    ):
        await orders.publish(stocks(20))
        await events.handled("ORDERS")
    assert counts == {"items": 20, "web": 20}


async def test_a_request_is_followed_from_event_to_event(orders: Bus, bus_url: str, events: Events) -> None:
    causes: list[Cause] = []

    async def handle(_: StockChanged) -> None:
        causes.append(current_cause())
        await orders.publish([Envelope.of(HoldElapsed(order_id="consequence"))])

    trace = "00-" + 32 * "c" + "-" + 16 * "d" + "-01"
    async with items(bus_url, handle):
        with caused_by(Cause("request-9", trace)):
            first = Envelope.of(stock())
        await orders.publish([first])
        [consequence] = await eventually(lambda: events.messages("EXPIRATION", HoldElapsed.subject))

    assert causes == [Cause("request-9", trace, first.id)]
    assert consequence.headers["ce-requestid"] == "request-9"
    assert consequence.headers["ce-causationid"] == first.id
    assert consequence.headers["traceparent"] == trace


# Failing


async def test_a_handler_that_fails_is_called_again_with_growing_delays(
    bus_url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays = (0.1, 0.3, 0.9)
    times: list[float] = []
    asked: list[float] = []
    nak = Msg.nak

    async def noted(msg: Msg, delay: float) -> None:
        asked.append(delay)
        await nak(msg, delay)

    async def handle(_: StockChanged) -> None:
        times.append(time.monotonic())
        if len(times) <= len(delays):
            raise ValueError("not yet")

    monkeypatch.setattr(Msg, "nak", noted)
    async with items(bus_url, handle, delays=delays):
        await events.deliver(stock())

    assert all(0.75 * delay <= one <= 1.25 * delay for one, delay in zip(asked, delays, strict=True))
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert all(wait >= one for wait, one in zip(waits, asked, strict=True))
    assert await events.dead_letters(0) == []


async def test_a_message_that_cannot_be_handled_is_a_dead_letter_and_the_next_ones_go_on(
    orders: Bus, bus_url: str, events: Events, seen: list[StockChanged]
) -> None:
    async def handle(event: StockChanged) -> None:
        if event.stock_version == 3:
            raise ValueError("version 3\r\nis  cursed: ü")
        seen.append(event)

    async with items(bus_url, handle, delays=(0.1, 0.1)):
        sent = stocks(10)
        await orders.publish(sent)
        [letter] = await events.dead_letters()
        await events.handled("ORDERS")

    assert [event.stock_version for event in seen] == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert letter.subject == "dead_letters.items.copy_stock"
    assert StockChanged.model_validate_json(letter.data) == stock(3)
    story = {name: value for name, value in letter.headers.items() if name.startswith("Souk-")}
    failed_at = datetime.fromisoformat(story.pop("Souk-Failed-At"))
    assert abs((failed_at - datetime.now(UTC)).total_seconds()) < 30
    assert story == {
        "Souk-Subject": "orders.stock_changed",
        "Souk-Stream": "ORDERS",
        "Souk-Sequence": "4",
        "Souk-Consumer": "items-copy_stock",
        "Souk-Error": r"ValueError: version 3 is cursed: \xfc",
        "Souk-Deliveries": "3",
    }
    assert letter.headers["ce-id"] == sent[3].id, "what it takes to publish it again"


@pytest.mark.parametrize("body", [b"{broken", b"\xff\xfe", b'"text"', b'{"item_id": 7}', b""])
async def test_a_message_that_cannot_be_read_is_a_dead_letter_at_once_and_the_next_ones_go_on(
    body: bytes, bus_url: str, events: Events, seen: list[StockChanged]
) -> None:
    async def handle(event: StockChanged) -> None:
        seen.append(event)

    async with items(bus_url, handle):
        await events.deliver_raw("orders.stock_changed", body)
        await events.deliver(stock(2))
        [letter] = await events.dead_letters()

    assert seen == [stock(2)]
    assert letter.data == (body or None)
    assert letter.headers["Souk-Deliveries"] == "1"
    assert letter.headers["Souk-Error"].startswith("ValidationError: ")


async def test_a_handler_may_ask_to_be_called_later_and_that_is_no_failure(bus_url: str, events: Events) -> None:
    times: list[float] = []

    async def handle(_: StockChanged) -> None:
        times.append(time.monotonic())
        if len(times) < 3:
            raise RetryLater(0.3)

    async with items(bus_url, handle):
        await events.deliver(stock())

    assert len(times) == 3
    assert all(later - earlier >= 0.3 for earlier, later in pairwise(times))
    assert await events.dead_letters(0) == []


async def test_handlers_wait_for_a_server_that_is_away_and_make_no_dead_letter(
    bus_url: str, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []
    back = False

    async def handle(event: StockChanged) -> None:
        tries.append(event.stock_version)
        if not back:
            raise Away

    async with items(bus_url, handle, delays=()) as bus:
        await bus.publish(stocks(20))

        async def three_tries_each() -> bool:
            return all(tries.count(version) >= 3 for version in range(20))

        await eventually(three_tries_each)
        back = True
        await events.handled("ORDERS")

    assert await events.dead_letters(0) == []
    lines = [record.message for record in caplog.records if "away" in record.message]
    assert lines == ["waiting for a server that is away: Away"], "once, not for every message and try"


# Stopping and crashing


async def test_leaving_finishes_the_messages_in_hand_and_takes_no_more(
    orders: Bus, bus_url: str, events: Events, seen: list[StockChanged]
) -> None:
    in_hand, finish = asyncio.Event(), asyncio.Event()

    async def handle(event: StockChanged) -> None:
        in_hand.set()
        await finish.wait()
        seen.append(event)

    process = items(bus_url, handle)
    await process.__aenter__()
    await orders.publish([Envelope.of(stock(1))])
    await in_hand.wait()
    leaving = asyncio.create_task(process.__aexit__(None, None, None))
    await eventually(lambda: unheard(events))
    await orders.publish([Envelope.of(stock(2))])
    finish.set()
    await leaving

    assert seen == [stock(1)]

    async def one_is_done_and_one_waits() -> bool:
        [consumer] = await events.js.consumers_info("ORDERS")
        return (consumer.num_ack_pending, consumer.num_pending) == (0, 1)

    await eventually(one_is_done_and_one_waits)


async def unheard(events: Events) -> bool:
    """Whether no process asks the consumer for messages any more."""
    [consumer] = await events.js.consumers_info("ORDERS")
    return not consumer.num_waiting


async def test_publishing_while_the_bus_is_away_stores_nothing_and_says_so_at_once(
    nats_server: Callable[[], NatsServer],
) -> None:
    server = nats_server()
    await server.start()
    calls: list[bool] = []
    async with Bus.connected(server.url, "orders") as orders:
        orders.on_reconnect.append(lambda: calls.append(orders.connected_now))
        await server.kill()
        await eventually(lambda: is_connected(orders, False))

        began = time.monotonic()
        assert await orders.publish(stocks(100)) == []
        assert time.monotonic() - began < ACK_TIMEOUT
        with pytest.raises(NatsError):
            await orders.check()

        await server.start()
        await eventually(lambda: is_connected(orders, True))
        await orders.check()
        sent = stocks(100)
        assert await orders.publish(sent) == sent
    await server.stop()
    assert calls == [True]


async def test_a_bus_that_died_is_left_without_an_error(nats_server: Callable[[], NatsServer]) -> None:
    async def is_unheard(bus: Bus) -> bool:
        try:
            async with asyncio.timeout(0.1):
                await bus.request("nobody", b"")
        except TimeoutError:
            return True
        except Unavailable:  # The server says that nobody answers: it is not stopped yet.
            return False
        return False

    server = nats_server()
    await server.start()
    try:
        async with Bus.connected(server.url, "orders") as bus:
            server.send(signal.SIGSTOP)
            await eventually(lambda: is_unheard(bus))
            await server.kill()  # What it has not read makes the end of the connection an error.
            await eventually(lambda: is_connected(bus, False))
            assert await is_unheard(bus)  # What cannot be sent now is there at closing.
    finally:
        await server.stop()


async def is_connected(bus: Bus, connected: bool) -> bool:
    return bus.connected_now is connected


@pytest.mark.prove
async def test_a_server_killed_while_events_stream_through_it_loses_none(
    nats_server: Callable[[], NatsServer],
) -> None:
    count = 3_000
    seen: list[int] = []
    half_way = asyncio.Event()

    async def handle(event: StockChanged) -> None:
        seen.append(event.stock_version)
        if len(seen) >= count / 2:
            half_way.set()

    async def publish_all(orders: Bus) -> None:
        waiting = stocks(count)
        while waiting:
            if len(waiting) <= count / 4:
                await half_way.wait()
            stored = await orders.publish(waiting[:50])
            waiting = [envelope for envelope in waiting if envelope not in stored]
            await eventually(lambda: is_connected(orders, True))

    server = nats_server()
    await server.start()
    try:
        async with Bus.connected(server.url, "orders") as orders, items(server.url, handle):
            publishing = asyncio.create_task(publish_all(orders))
            await half_way.wait()
            await server.kill()
            assert not publishing.done()
            await server.start()
            await asyncio.wait_for(publishing, 60)

            connection = await nats.connect(server.url)
            events = Events(connection.jetstream(timeout=10))
            await events.handled("ORDERS", seconds=60)
            stored = await versions(events, count)
            letters = await events.dead_letters(0)
            await connection.close()
    finally:
        await server.stop()

    assert sorted(stored) == list(range(count)), "each once"
    assert set(seen) == set(range(count))
    assert letters == []


# Reading again


async def replayed(bus: Bus, *kinds: type[Event]) -> list[Event]:
    return [event async for event in bus.stored_events(*kinds)]


async def test_stored_events_are_read_from_the_first_in_order_and_leave_no_consumer(
    orders: Bus, events: Events
) -> None:
    await orders.publish(stocks(1_200))
    await events.deliver_raw("orders.stock_changed", b"{broken")
    await events.deliver_raw("orders.paid", b"{}")
    await orders.publish([Envelope.of(stock(1_200))])

    past = await replayed(orders, StockChanged)

    assert past == [stock(version) for version in range(1_201)]
    assert await events.js.consumers_info("ORDERS") == []


async def test_an_empty_stream_has_no_stored_events(orders: Bus) -> None:
    assert await replayed(orders, StockChanged, OrderPaid) == []


async def test_reading_stored_events_ends_at_the_newest_of_its_start(orders: Bus, events: Events) -> None:
    await orders.publish(stocks(3))
    past: list[Event] = []
    async with aclosing(orders.stored_events(StockChanged)) as replay:
        async for event in replay:
            past.append(event)
            await orders.publish([Envelope.of(stock(99))])
    assert past == [stock(version) for version in range(3)]


async def test_reading_stored_events_may_end_early(orders: Bus, events: Events) -> None:
    await orders.publish(stocks(20))
    async with aclosing(orders.stored_events(StockChanged)) as replay:
        assert await anext(replay) == stock(0)
    assert await events.js.consumers_info("ORDERS") == []


async def test_an_event_that_is_too_large_stays_behind_and_the_others_are_published(
    orders: Bus, events: Events
) -> None:
    sent = stocks(10)
    giant = replace(sent[4], body="x" * 2_000_000)

    stored = await orders.publish([*sent[:4], giant, *sent[5:]])

    assert len(stored) == 9
    assert orders.connected_now
    assert len(await events.published(StockChanged, 9)) == 9
