"""Publishing again what the databases know, after the bus lost its streams: `python -m SERVICE.republish`.

Each service states, for every document of its own, the events that describe it as it is now. What its stream has is not
published again, so a second run publishes nothing (docs/decisions/bus-lost.md).
"""

import asyncio
import hashlib
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import dropwhile

from pydantic import ValidationError
from pymongo.read_concern import ReadConcern

from common.aggregate import Aggregate
from common.bus.connection import COMMAND_PATIENCE, Bus, BusError
from common.bus.envelope import Envelope
from common.errors import SoukError, Unavailable
from common.events import Event
from common.mongo.client import AWAY, WITHOUT_PENDING, Collection, Database, database
from common.outbox import PUBLISH_BATCH
from common.settings import MongoSettings, load

UNAVAILABLE: tuple[type[Exception], ...] = (*AWAY, BusError, OSError, SoukError)

TRIES = 5
"""How often a batch is published until the bus has stored all of it."""


@dataclass(frozen=True)
class Stated:
    """A collection of aggregates, whose `restated` says what its documents are now. Their events are in `stream`."""

    collection: Collection
    kind: type[Aggregate]
    stream: str
    every_version: tuple[str, str] | None = None
    """If every version has its event: the fields of events with the id and the version. What lost one is stated again,
    also if the stream has the newest: else nobody would know whether the missing one is yet to come.
    """


def digest_of(event: Event) -> bytes:
    """The same for two events that say the same, whether or not one of them says it again."""
    said = event.model_copy(update={"restated": False})
    return hashlib.blake2b(f"{event.subject} {said.model_dump_json()}".encode(), digest_size=16).digest()


async def republish(bus: Bus, stated: Stated) -> tuple[int, int]:
    """Publish what the documents say and the stream lacks; return the numbers of documents and of events published.

    Holds 16 bytes for each event of the stream in memory, and the id of each document with `every_version`. Raises
    `Unavailable` if the bus does not store an event.
    """
    known = await _said(bus, stated)
    documents = published = 0
    batch: list[Envelope] = []
    majority = stated.collection.with_options(read_concern=ReadConcern("majority"))
    async with majority.find({}, WITHOUT_PENDING) as found:
        async for document in found:
            documents += 1
            events = [(digest_of(event), event) for event in stated.kind.from_document(document).restated()]
            # From the first that the stream lacks: what was told after it must come after it again.
            for digest, event in dropwhile(lambda one: one[0] in known, events):
                batch.append(Envelope.of(event, event_id=f"restated-{digest.hex()}"))
            if len(batch) >= PUBLISH_BATCH:
                published += await _publish(bus, batch)
                batch = []
    return documents, published + await _publish(bus, batch)


async def _said(bus: Bus, stated: Stated) -> set[bytes]:
    """Digests of the events that the stream has; not of those before which a version is missing."""
    known: set[bytes] = set()
    whole_up_to: dict[str, int] = {}
    async with aclosing(bus.stored_messages(stated.stream)) as messages:
        async for message in messages:
            try:
                event = message.event()
            except (ValidationError, KeyError):
                continue  # Not an event. Its consumers have dead-lettered it.
            if stated.every_version and hasattr(event, stated.every_version[1]):
                key, version = (getattr(event, name) for name in stated.every_version)
                before = whole_up_to.get(key, 0)
                if version > before + 1 and not event.restated:
                    continue
                whole_up_to[key] = max(before, version)
            known.add(digest_of(event))
    return known


async def _publish(bus: Bus, batch: Sequence[Envelope]) -> int:
    waiting = list(batch)
    for _ in range(TRIES):
        stored = {envelope.id for envelope in await bus.publish(waiting)}
        waiting = [envelope for envelope in waiting if envelope.id not in stored]
        if not waiting:
            return len(batch)
    raise Unavailable(f"the bus did not store {len(waiting)} events; run this again")


def main(service: str, stated: Callable[[Database], Sequence[Stated]]) -> int:
    """Republish collections of a service's database. Returns the exit code: 2 with a sentence if a server is away."""
    try:
        asyncio.run(_run(service, stated, load(MongoSettings)))
    except UNAVAILABLE as error:
        print(f"cannot republish: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


async def _run(service: str, stated: Callable[[Database], Sequence[Stated]], settings: MongoSettings) -> None:
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, service, away=AWAY, within=COMMAND_PATIENCE) as bus,
    ):
        for one in stated(db):
            documents, published = await republish(bus, one)
            print(f"{service}.{one.collection.name}: {documents} read, {published} events published", flush=True)  # noqa: T201
