"""The projection that audit keeps, for `python -m audit.projections audit.events [--swap]`."""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from audit.event_log.domain import Entry
from audit.event_log.store import EventLog
from audit.settings import AuditSettings
from common.bus.archive import ARCHIVED
from common.bus.connection import COMMAND_PATIENCE, Bus
from common.mongo.client import AWAY, Database, Document, database
from common.projections import Difference, Projection, State, main
from common.settings import load


class Events(Projection):
    """The event log: the place of every event in its stream, and a digest of its entry, by event id.

    What is archived is in the log alone: there is nothing to compare it with.
    """

    name = "audit.events"

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._events = db.events
        self._log = EventLog(db)

    async def expected(self) -> dict[str, State]:
        states: dict[str, State] = {}
        for stream in ARCHIVED:
            async with aclosing(self._bus.stored_messages(stream, archived=False)) as messages:
                async for message in messages:
                    entry = Entry.of(message)
                    states.setdefault(entry.id, state_of(entry.to_document()))
        return states

    async def found(self) -> dict[str, State]:
        only_here = [
            {"stream": stream, "sequence": {"$lte": until}}
            for stream in ARCHIVED
            if (until := await self._log.archived(stream))
        ]
        found = self._events.find({"$nor": only_here} if only_here else {})
        return {document["_id"]: state_of(document) async for document in found}

    async def repair(self, differences: Sequence[Difference]) -> None:
        """An entry that is in no stream stays: it may be the last trace of a lost event."""
        for difference in differences:
            if difference.expected is None:
                continue
            message = await self._bus.stored_message(difference.expected["stream"], difference.expected["sequence"])
            if message is not None:
                entry = Entry.of(message).to_document()
                await self._events.replace_one({"_id": entry["_id"]}, entry, upsert=True)


def state_of(document: Document) -> dict[str, Any]:
    """The place of an entry in its stream, and a digest of the whole entry."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
    return {"stream": document.get("stream"), "sequence": document.get("sequence"), "digest": digest}


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Projection]]:
    """The projections, connected to the database and the bus."""
    settings = load(AuditSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "audit", away=AWAY, within=COMMAND_PATIENCE) as bus,
    ):
        yield [Events(bus, db)]


if __name__ == "__main__":
    raise SystemExit(main(opened, AWAY))
