"""The outbox: state and events in one guarded write; then the relay publishes every event at least once.

The events of an aggregate wait in the `pending` array of its own document, so no change is saved without its event, and
no event is published without its change. Loading never reads `pending`, saving only adds to it, and relaying only
removes from it and leaves `version` alone.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from pymongo import InsertOne, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

from common.aggregate import Aggregate
from common.batching import Batcher
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.errors import StaleWrite, Unavailable
from common.mongo.client import (
    AWAY,
    DUPLICATE_KEY,
    TIMEOUT,
    WITHOUT_PENDING,
    Collection,
    Document,
    newest,
    write_all,
)
from common.telemetry import BEHIND, BEHIND_FOR, RELAYED, Cause

log = logging.getLogger(__name__)

HAS_PENDING = {"pending.0": {"$exists": True}}
"""The filter of the partial index, and the sweeper's query. MongoDB uses the index only if they are the same."""

SWEEP_AFTER = timedelta(seconds=TIMEOUT + 2)
"""The sweeper publishes events older than this: a crash or a lost acknowledgement left them behind.

No save takes so long, so nothing is published before its writer knows what became of it.
"""

PUBLISH_BATCH = 512
"""Events that are published together at most."""

PUBLISH_BYTES = 4 * 1024 * 1024
"""Bytes of events that the sweeper holds in memory and publishes together, roughly."""

SWEEP_LIMIT = 1_000
"""Documents of a collection that one sweep reads at most."""

FETCH = 100
"""Documents that a reply of MongoDB has at most: it makes replies of 16 MB, and two of them are in memory at once."""

MAX_PENDING = 10_000
"""Unpublished events at which new commands are refused, so that they do not pile up without end."""

MAX_PENDING_BYTES = 64 * 1024 * 1024
"""Bytes of unpublished events at which new commands are refused."""

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Bytes of a document at which it takes no event of a command. MongoDB's own limit is 16 MB."""

LARGE = 1_024
"""Characters of an event before which the size of its document is always looked at."""

MUCH_WAITS = 1024 * 1024
"""Bytes of unpublished events from which on the size of the document is looked at before a smaller one, too."""

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

    @property
    def size(self) -> int:
        """About as many bytes as it takes."""
        return len(self.envelope.body)


@dataclass(slots=True)
class Amount:
    """How many events, about how many bytes, and since when."""

    events: int = 0
    bytes: int = 0
    oldest: datetime | None = None

    def add(self, outgoing: Sequence[Outgoing]) -> None:
        self.events += len(outgoing)
        self.bytes += sum(o.size for o in outgoing)
        self.oldest = min((t for t in (self.oldest, *(o.envelope.time for o in outgoing)) if t), default=None)


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
            self._publish_queued, limit=PUBLISH_BATCH, backlog=MAX_PENDING, shared=(Exception,)
        )
        self._queued_bytes = 0
        self._behind = Amount()
        self._wake = asyncio.Event()
        self._over = False
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
        events = self._behind.events + len(self._publisher)
        if events >= MAX_PENDING or self.waiting_bytes >= MAX_PENDING_BYTES:
            raise Unavailable("too many events wait for the bus; try again later")

    @property
    def waiting_bytes(self) -> int:
        """About how many bytes of events wait, as far as this process knows."""
        return self._behind.bytes + self._queued_bytes

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish soon, without waiting: the events are stored, and the sweeper publishes those that fail here."""
        try:
            for one in outgoing:
                if self._queued_bytes >= MAX_PENDING_BYTES:
                    raise Unavailable("too many bytes are waiting")
                self._publisher.put(one)
                self._queued_bytes += one.size
        except Unavailable:
            log.warning("the relay is full; %s waits for the sweeper", one.envelope.subject)

    async def _publish_queued(self, batch: Sequence[Outgoing]) -> list[bool]:
        self._queued_bytes -= sum(o.size for o in batch)
        return await self._publish(batch)

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
        grace = timedelta(0)  # A process that died may have left something behind.
        while not self._over:
            try:
                while await self.sweep(grace) >= SWEEP_LIMIT and not self._over:
                    log.info("sweeping again: many events were left behind")
            except AWAY as error:
                log.warning("could not sweep; next try in %s s: %s", self._sweep_every, error)
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
        behind, swept = Amount(), 0
        for collection in self._collections:
            documents: set[str] = set()
            async with aclosing(_batches(_left_behind(collection, before))) as batches:
                async for batch in batches:
                    stored = await self._publish(batch)
                    swept += sum(stored)
                    behind.add([o for o, done in zip(batch, stored, strict=True) if not done])
                    documents.update(o.key for o in batch)
            if len(documents) == SWEEP_LIMIT:
                behind.events += await collection.count_documents(HAS_PENDING, limit=MAX_PENDING)
        self._behind = behind
        BEHIND.set(behind.events)
        BEHIND_FOR.set((datetime.now(UTC) - behind.oldest).total_seconds() if behind.oldest else 0)
        return swept


async def _left_behind(collection: Collection, before: datetime) -> AsyncGenerator[Outgoing, None]:
    """The events that are older than `before`, oldest document first."""
    async for document in (
        collection.find(HAS_PENDING, {"pending": 1}).sort("pending.time").limit(SWEEP_LIMIT).batch_size(FETCH)
    ):
        for pending in document["pending"]:
            try:
                if pending["time"] < before:
                    yield Outgoing(collection, document["_id"], Envelope.from_document(pending))
            except (KeyError, TypeError) as error:
                log.error("cannot read an event of %s %s: %r", collection.name, document["_id"], error)  # noqa: TRY400


async def _batches(events: AsyncGenerator[Outgoing, None]) -> AsyncGenerator[list[Outgoing], None]:
    """The events in lists of at most `PUBLISH_BATCH`, and about `PUBLISH_BYTES`."""
    batch: list[Outgoing] = []
    size = 0
    async with aclosing(events):
        async for event in events:
            batch.append(event)
            size += event.size
            if len(batch) == PUBLISH_BATCH or size >= PUBLISH_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


async def _pull(collection: Collection, published: Sequence[Outgoing]) -> None:
    if published:
        # w=1: if this write is lost, the event is published again under the same id, which is harmless.
        await collection.with_options(write_concern=WriteConcern(w=1)).update_many(
            {"_id": {"$in": list({o.key for o in published})}},
            {"$pull": {"pending": {"id": {"$in": [o.envelope.id for o in published]}}}},
        )


class Outbox:
    """Saves the aggregates of one collection and relays their events.

    Concurrent saves share one bulk write; those of new aggregates and those of changed ones do not share it with each
    other, see `write_all`.
    """

    def __init__(self, collection: Collection, relay: Relay) -> None:
        self.collection = collection
        self.relay = relay
        self._inserts: Batcher[Write, None] = Batcher(self._write, shared=AWAY)
        self._updates: Batcher[Write, None] = Batcher(self._write, shared=AWAY)
        self._newest = newest(collection, "version")

    async def save(self, aggregate: Aggregate) -> None:
        """Make the aggregate's state and events durable in one write, then publish them.

        Raises `StaleWrite` if another writer saved it first, `DuplicateKeyError` if a unique index refuses it.
        """
        await self._save(aggregate, self.envelopes(aggregate))

    async def _save(self, aggregate: Aggregate, envelopes: Sequence[Envelope]) -> None:
        write = write_of(aggregate, envelopes)
        await (self._inserts if isinstance(write, InsertOne) else self._updates)(write)
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

        Nothing is saved if `decide` changes nothing: then the majority confirms that this is the newest state, so that
        a message can be acknowledged (docs/decisions/majority-reads.md). An aggregate that was `loaded` a moment ago
        saves the first load. Raises what `load` and `decide` raise, `StaleWrite` when `UPDATE_ATTEMPTS` races are lost,
        and `Unavailable` when too many events wait for the bus. `command=False` is for recording how something ended
        (money came, a hold is over, an item is withdrawn): that is saved however many events wait.
        """
        if command:
            self.relay.check_room()
        known = [] if loaded is None else [loaded]

        async def attempt() -> A:
            aggregate = known.pop() if known else await load()
            before = aggregate.to_document()
            decide(aggregate)
            if not aggregate.recorded and aggregate.to_document() == before:
                await self._confirm(aggregate)
                return aggregate
            envelopes = self.envelopes(aggregate)
            much = self.relay.waiting_bytes >= MUCH_WAITS
            if command and (much or any(len(envelope.body) >= LARGE for envelope in envelopes)):
                await self._check_size(aggregate)
            await self._save(aggregate, envelopes)
            return aggregate

        return await retry_stale(attempt)

    async def change(self, loaded: A, decide: Callable[[A], None], *, command: bool = True) -> A:
        """`update` an aggregate that was loaded a moment ago, and is loaded by its id after a lost race."""

        async def load() -> A:
            if (document := await self.collection.find_one({"_id": loaded.id}, WITHOUT_PENDING)) is None:
                raise StaleWrite("it is not there any more")
            return type(loaded).from_document(document)

        return await self.update(load, decide, loaded=loaded, command=command)

    async def _confirm(self, aggregate: Aggregate) -> None:
        """Raise `StaleWrite` unless the majority agrees that this is the newest version."""
        document = await self._newest(aggregate.id)
        if document is None or document["version"] != aggregate.version:
            raise StaleWrite("it was changed meanwhile; load it again")

    async def _check_size(self, aggregate: Aggregate) -> None:
        """Raise `Unavailable` if so many bytes of unpublished events are in the document that it has to wait.

        The save is guarded by the version, so nobody adds to the document in between.
        """
        size = {"$project": {"bytes": {"$bsonSize": "$$ROOT"}}}
        async for document in await self.collection.aggregate([{"$match": {"_id": aggregate.id}}, size]):
            if document["bytes"] >= MAX_DOCUMENT_BYTES:
                raise Unavailable("too many changes of this wait for the bus; try again later")

    def envelopes(self, aggregate: Aggregate, cause: Cause | None = None) -> list[Envelope]:
        """Envelopes for the aggregate's recorded events."""
        return [Envelope.of(event, cause) for event in aggregate.recorded]

    def committed(self, aggregate: Aggregate, envelopes: Sequence[Envelope]) -> None:
        """Call this after the write: the aggregate gets its next version, and its events are published."""
        aggregate.saved()
        self.relay.send([Outgoing(self.collection, aggregate.id, envelope) for envelope in envelopes])

    async def _write(self, writes: Sequence[Write]) -> list[BaseException | None]:
        try:
            await write_all(self.collection, writes)
        except BulkWriteError as error:
            problems = (error.details or {}).get("writeErrors", [])
            stale = await self._stale([problem for problem in problems if problem["code"] == DUPLICATE_KEY])
            return _each(problems, len(writes), stale)
        return [None] * len(writes)

    async def _stale(self, duplicates: Sequence[Mapping[str, Any]]) -> set[int]:
        """Which members of a bulk write met another version than the one that they had loaded.

        A stale write violates every unique index that its document is in, and MongoDB names one of them: the one on
        `_id`, but on a primary that has copied its data from another member perhaps another one.
        """
        stale = {problem["index"] for problem in duplicates if problem.get("keyPattern") == {"_id": 1}}
        unclear = {problem["index"]: _loaded(problem["op"]) for problem in duplicates if problem["index"] not in stale}
        if unclear:
            ids = [key for key, _ in unclear.values()]
            found = self.collection.find({"_id": {"$in": ids}}, {"version": 1})
            versions = {document["_id"]: document["version"] async for document in found}
            stale |= {index for index, (key, loaded) in unclear.items() if versions.get(key, loaded) != loaded}
        return stale


async def retry_stale(attempt: Callable[[], Awaitable[T]]) -> T:
    """Repeat `attempt` while it raises `StaleWrite`, up to `UPDATE_ATTEMPTS` times, with growing random delays."""
    for retries in range(UPDATE_ATTEMPTS - 1):
        with contextlib.suppress(StaleWrite):
            return await attempt()
        await asyncio.sleep(random.uniform(0, min(RETRY_DELAY * 2**retries, MAX_RETRY_DELAY)))  # noqa: S311 - no secret
    return await attempt()


def _loaded(write: Mapping[str, Any]) -> tuple[str, int]:
    """Which version of which aggregate a refused write had loaded, 0 if it is a new one."""
    match write:
        case {"q": {"_id": key, "version": version}}:
            return key, version
        case _:
            return write["_id"], 0


def _each(problems: Sequence[Mapping[str, Any]], count: int, stale: Container[int]) -> list[BaseException | None]:
    """The error, or None, of each member of a bulk write that failed."""
    results: list[BaseException | None] = [None] * count
    for problem in problems:
        index = problem["index"]
        if problem["code"] != DUPLICATE_KEY:
            # Not the error of the driver: its text holds all the data of the bulk write.
            results[index] = WriteError(problem["errmsg"], problem["code"])
        elif index in stale:
            results[index] = StaleWrite("it was changed meanwhile; load it again")
        else:
            results[index] = DuplicateKeyError(
                "refused by a unique index", DUPLICATE_KEY, {"keyPattern": problem.get("keyPattern")}
            )
    return results
