"""The log, the failures and the dead letters in MongoDB."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import DESCENDING, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError

from audit.dead_letters.domain import Letter, LetterNotFound, LetterState, Retry, state_after
from audit.event_log.domain import Entry
from common.batching import Batcher
from common.errors import StaleWrite
from common.events import DeadLetterDecided, ItemListed, OrderPlaced, StockChanged
from common.mongo.client import AWAY, WITHOUT_PENDING, Collection, Database, Document
from common.outbox import DUPLICATE_KEY, Outbox, Relay

KEPT_RETRIES = 7 * 24 * 3600
"""Seconds that a note of a retry is kept: as long as its stream keeps it."""

LONGEST_STORY = 2_000
"""Entries of one story; what comes after them is left out."""

MOST_COUNTED = 10_000


class EventLog:
    """Every event, by its id, and every note of a retry. Concurrent calls share a write."""

    def __init__(self, db: Database) -> None:
        self._events: Collection = db.events
        self._retries: Collection = db.retries
        self._marks: Collection = db.marks
        self._keep_events: Batcher[Document, None] = Batcher(_keeping(self._events), shared=AWAY)
        self._keep_retries: Batcher[Document, None] = Batcher(_keeping(self._retries), shared=AWAY)

    async def prepare(self) -> None:
        """Make an index for each query. A second call changes nothing."""
        for key in ("order_id", "payment_id"):
            present = {key: {"$exists": True}}
            await self._events.create_index([(key, 1), ("time", 1)], partialFilterExpression=present)
        item = {"item_id": {"$exists": True}}
        await self._events.create_index([("item_id", 1), ("subject", 1), ("time", 1)], partialFilterExpression=item)
        placed = {"subject": OrderPlaced.subject}
        await self._events.create_index([("buyer_id", 1), ("order_id", -1)], partialFilterExpression=placed)
        await self._events.create_index([("item_id", 1), ("order_id", -1)], partialFilterExpression=placed)
        listed = {"subject": ItemListed.subject}
        await self._events.create_index([("title", 1), ("item_id", 1)], partialFilterExpression=listed)
        await self._events.create_index("email", sparse=True)
        caused = {"caused_by": {"$exists": True}}
        await self._events.create_index("caused_by", partialFilterExpression=caused)
        await self._events.create_index([("stream", 1), ("sequence", 1)])
        await self._retries.create_index("about")
        await self._retries.create_index("failed_at", expireAfterSeconds=KEPT_RETRIES)

    async def keep(self, entry: Entry) -> None:
        """Keep an entry. One that is here already changes nothing."""
        await self._keep_events(entry.to_document())

    async def keep_retry(self, retry: Retry) -> None:
        """Keep a note of a retry. One that is here already changes nothing."""
        await self._keep_retries({"_id": retry.id, **retry.model_dump(exclude={"id"})})

    async def is_filled(self) -> bool:
        """Whether the streams have been read from their first message on since this database was made."""
        return await self._marks.find_one({"_id": "filled"}) is not None

    async def filled(self) -> None:
        """Remember that they have."""
        await self._marks.update_one({"_id": "filled"}, {"$set": {}}, upsert=True)

    async def about(self, key: str, value: str, limit: int = LONGEST_STORY) -> list[Entry]:
        """Every entry with this order_id or payment_id, oldest first."""
        found = self._events.find({key: value}).sort("time").limit(limit)
        return [Entry.from_document(document) for document in await found.to_list()]

    async def newest_of_item(self, item_id: str, subjects: Sequence[str], limit: int) -> list[Entry]:
        """The newest entries of an item under these subjects, oldest first."""
        found = self._events.find({"item_id": item_id, "subject": {"$in": list(subjects)}})
        newest = await found.sort("time", DESCENDING).limit(limit).to_list()
        return [Entry.from_document(document) for document in reversed(newest)]

    async def stock_at(self, item_id: str, at: datetime) -> Entry | None:
        """The newest stock change of an item at a moment."""
        query = {"item_id": item_id, "subject": StockChanged.subject, "time": {"$lte": at}}
        document = await self._events.find_one(query, sort=[("time", DESCENDING)])
        return Entry.from_document(document) if document else None

    async def stock_after(self, item_id: str, at: datetime, within: timedelta) -> Entry | None:
        """The first stock change of an item from a moment on."""
        query = {"item_id": item_id, "subject": StockChanged.subject, "time": {"$gte": at, "$lte": at + within}}
        document = await self._events.find_one(query, sort=[("time", 1)])
        return Entry.from_document(document) if document else None

    async def stock_because_of(self, item_id: str, ids: Iterable[str]) -> list[Entry]:
        """The stock changes of an item that one of these events caused."""
        query = {"caused_by": {"$in": list(ids)}, "item_id": item_id, "subject": StockChanged.subject}
        found = self._events.find(query).sort("time").limit(LONGEST_STORY)
        return [Entry.from_document(document) for document in await found.to_list()]

    async def retries_about(self, ids: Iterable[str]) -> list[Retry]:
        """Every note of a retry of these events."""
        found = self._retries.find({"about": {"$in": list(ids)}}).sort("failed_at").limit(LONGEST_STORY)
        return [Retry.model_validate({**d, "id": d["_id"]}) for d in await found.to_list()]

    async def orders_of(self, key: str, value: str, limit: int, before: str | None) -> list[Entry]:
        """The placing of the orders with this buyer_id or item_id, newest first, older than the order `before`."""
        query: dict[str, Any] = {"subject": OrderPlaced.subject, key: value}
        if before:
            query["order_id"] = {"$lt": before}
        found = self._events.find(query).sort("order_id", DESCENDING).limit(limit)
        return [Entry.from_document(document) for document in await found.to_list()]

    async def user_with(self, email: str) -> str | None:
        """The id of the user with this address, in any case."""
        document = await self._events.find_one({"email": email.lower()}, {"user_id": 1})
        return document.get("user_id") if document else None

    async def items_titled(self, prefix: str, limit: int, after: str | None) -> list[Entry]:
        """The listing of the items whose title began so, in any case, by id, above the id `after`."""
        query: dict[str, Any] = {"subject": ItemListed.subject, "title": {"$regex": f"^{re.escape(prefix.lower())}"}}
        if after:
            query["item_id"] = {"$gt": after}
        found = self._events.find(query).sort("item_id").limit(limit)
        return [Entry.from_document(document) for document in await found.to_list()]


def _keeping(collection: Collection) -> Callable[[Sequence[Document]], Any]:
    """Writes documents that never change. Of two with one id, the one that came first in the stream is kept."""

    async def keep(documents: Sequence[Document]) -> list[None]:
        try:
            await collection.bulk_write([InsertOne(document) for document in documents], ordered=False)
        except BulkWriteError as error:
            problems = (error.details or {}).get("writeErrors", [])
            if any(problem["code"] != DUPLICATE_KEY for problem in problems):
                raise
            again = [documents[problem["index"]] for problem in problems]
            earlier = [d for d in again if "sequence" in d]
            if earlier:
                await collection.bulk_write(
                    [ReplaceOne({"_id": d["_id"], "sequence": {"$gt": d["sequence"]}}, d) for d in earlier],
                    ordered=False,
                )
        return [None] * len(documents)

    return keep


class LetterStore:
    """Dead letters, by their place among them, and what became of each."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._letters: Collection = db.letters
        self._outbox = Outbox(db.letters, relay)

    async def prepare(self) -> None:
        """Make an index for each query. A second call changes nothing."""
        await self._letters.create_index([("state", 1), ("sequence", DESCENDING)])
        await self._letters.create_index([("sequence", DESCENDING)])
        await self._letters.create_index("about")

    async def keep(self, letter: Letter) -> None:
        """Keep a letter. One that is here already stays as it was decided."""
        try:
            await self._outbox.save(letter)
        except StaleWrite:
            return

    async def remember(self, event: DeadLetterDecided) -> None:
        """Keep a decision that is not known here: this database was made anew. Raises `LetterNotFound`."""
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
            raise LetterNotFound(f"there is no dead letter {event.letter_id}")

    async def decide(self, ids: Sequence[str], decide: Callable[[Letter], None]) -> list[Letter]:
        """Let somebody decide about these letters. Raises `LetterNotFound`; then nothing is decided."""
        wanted = list(dict.fromkeys(ids))
        found = {letter.id: letter for letter in await self._find({"_id": {"$in": wanted}}, len(wanted))}
        if missing := [one for one in wanted if one not in found]:
            raise LetterNotFound(f"there is no dead letter {', '.join(missing)}")
        return [await self._decide(found[one], decide) for one in wanted]

    async def _decide(self, letter: Letter, decide: Callable[[Letter], None]) -> Letter:
        async def load() -> Letter:
            [newest] = await self._find({"_id": letter.id}, 1)
            return newest

        return await self._outbox.update(load, decide, loaded=letter, command=False)

    async def page(self, state: LetterState | None, limit: int, before: int | None) -> list[Letter]:
        """Letters, newest first, older than the sequence `before`."""
        query: dict[str, Any] = {"state": state} if state else {}
        if before is not None:
            query["sequence"] = {"$lt": before}
        return await self._find(query, limit)

    async def about(self, ids: Iterable[str]) -> list[Letter]:
        """The letters about these events."""
        return await self._find({"about": {"$in": list(ids)}}, LONGEST_STORY)

    async def open(self) -> int:
        """How many letters wait for a decision; counted up to 10,000."""
        return await self._letters.count_documents({"state": LetterState.OPEN}, limit=MOST_COUNTED)

    async def _find(self, query: dict[str, Any], limit: int) -> list[Letter]:
        found = self._letters.find(query, WITHOUT_PENDING).sort("sequence", DESCENDING).limit(limit)
        return [Letter.from_document(document) for document in await found.to_list()]
