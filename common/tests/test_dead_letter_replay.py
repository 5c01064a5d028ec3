"""Failures are reported, and a replayed dead letter goes to the handler that failed and to no other."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from common.bus import dead_letter_replay
from common.bus.connection import Bus
from common.bus.consumers import Consumers
from common.bus.envelope import Envelope
from common.bus.message import Message
from common.bus.provision import provision
from common.events import DeadLetterReplayed, StockChanged
from common.telemetry import Cause, current_cause
from tests.support.bus import Events
from tests.support.waiting import eventually


class Shop:
    """A service whose one handler fails while it is broken. Another handler of it never fails."""

    def __init__(self) -> None:
        self.broken = True
        self.handled: list[tuple[int, str | None]] = []
        self.noticed: list[int] = []
        self.consumers = Consumers("items")
        self.consumers.on(StockChanged)(self.copy_stock)
        self.consumers.on(StockChanged)(self.notice_stock)

    async def copy_stock(self, event: StockChanged) -> None:
        if self.broken:
            raise ValueError("nothing works")
        self.handled.append((event.stock_version, current_cause().event_id))

    async def notice_stock(self, event: StockChanged) -> None:
        self.noticed.append(event.stock_version)

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[Bus]:
        await provision(url, self.consumers.durables)
        async with Bus.connected(url, "items", delays=(0.02,)) as bus, bus.consuming(self.consumers, []):
            yield bus


@pytest.fixture
def shop() -> Shop:
    """A service that is broken."""
    return Shop()


LONG_AGO = timedelta(hours=1)
"""Longer than replicas of two versions run side by side."""


def stock(version: int = 1) -> Envelope:
    """An event on its way."""
    told = StockChanged(item_id="chair", stock_version=version, quantity=1, available=0)
    return Envelope.of(told, Cause("request", "00-trace", "cause"), event_id=f"event-{version}")


def replay(
    sequence: int = 1, service: str = "items", handler: str = "copy_stock", age: timedelta = timedelta()
) -> DeadLetterReplayed:
    """An operator replays message `sequence` of ORDERS to this handler, or did so `age` ago."""
    return DeadLetterReplayed(
        letter_id="letter",
        letter_version=2,
        service=service,
        handler=handler,
        source_stream="ORDERS",
        source_sequence=sequence,
        by="ola@souk.test",
        at=datetime.now(UTC) - age,
        reason=None,
    )


async def test_a_retry_is_reported_with_the_message_that_it_is_about(shop: Shop, bus_url: str, events: Events) -> None:
    async with shop.open(bus_url) as bus:
        await bus.publish([stock()])
        await events.dead_letters()
        [note] = await eventually(lambda: events.messages("RETRIES", "retries.>"))

    assert note.subject == "retries.items.copy_stock"
    assert not note.data
    told = {name: note.headers[name] for name in ("ce-id", "Souk-Subject", "Souk-Error", "Souk-Deliveries")}
    assert told == {
        "ce-id": "event-1",
        "Souk-Subject": "orders.stock_changed",
        "Souk-Error": "ValueError: nothing works",
        "Souk-Deliveries": "1",
    }


async def test_a_replayed_dead_letter_goes_to_its_handler_alone_as_the_original_message(
    shop: Shop, bus_url: str, events: Events
) -> None:
    async with shop.open(bus_url) as bus:
        await bus.publish([stock(1)])
        await bus.publish([stock(2)])
        await events.dead_letters(2)
        shop.broken = False

        await events.deliver(replay(2))
        await events.handled("ORDERS")

    assert shop.handled == [(2, "event-2")]
    assert shop.noticed == [1, 2]


async def test_a_replay_that_fails_is_a_new_dead_letter_about_the_same_message(
    shop: Shop, bus_url: str, events: Events
) -> None:
    async with shop.open(bus_url) as bus:
        await bus.publish([stock()])
        await events.dead_letters()

        await events.deliver(replay())

    first, second = await events.dead_letters(2)
    assert first.headers["Nats-Msg-Id"] != second.headers["Nats-Msg-Id"]
    for name in ("ce-id", "Souk-Subject", "Souk-Stream", "Souk-Sequence", "Souk-Consumer", "Souk-Error"):
        assert first.headers[name] == second.headers[name]
    assert (second.subject, second.data) == (first.subject, first.data)


async def test_a_service_ignores_the_replays_of_another(shop: Shop, bus_url: str, events: Events) -> None:
    async with shop.open(bus_url) as bus:
        await bus.publish([stock()])
        await events.dead_letters()
        shop.broken = False

        await events.deliver(replay(service="payments"))

    assert shop.handled == []
    assert len(await events.dead_letters()) == 1


@pytest.mark.parametrize(
    ("letter", "error"),
    [
        (replay(handler="gone", age=LONG_AGO), "items has no handler gone"),
        (replay(sequence=99), "ORDERS no longer has message 99"),
        (None, "ValidationError"),
    ],
    ids=["handler", "message", "letter"],
)
async def test_a_replay_that_is_impossible_is_a_dead_letter_itself(
    shop: Shop, bus_url: str, events: Events, letter: DeadLetterReplayed | None, error: str
) -> None:
    async with shop.open(bus_url):
        if letter:
            await events.deliver(letter)
        else:
            await events.deliver_raw("letters.replayed", b"{broken")

        [refused] = await events.dead_letters()

    assert refused.headers["Souk-Consumer"] == "items-replays"
    assert error in refused.headers["Souk-Error"]


async def test_a_replay_for_a_handler_of_a_newer_version_waits_for_it(
    shop: Shop, bus_url: str, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_replay, "PAUSE", 0.1)
    async with shop.open(bus_url) as bus:
        await bus.publish([stock()])
        await events.dead_letters()
        shop.broken = False
        await events.deliver_raw("letters.replayed", replay(handler="copy_more").model_dump_json().encode())
        await eventually(lambda: redelivered(events))

    async def copy_more(event: StockChanged) -> None:
        await shop.copy_stock(event)

    shop.consumers.on(StockChanged)(copy_more)
    async with shop.open(bus_url):
        await events.handled("LETTERS", "ORDERS")
    assert (1, "event-1") in shop.handled
    assert len(await events.dead_letters()) == 1


async def redelivered(events: Events) -> bool:
    [replays] = await events.js.consumers_info("LETTERS")
    return bool(replays.num_redelivered)


async def test_a_handler_of_failures_that_fails_causes_no_further_failures(
    bus_url: str, events: Events, shop: Shop
) -> None:
    consumers, seen = Consumers("audit"), list[Message]()

    @consumers.on_stream("DEAD_LETTERS")
    async def keep_letter(message: Message) -> None:
        seen.append(message)
        raise ValueError("not this one")

    await provision(bus_url, consumers.durables)
    async with (
        Bus.connected(bus_url, "audit", delays=(0.02,)) as audit,
        audit.consuming(consumers, []),
        shop.open(bus_url) as bus,
    ):
        await bus.publish([stock()])
        await events.dead_letters()
        await events.handled("ORDERS", "DEAD_LETTERS")

    assert [message.subject for message in seen] == ["dead_letters.items.copy_stock"] * 2
    assert len(await events.dead_letters()) == 1
    assert {note.subject for note in await events.messages("RETRIES", "retries.>")} == {"retries.items.copy_stock"}


async def test_a_whole_stream_is_read_undecoded(bus_url: str, events: Events) -> None:
    consumers, seen = Consumers("audit"), list[Message]()

    @consumers.on_stream("ORDERS")
    async def keep(message: Message) -> None:
        seen.append(message)

    async with Bus.connected(bus_url, "audit") as bus:
        await bus.publish([stock()])
        await provision(bus_url, consumers.durables)
        await events.deliver_raw("orders.of_the_future", b"\xff")
        past = [message async for message in bus.stored_messages("ORDERS")]
        async with bus.consuming(consumers, []):
            await events.handled("ORDERS")
        again = await bus.stored_message("ORDERS", 2)

    assert seen == past
    assert [(m.stream, m.sequence, m.subject) for m in seen] == [
        ("ORDERS", 1, "orders.stock_changed"),
        ("ORDERS", 2, "orders.of_the_future"),
    ]
    assert seen[0].headers["ce-causationid"] == "cause"
    assert again
    assert (again.body, again.subject, again.headers) == (b"\xff", "orders.of_the_future", {})
