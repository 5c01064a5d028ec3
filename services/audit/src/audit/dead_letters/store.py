"""Dead letters and notes of retries in MongoDB."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from pymongo import DESCENDING

from audit.dead_letters.domain import DeadLetter, DeadLetterNotFound, DeadLetterState, Retry, state_after
from audit.event_log.domain import keys_of
from audit.event_log.store import MAX_ENTRIES, inserting
from common.batching import Batcher
from common.errors import StaleWrite
from common.events import DeadLetterDecided
from common.mongo.client import AWAY, WITHOUT_PENDING, Collection, Database, Document
from common.outbox import Outbox, Relay

RETRY_TTL = 7 * 24 * 3600
"""Seconds that a note of a retry is kept, the same as in its stream."""

MAX_COUNTED = 10_000
"""Open dead letters are counted up to here."""


class RetryStore:
    """Notes of failed deliveries. Concurrent calls share a write."""

    def __init__(self, db: Database) -> None:
        self._retries: Collection = db.retries
        self._insert: Batcher[Document, None] = Batcher(inserting(self._retries), shared=AWAY)

    async def prepare(self) -> None:
        """Create the indexes. A second call changes nothing."""
        await self._retries.create_index("about")
        await self._retries.create_index("failed_at", expireAfterSeconds=RETRY_TTL)

    async def keep(self, retry: Retry) -> None:
        """Store a note. One that is already stored changes nothing."""
        await self._insert({"_id": retry.id, **retry.model_dump(exclude={"id"})})

    async def about(self, ids: Iterable[str]) -> list[Retry]:
        """The notes about these events, oldest first."""
        found = self._retries.find({"about": {"$in": list(ids)}}).sort("failed_at").limit(MAX_ENTRIES)
        return [Retry.model_validate({**d, "id": d["_id"]}) for d in await found.to_list()]


class DeadLetterStore:
    """Dead letters, by sequence number, and what was decided about each."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._letters: Collection = db.letters
        self._outbox = Outbox(db.letters, relay)

    async def prepare(self) -> None:
        """Create the indexes. A second call changes nothing."""
        await self._letters.create_index([("state", 1), ("sequence", DESCENDING)])
        await self._letters.create_index([("sequence", DESCENDING)])
        await self._letters.create_index("about")

    async def keep(self, letter: DeadLetter) -> None:
        """Store a dead letter. One that is already stored keeps its decision."""
        try:
            await self._outbox.save(letter)
        except StaleWrite:
            return

    async def remember(self, event: DeadLetterDecided) -> None:
        """Store a decision that a new database does not have yet. Raises `DeadLetterNotFound`."""
        state = {
            "state": state_after(event),
            "decided_by": event.by,
            "decided_at": event.at,
            "version": event.letter_version,
            **({"reason": event.reason} if event.reason else {}),
        }
        older = {"_id": event.letter_id, "version": {"$lt": event.letter_version}}
        found = await self._letters.update_one(older, {"$set": state})
        if not found.matched_count and await self._letters.find_one({"_id": event.letter_id}, {"_id": 1}) is None:
            raise DeadLetterNotFound(f"there is no dead letter {event.letter_id}")

    async def decide(self, ids: Sequence[str], decide: Callable[[DeadLetter], None]) -> list[DeadLetter]:
        """Call `decide` on each and save it. Raises `DeadLetterNotFound` if one is missing; then nothing is saved."""
        wanted = list(dict.fromkeys(ids))
        found = {letter.id: letter for letter in await self._find({"_id": {"$in": wanted}}, len(wanted))}
        if missing := [one for one in wanted if one not in found]:
            raise DeadLetterNotFound(f"there is no dead letter {', '.join(missing)}")
        return [await self._decide(found[one], decide) for one in wanted]

    async def _decide(self, letter: DeadLetter, decide: Callable[[DeadLetter], None]) -> DeadLetter:
        async def load() -> DeadLetter:
            [newest] = await self._find({"_id": letter.id}, 1)
            return newest

        return await self._outbox.update(load, decide, loaded=letter, command=False)

    async def page(self, state: DeadLetterState | None, limit: int, before: int | None) -> list[DeadLetter]:
        """Dead letters, newest first, with a sequence number below `before`."""
        query: dict[str, Any] = {"state": state} if state else {}
        if before is not None:
            query["sequence"] = {"$lt": before}
        return await self._find(query, limit)

    async def about(self, ids: Iterable[str]) -> list[DeadLetter]:
        """The dead letters about these events."""
        return await self._find({"about": {"$in": list(ids)}}, MAX_ENTRIES)

    async def open(self) -> int:
        """How many wait for a decision, counted up to `MAX_COUNTED`."""
        return await self._letters.count_documents({"state": DeadLetterState.OPEN}, limit=MAX_COUNTED)

    async def _find(self, query: dict[str, Any], limit: int) -> list[DeadLetter]:
        found = self._letters.find(query, WITHOUT_PENDING).sort("sequence", DESCENDING).limit(limit)
        return [DeadLetter.from_document(document) for document in await found.to_list()]


async def every_letter(db: Database) -> AsyncIterator[DeadLetter]:
    """Every dead letter, ascending by its sequence number."""
    async for document in db.letters.find({}, WITHOUT_PENDING).sort("sequence", 1):
        yield DeadLetter.from_document(document)


async def unname_letter(db: Database, letter_id: str, body: str, error: str) -> None:
    """Give a dead letter another body and error, which name nobody."""
    keys = keys_of(body)
    await db.letters.update_one({"_id": letter_id}, {"$set": {"body": body, "error": error, "keys": keys}})
