"""A durable belongs to one handler and one subject: handlers change their subjects, and no event is lost by it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import nats
import pytest
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from common.bus.connection import Bus
from common.bus.consumers import Consumers
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.events import Currency, Event, OrderPaid, StockChanged
from tests.support.bus import Events
from tests.support.waiting import eventually


def stock(version: int) -> StockChanged:
    """An event of one subject."""
    return StockChanged(item_id="chair", stock_version=version, quantity=1, available=0)


def paid(version: int) -> OrderPaid:
    """An event of another subject of the same stream."""
    return OrderPaid(
        order_id="order",
        order_version=version,
        buyer_id="bea",
        seller_id="sid",
        item_id="chair",
        item_title="A chair",
        quantity=1,
        unit_price=100,
        currency=Currency.EUR,
        expires_at=datetime.now(UTC),
        payment_id="payment",
    )


def version_of(event: Event) -> tuple[str, int]:
    """What tells the events here apart."""
    return (event.subject, getattr(event, "stock_version", 0) or getattr(event, "order_version", 0))


@asynccontextmanager
async def items(url: str, seen: list[tuple[str, int]], *kinds: type[Event]) -> AsyncIterator[Bus]:
    """A version of the service `items` whose one handler takes events of these types."""
    consumers = Consumers("items")

    @consumers.on(*kinds)
    async def follow(event: Event) -> None:
        seen.append(version_of(event))

    await provision(url, consumers.durables)
    async with Bus.connected(url, "items") as bus, bus.consuming(consumers, []):
        yield bus


@pytest.fixture
async def orders(bus_url: str) -> AsyncIterator[Bus]:
    """The bus of the service that owns the events."""
    async with Bus.connected(bus_url, "orders") as bus:
        yield bus


@pytest.fixture
def seen() -> list[tuple[str, int]]:
    """The events that the handler got."""
    return []


async def got(seen: list[tuple[str, int]], *events: Event) -> bool:
    return {version_of(event) for event in events} <= set(seen)


async def test_a_subject_that_is_added_to_a_handler_is_delivered_from_its_beginning(
    bus_url: str, orders: Bus, events: Events, seen: list[tuple[str, int]]
) -> None:
    await orders.publish([Envelope.of(paid(1)), Envelope.of(stock(1))])
    async with items(bus_url, seen, StockChanged):
        await eventually(lambda: got(seen, stock(1)))
        await events.handled("ORDERS")
    assert seen == [version_of(stock(1))]

    async with items(bus_url, seen, StockChanged, OrderPaid):
        await eventually(lambda: got(seen, paid(1)))
    assert sorted(seen) == sorted([version_of(stock(1)), version_of(paid(1))]), "and nothing twice"


async def test_replicas_of_two_versions_run_side_by_side_and_restart_in_any_order(
    bus_url: str, orders: Bus, events: Events, seen: list[tuple[str, int]]
) -> None:
    old: list[tuple[str, int]] = []
    async with items(bus_url, old, StockChanged), items(bus_url, seen, StockChanged, OrderPaid):
        await orders.publish([Envelope.of(paid(1))])
        await eventually(lambda: got(seen, paid(1)))
    async with items(bus_url, seen, StockChanged, OrderPaid), items(bus_url, old, StockChanged):
        await orders.publish([Envelope.of(paid(2)), Envelope.of(stock(2))])
        await eventually(lambda: got(seen, paid(2)))
        await eventually(lambda: got(seen + old, stock(2)))
        await events.handled("ORDERS")


class PushMember:
    """A replica of the revision before: one push durable for all subjects of the handler."""

    def __init__(self, url: str, *subjects: str) -> None:
        self._url = url
        self._subjects = subjects
        self.seen: list[int] = []
        self.acknowledges = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator["PushMember"]:
        client = await nats.connect(self._url)
        await client.subscribe("deliver.items.follow", queue="items", cb=self._receive)
        config = ConsumerConfig(
            durable_name="items-follow",
            deliver_subject="deliver.items.follow",
            deliver_group="items",
            ack_policy=AckPolicy.EXPLICIT,
            filter_subjects=list(self._subjects),
        )
        await client.jetstream().add_consumer("ORDERS", config)
        yield self
        await client.close()

    async def _receive(self, msg: Msg) -> None:
        if self.acknowledges:
            self.seen.append(msg.metadata.sequence.stream)
            await msg.ack()


async def test_a_new_durable_goes_on_where_the_push_durable_was(
    bus_url: str, orders: Bus, events: Events, seen: list[tuple[str, int]]
) -> None:
    before = PushMember(bus_url, StockChanged.subject)
    async with before.running():
        await orders.publish([Envelope.of(stock(version)) for version in range(1, 51)])
        await orders.publish([Envelope.of(paid(1))])
        await events.handled("ORDERS")
        before.acknowledges = False
        await orders.publish([Envelope.of(stock(51)), Envelope.of(stock(52))])

        async with items(bus_url, seen, StockChanged, OrderPaid):
            await eventually(lambda: got(seen, stock(51), stock(52), paid(1)))
            assert sorted(seen) == sorted(version_of(event) for event in (stock(51), stock(52), paid(1)))

            before.acknowledges = True
            await orders.publish([Envelope.of(stock(53))])
            await eventually(lambda: got(seen, stock(53)))
            await eventually(lambda: handled_by(before, 54), why="the replica of the revision before works on")
            assert await is_there(events, "items-follow")

    async with items(bus_url, seen, StockChanged, OrderPaid):
        await eventually(lambda: is_gone(events, "items-follow"), why="nobody is bound to it")
        await orders.publish([Envelope.of(stock(54))])
        await eventually(lambda: got(seen, stock(54)))


async def handled_by(member: PushMember, sequence: int) -> bool:
    return sequence in member.seen


async def is_there(events: Events, durable: str) -> bool:
    try:
        await events.js.consumer_info("ORDERS", durable)
    except NotFoundError:
        return False
    return True


async def is_gone(events: Events, durable: str) -> bool:
    return not await is_there(events, durable)


async def test_two_members_that_start_at_once_share_one_durable(
    bus_url: str, orders: Bus, events: Events, seen: list[tuple[str, int]]
) -> None:
    async def member() -> None:
        async with items(bus_url, seen, StockChanged):
            await eventually(lambda: got(seen, stock(1)))

    await orders.publish([Envelope.of(stock(1))])
    await asyncio.gather(member(), member(), member())
    [durable] = await events.js.consumers_info("ORDERS")
    assert durable.name == "items-follow-orders_stock_changed"
    assert seen == [version_of(stock(1))]


def test_the_durables_of_a_service_are_known_without_running_a_handler() -> None:
    consumers = Consumers("items")

    @consumers.on(StockChanged, OrderPaid)
    async def follow(_: Event) -> None:
        """Never called."""

    @consumers.on_stream("ITEMS")
    async def keep_items(_: object) -> None:
        """Never called."""

    assert [(d.stream, d.name, d.subject) for d in consumers.durables] == [
        ("ORDERS", "items-follow-orders_stock_changed", "orders.stock_changed"),
        ("ORDERS", "items-follow-orders_paid", "orders.paid"),
        ("ITEMS", "items-keep_items-items", "items.>"),
        ("LETTERS", "items-replays-letters_replayed", "letters.replayed"),
    ]
