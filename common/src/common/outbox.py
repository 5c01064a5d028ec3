"""The guarded save and the relay: state and events in one write, then every event to JetStream at least once.

The events of an aggregate wait in the `pending` array of its own document, so nothing can be saved and not told, or
told and not saved. Loading never reads `pending`, saving only pushes, relaying only pulls and leaves `version` alone.
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
"""The partial index's filter and the sweeper's query: they must be the same."""

DUPLICATE_KEY = 11000
SWEEP_AFTER = timedelta(seconds=5)
"""Events older than this were left behind by a crash or a lost answer: the sweeper publishes them."""

PUBLISH_BATCH = 512
"""Events that leave together."""

SWEEP_LIMIT = 1_000
"""Documents that one sweep of a collection looks at."""

MAX_PENDING = 10_000
"""With so many events unpublished, new commands are refused: `pending` must not grow without end."""

UPDATE_ATTEMPTS = 10
"""How often an update is tried while other writers are faster."""

RETRY_DELAY = 0.005
"""Seconds that the first retry of an update waits at most. The maximum doubles with every further one."""

MAX_RETRY_DELAY = 0.2
"""Seconds that any retry of an update waits at most."""

A = TypeVar("A", bound=Aggregate)
T = TypeVar("T")
Write = InsertOne[Document] | UpdateOne


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event that is safe in the `pending` array of document `key`."""

    collection: Collection
    key: str
    envelope: Envelope


def write_of(aggregate: Aggregate, envelopes: Sequence[Envelope]) -> Write:
    """The one write that makes new state and its events durable, guarded by the version it was loaded at.

    An update of a version that is gone matches nothing and, being an upsert, fails on the `_id` it would insert: so
    each stale member of a bulk write is reported by itself (MongoDB reports only totals for what did not match).
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
    """Publishes what was written and pulls what JetStream acknowledged. Made by `running`."""

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
        """A relay for these collections, its sweeper running; on leaving, what was handed over is published."""
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
        """Raise `Unavailable` when so many events wait for the bus that no new command may be taken.

        Commands ask; what only records how something ended (money came, a hold is over) is always written.
        """
        if self._behind + len(self._publisher) >= MAX_PENDING:
            raise Unavailable("too many events wait for the bus; try again later")

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish soon. Does not wait: the events are safe, and what fails here is swept up later."""
        try:
            for one in outgoing:
                self._publisher.put(one)
        except Unavailable:
            log.warning("the relay takes no more; %s waits for the sweeper", one.envelope.subject)

    async def _publish(self, batch: Sequence[Outgoing]) -> list[bool]:
        """Which of the batch JetStream has stored."""
        stored = {envelope.id for envelope in await self._bus.publish([o.envelope for o in batch])}
        done = [o for o in batch if o.envelope.id in stored]
        for o in done:
            RELAYED.labels(o.envelope.subject).inc()
        try:
            for collection in self._collections:
                await _pull(collection, [o for o in done if o.collection.name == collection.name])
        except AWAY as error:
            log.warning("could not pull what was published; the sweeper will publish it again: %s", error)
        return [o.envelope.id in stored for o in batch]

    async def _keep_sweeping(self) -> None:
        grace = SWEEP_AFTER
        while not self._over:
            try:
                while await self.sweep(grace) >= SWEEP_LIMIT and not self._over:
                    log.info("sweeping on: much was left behind")
            except Exception:
                log.exception("sweeping failed; it goes on in %s s", self._sweep_every)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._sweep_every)
            # Once the bus is back, nothing has a reason to wait any longer.
            grace = timedelta(0) if self._wake.is_set() else SWEEP_AFTER
            self._wake.clear()

    async def sweep(self, grace: timedelta = SWEEP_AFTER) -> int:
        """Publish what has been waiting for longer than `grace`, oldest first; return how many events were stored."""
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
    """What a document has to say that is older than `before`."""
    for pending in document["pending"]:
        try:
            if pending["time"] < before:
                yield Outgoing(collection, document["_id"], Envelope.from_document(pending))
        except (KeyError, TypeError) as error:
            log.error("cannot read an event of %s %s: %r", collection.name, document["_id"], error)  # noqa: TRY400


async def _pull(collection: Collection, published: Sequence[Outgoing]) -> None:
    if published:
        # w=1: losing a pull costs a second publish of the same id, which is harmless.
        await collection.with_options(write_concern=WriteConcern(w=1)).update_many(
            {"_id": {"$in": list({o.key for o in published})}},
            {"$pull": {"pending": {"id": {"$in": [o.envelope.id for o in published]}}}},
        )


class Outbox:
    """Saves the aggregates of one collection, concurrent saves sharing one bulk write, and relays their events."""

    def __init__(self, collection: Collection, relay: Relay) -> None:
        self.collection = collection
        self.relay = relay
        self._writes: Batcher[Write, None] = Batcher(self._write, shared=AWAY)

    async def save(self, aggregate: Aggregate) -> None:
        """Make the aggregate's state and events durable in one write, then publish them.

        Raises `StaleWrite` when somebody else saved it first, `DuplicateKeyError` when a unique index refuses it.
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
        """The aggregate's recorded events, wrapped for their way."""
        return [Envelope.of(event, cause) for event in aggregate.recorded]

    def committed(self, aggregate: Aggregate, envelopes: Sequence[Envelope]) -> None:
        """The write is durable: the aggregate is one version on, its events leave."""
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
    """What a failed bulk write means for each of its members."""
    results: list[BaseException | None] = [None] * count
    for problem in (error.details or {}).get("writeErrors", []):
        if problem["code"] != DUPLICATE_KEY:
            # Not `error` itself: its text holds all that was to be written.
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
