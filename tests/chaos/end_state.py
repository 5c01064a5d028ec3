"""The state after a run: read from every database, the provider's ledger and the streams."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import ServiceUnavailableError

from common.mongo.client import Collection, database
from tests.chaos.history import Json
from tests.chaos.repeats import STREAMS, Place
from tests.chaos.world import World

BATCH = 500

SKEW = 0.1
"""Seconds by which clocks on one machine may differ."""


@dataclass(frozen=True)
class PublishedEvent:
    """An event, at its first place in a stream."""

    place: Place
    subject: str
    id: str
    at: datetime
    body: Json
    request_id: str
    caused_by: str


@dataclass(frozen=True)
class DeadLetter:
    """A message that a consumer could not handle."""

    place: Place
    """Of the message in its own stream."""
    consumer: str
    subject: str
    error: str
    at: float
    """Unix seconds."""


@dataclass
class EndState:
    """Documents by id, of the people of one run only."""

    users: dict[str, Json] = field(default_factory=dict)
    items: dict[str, Json] = field(default_factory=dict)
    stock: dict[str, Json] = field(default_factory=dict)
    orders: dict[str, Json] = field(default_factory=dict)
    payments: dict[str, Json] = field(default_factory=dict)
    bookings: dict[str, Json] = field(default_factory=dict)
    """The tickets of each order."""
    charges: dict[str, Json] = field(default_factory=dict)
    """The provider's ledger, by payment id."""
    unknown_charges: list[str] = field(default_factory=list)
    """Charges of the ledger for which there is no payment."""
    events: list[PublishedEvent] = field(default_factory=list)
    stored_twice: int = 0
    """Copies of events in the streams: repeated by faults, or published again because no answer came in time."""
    dead_letters: list[DeadLetter] = field(default_factory=list)
    readers: dict[str, set[str]] = field(default_factory=dict)
    """The handlers of each subject."""
    unsettled: list[str] = field(default_factory=list)
    """What was still going on at the end of the time in which all had to settle."""
    at: float = field(default_factory=time.time)
    clocks_off: float = 0.0
    """Seconds by which a fault set the clock of a service wrong."""
    hold_limit: int = 10
    """Units of one item that one buyer may hold."""

    @property
    def skew(self) -> float:
        """Seconds by which the clocks of services and people may differ."""
        return SKEW + self.clocks_off


async def read_end_state(world: World, people: Iterable[str], began: float, unsettled: list[str]) -> EndState:
    """Read everything about these people (user ids), and the dead letters since `began` (Unix seconds)."""
    ids = {"$in": list(people)}
    end = EndState(unsettled=unsettled)
    async with (
        database(world.mongo_url("auth")) as auth,
        database(world.mongo_url("items")) as items,
        database(world.mongo_url("orders")) as orders,
        database(world.mongo_url("payments")) as payments,
        database(world.mongo_url("tickets")) as tickets,
        database(world.ledger_url) as ledger,
        open_streams(world) as js,
    ):
        end.users = await _found(auth.users, {"_id": ids})
        end.items = await _found(items.items, {"seller_id": ids})
        end.stock = await _found(orders.stock, {"seller_id": ids})
        end.orders = await _found(orders.orders, {"buyer_id": ids})
        end.payments = await _found(payments.payments, {"buyer_id": ids})
        end.bookings = await _found(tickets.bookings, {"_id": {"$in": list(end.orders)}})
        charges = await _found(ledger.sandbox_charges, {})
        end.charges = {one: charge for one, charge in charges.items() if one in end.payments}
        end.unknown_charges = sorted(charges.keys() - set(await payments.payments.distinct("_id")))
        end.events, end.stored_twice = await _events(js)
        letters = [_letter(headers) async for _, _, headers, _ in _messages(js, "DEAD_LETTERS")]
        end.dead_letters = [letter for letter in letters if letter.at >= began]
        end.readers = await _readers(js)
    return end


@asynccontextmanager
async def open_streams(world: World) -> AsyncIterator[JetStreamContext]:
    """Connect as a user who may read all streams."""
    client = await nats.connect(world.bus_url.split(","))
    try:
        yield client.jetstream(timeout=10)
    finally:
        await client.close()


async def _found(collection: Collection, query: Json) -> dict[str, Json]:
    return {document["_id"]: document async for document in collection.find(query)}


async def _events(js: JetStreamContext) -> tuple[list[PublishedEvent], int]:
    """Return every readable event once, oldest first, and how many copies there are of them."""
    first: dict[str, PublishedEvent] = {}
    copies = 0
    for stream in STREAMS:
        async for place, subject, headers, data in _messages(js, stream):
            copies += headers.get("ce-id", "") in first
            if headers.get("ce-id", "") in first or "ce-time" not in headers:
                continue
            first[headers["ce-id"]] = PublishedEvent(
                place,
                subject,
                headers["ce-id"],
                datetime.fromisoformat(headers["ce-time"]),
                json.loads(data),
                headers.get("ce-requestid", ""),
                headers.get("ce-causationid", ""),
            )
    return sorted(first.values(), key=lambda event: event.at), copies


def _letter(headers: dict[str, str]) -> DeadLetter:
    place = Place(headers["Souk-Stream"], int(headers["Souk-Sequence"]))
    at = datetime.fromisoformat(headers["Souk-Failed-At"]).timestamp()
    return DeadLetter(place, headers["Souk-Consumer"], headers["Souk-Subject"], headers["Souk-Error"], at)


async def _messages(js: JetStreamContext, stream: str) -> AsyncIterator[tuple[Place, str, dict[str, str], bytes]]:
    config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE, inactive_threshold=30)
    subscription = await js.pull_subscribe("", stream=stream, config=config)
    remaining = (await subscription.consumer_info()).num_pending or 0
    while remaining > 0:
        for msg in await _fetched(subscription, min(BATCH, remaining)):
            remaining -= 1
            yield Place(stream, msg.metadata.sequence.stream), msg.subject, msg.headers or {}, msg.data
    await subscription.unsubscribe()


async def _fetched(subscription: JetStreamContext.PullSubscription, count: int) -> list[Msg]:
    """The next messages, once the member that we talk to has heard which other one has the new consumer."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(ServiceUnavailableError):
                return await subscription.fetch(count, timeout=10)
            await asyncio.sleep(0.1)


async def _readers(js: JetStreamContext) -> dict[str, set[str]]:
    readers: dict[str, set[str]] = {}
    for stream in STREAMS:
        for info in await js.consumers_info(stream):
            if durable := info.config.durable_name:
                # orders-finish_paid_order-payments_captured: dead letters name the reader without the subject.
                reader = "-".join(durable.split("-")[:2])
                readers.setdefault(info.config.filter_subject or "", set()).add(reader)
    return readers
