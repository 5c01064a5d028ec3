"""The outbox: state and events in one guarded write; then the relay publishes every event at least once.

The events of an aggregate wait in the `pending` array of its own document, so no change is saved without its event, and
no event is published without its change. Loading never reads `pending`, saving only adds to it, and relaying only
removes from it and leaves `version` alone.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pymongo import InsertOne, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError, WTimeoutError

from common.aggregate import Aggregate
from common.batching import Batcher
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.errors import StaleWrite, Unavailable
from common.mongo.client import AWAY, Collection, Document
from common.telemetry import BEHIND, RELAYED, Cause

log = logging.getLogger(__name__)

HAS_PENDING = {"pending.0": {"$exists": True}}
"""The filter of the partial index, and the sweeper's query. MongoDB uses the index only if they are the same."""

DUPLICATE_KEY = 11000
"""MongoDB's error code."""

SWEEP_AFTER = timedelta(seconds=5)
"""The sweeper publishes events older than this: a crash or a lost acknowledgement left them behind."""

PUBLISH_BATCH = 512
"""Events that are published together at most."""

SWEEP_LIMIT = 1_000
"""Documents of a collection that one sweep reads at most."""

MAX_PENDING = 10_000
"""Unpublished events at which new commands are refused, so that they do not pile up without end."""

UPDATE_ATTEMPTS = 10
"""How often an update is tried until it gives up against faster writers."""

RETRY_DELAY = 0.005
"""Seconds that an update waits at most before its first retry. The maximum doubles with each further retry."""

MAX_RETRY_DELAY = 0.2
"""Seconds that an update waits at most before any retry."""

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")
Write = InsertOne[Document] | UpdateOne


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event that is stored in the `pending` array of document `key`."""

    collection: Collection
    key: str
    envelope: Envelope


def write_of(aggregate: Aggregate, envelopes: Sequence[Envelope]) -> Write:
    """The one write that makes new state and its events durable, guarded by the version that was loaded.

    An update of an outdated version matches nothing; as an upsert, it then fails on the `_id` that it would insert. So
    MongoDB reports each stale member of a bulk write, and not only a total (docs/decisions/stale-by-upsert.md).
    """
    state = aggregate.to_document()
    pending = [envelope.to_document() for envelope in envelopes]
    if aggregate.version == 0:
        present = {k: v for k, v in state.items() if v is not None}
        return InsertOne({"_id": aggregate.id, "version": 1, **present, "pending": pending})
    change: dict[str, Any] = {"$set": {k: v for k, v in state.items() if v is not None}, "$inc": {"version": 1}}
    if gone := {k: "" for k, v in state.items() if v is None}:
        change["$unset"] = gone
    if pending:
        change["$push"] = {"pending": {"$each": pending}}
    return UpdateOne({"_id": aggregate.id, "version": aggregate.version}, change, upsert=True)


class Relay:
    """Publishes stored events and removes those that JetStream has acknowledged. Start one with `Relay.running`."""

    def __init__(self, bus: Bus, collections: Sequence[Collection], sweep_every: float) -> None:
        self._bus = bus
        self._collections = collections
        self._sweep_every = sweep_every
        self._publisher: Batcher[Outgoing, bool] = Batcher(
            self._publish, limit=PUBLISH_BATCH, backlog=MAX_PENDING, shared=(Exception,)
        )
        self._wake = asyncio.Event()
        self._over = False
        self._behind = 0
        bus.on_reconnect.append(self._wake.set)

    @classmethod
    @asynccontextmanager
    async def running(cls, bus: Bus, *collections: Collection, sweep_every: float = 5.0) -> AsyncIterator["Relay"]:
        """A relay for these collections, with its sweeper. On leaving, it publishes the events that it was given."""
        relay = cls(bus, collections, sweep_every)
        for collection in collections:
            await collection.create_index("pending.time", name="pending", partialFilterExpression=HAS_PENDING)
        sweeper = asyncio.create_task(relay._keep_sweeping())
        try:
            yield relay
        finally:
            relay._over = True  # Not cancelled: pymongo on Python 3.11 may swallow a cancellation.
            relay._wake.set()
            await sweeper
            await relay._publisher.close()

    def check_room(self) -> None:
        """Raise `Unavailable` if too many events wait for the bus to accept another command.

        Only commands call this. What records how something ended (money came, a hold is over) is always saved.
        """
        if self._behind + len(self._publisher) >= MAX_PENDING:
            raise Unavailable("too many events wait for the bus; try again later")

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish soon, without waiting: the events are stored, and the sweeper publishes those that fail here."""
        try:
            for one in outgoing:
                self._publisher.put(one)
        except Unavailable:
            log.warning("the relay is full; %s waits for the sweeper", one.envelope.subject)

    async def _publish(self, batch: Sequence[Outgoing]) -> list[bool]:
        """For each event of the batch, whether JetStream has stored it."""
        stored = {envelope.id for envelope in await self._bus.publish([o.envelope for o in batch])}
        done = [o for o in batch if o.envelope.id in stored]
        for o in done:
            RELAYED.labels(o.envelope.subject).inc()
        try:
            for collection in self._collections:
                await _pull(collection, [o for o in done if o.collection.name == collection.name])
        except AWAY as error:
            log.warning("could not remove published events; the sweeper will publish them again: %s", error)
        return [o.envelope.id in stored for o in batch]

    async def _keep_sweeping(self) -> None:
        grace = SWEEP_AFTER
        while not self._over:
            try:
                while await self.sweep(grace) >= SWEEP_LIMIT and not self._over:
                    log.info("sweeping again: many events were left behind")
            except Exception:
                log.exception("sweeping failed; next try in %s s", self._sweep_every)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._sweep_every)
            # When the bus is back, no event has a reason to wait any longer.
            grace = timedelta(0) if self._wake.is_set() else SWEEP_AFTER
            self._wake.clear()

    async def sweep(self, grace: timedelta = SWEEP_AFTER) -> int:
        """Publish events that have waited for longer than `grace`, oldest first; return how many JetStream stored."""
        before = datetime.now(UTC) - grace
        behind = swept = 0
        for collection in self._collections:
            documents = (
                await collection.find(HAS_PENDING, {"pending": 1}).sort("pending.time").limit(SWEEP_LIMIT).to_list()
            )
            waiting = [outgoing for document in documents for outgoing in _waiting(collection, document, before)]
            stored = 0
            for start in range(0, len(waiting), PUBLISH_BATCH):
                stored += sum(await self._publish(waiting[start : start + PUBLISH_BATCH]))
            if len(documents) == SWEEP_LIMIT:
                behind += await collection.count_documents(HAS_PENDING, limit=MAX_PENDING)
            else:
                behind += len(waiting) - stored
            swept += stored
        self._behind = behind
        BEHIND.set(behind)
        return swept


def _waiting(collection: Collection, document: Document, before: datetime) -> Iterator[Outgoing]:
    """The events of a document that are older than `before`."""
    for pending in document["pending"]:
        try:
            if pending["time"] < before:
                yield Outgoing(collection, document["_id"], Envelope.from_document(pending))
        except (KeyError, TypeError) as error:
            log.error("cannot read an event of %s %s: %r", collection.name, document["_id"], error)  # noqa: TRY400


async def _pull(collection: Collection, published: Sequence[Outgoing]) -> None:
    if published:
        # w=1: if this write is lost, the event is published again under the same id, which is harmless.
        await collection.with_options(write_concern=WriteConcern(w=1)).update_many(
            {"_id": {"$in": list({o.key for o in published})}},
            {"$pull": {"pending": {"id": {"$in": [o.envelope.id for o in published]}}}},
        )


class Outbox:
    """Saves the aggregates of one collection and relays their events. Concurrent saves share one bulk write."""

    def __init__(self, collection: Collection, relay: Relay) -> None:
        self.collection = collection
        self.relay = relay
        self._writes: Batcher[Write, None] = Batcher(self._write, shared=AWAY)

    async def save(self, aggregate: Aggregate) -> None:
        """Make the aggregate's state and events durable in one write, then publish them.

        Raises `StaleWrite` if another writer saved it first, `DuplicateKeyError` if a unique index refuses it.
        """
        envelopes = self.envelopes(aggregate)
        await self._writes(write_of(aggregate, envelopes))
        self.committed(aggregate, envelopes)

    async def update(
        self,
        load: Callable[[], Awaitable[A]],
        decide: Callable[[A], None],
        *,
        loaded: A | None = None,
        command: bool = True,
    ) -> A:
        """Load an aggregate, let `decide` change it, and save it; after a lost race, load and decide again.

        Nothing is saved if `decide` changes nothing. An aggregate that was `loaded` a moment ago saves the first load.
        Raises what `load` and `decide` raise, `StaleWrite` when `UPDATE_ATTEMPTS` races are lost, and `Unavailable`
        when too many events wait for the bus. `command=False` is for recording how something ended (money came, a
        hold is over): that is saved however many events wait.
        """
        if command:
            self.relay.check_room()
        known = [] if loaded is None else [loaded]

        async def attempt() -> A:
            aggregate = known.pop() if known else await load()
            before = aggregate.to_document()
            decide(aggregate)
            if aggregate.recorded or aggregate.to_document() != before:
                await self.save(aggregate)
            return aggregate

        return await retry_stale(attempt)

    def envelopes(self, aggregate: Aggregate, cause: Cause | None = None) -> list[Envelope]:
        """Envelopes for the aggregate's recorded events."""
        return [Envelope.of(event, cause) for event in aggregate.recorded]

    def committed(self, aggregate: Aggregate, envelopes: Sequence[Envelope]) -> None:
        """Call this after the write: the aggregate gets its next version, and its events are published."""
        aggregate.saved()
        self.relay.send([Outgoing(self.collection, aggregate.id, envelope) for envelope in envelopes])

    async def _write(self, writes: Sequence[Write]) -> list[BaseException | None]:
        try:
            await self.collection.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            return _each(error, len(writes))
        return [None] * len(writes)


async def retry_stale(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat `attempt` while it raises `StaleWrite`, up to `UPDATE_ATTEMPTS` times, with growing random delays."""
    for retries in range(UPDATE_ATTEMPTS - 1):
        with contextlib.suppress(StaleWrite):
            return await attempt()
        await asyncio.sleep(random.uniform(0, min(RETRY_DELAY * 2**retries, MAX_RETRY_DELAY)))  # noqa: S311 - no secret
    return await attempt()


def _each(error: BulkWriteError, count: int) -> list[BaseException | None]:
    """The error, or None, of each member of a bulk write that failed."""
    results: list[BaseException | None] = [None] * count
    for problem in (error.details or {}).get("writeErrors", []):
        if problem["code"] != DUPLICATE_KEY:
            # Not `error` itself: its text holds all the data of the bulk write.
            results[problem["index"]] = WriteError(problem["errmsg"], problem["code"])
        elif problem.get("keyPattern") == {"_id": 1}:
            results[problem["index"]] = StaleWrite("it was changed meanwhile; load it again")
        else:
            results[problem["index"]] = DuplicateKeyError(
                "refused by a unique index", DUPLICATE_KEY, {"keyPattern": problem.get("keyPattern")}
            )
    if (error.details or {}).get("writeConcernErrors"):
        raise WTimeoutError("written, but not yet known to the majority") from error
    return results
