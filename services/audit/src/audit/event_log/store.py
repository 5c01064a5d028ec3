"""The event log in MongoDB."""

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo import DESCENDING, InsertOne, ReplaceOne
from pymongo.errors import BulkWriteError
from pymongo.read_concern import ReadConcern

from audit.event_log.domain import Entry
from common.batching import Batcher
from common.events import OrderPlaced, StockChanged
from common.mongo.client import AWAY, DUPLICATE_KEY, Collection, Database, Document, write_all

MAX_ENTRIES = 2_000
"""Entries of one history. Later ones are left out."""

MOST_ITEMS = 500
"""Items whose title a search finds."""


class EventLog:
    """Every event, by its id. Concurrent calls share a write."""

    def __init__(self, db: Database) -> None:
        self._events: Collection = db.events
        self._marks: Collection = db.marks
        self._insert: Batcher[Document, None] = Batcher(inserting(self._events), shared=AWAY)

    async def prepare(self) -> None:
        """Create the indexes. A second call changes nothing."""
        for key in ("order_id", "payment_id"):
            present = {key: {"$exists": True}}
            await self._events.create_index([(key, 1), ("time", 1)], partialFilterExpression=present)
        item = {"item_id": {"$exists": True}}
        await self._events.create_index([("item_id", 1), ("subject", 1), ("time", 1)], partialFilterExpression=item)
        placed = {"subject": OrderPlaced.subject}
        await self._events.create_index([("buyer_id", 1), ("order_id", -1)], partialFilterExpression=placed)
        await self._events.create_index([("item_id", 1), ("order_id", -1)], partialFilterExpression=placed)
        await self._events.create_index([("seller_id", 1), ("order_id", -1)], partialFilterExpression=placed)
        titled = {"title": {"$exists": True}}
        await self._events.create_index([("title", 1), ("item_id", 1)], name="titles", partialFilterExpression=titled)
        await self._events.create_index("email", sparse=True)
        account = {"user_id": {"$exists": True}}
        await self._events.create_index([("user_id", 1), ("time", 1)], partialFilterExpression=account)
        caused = {"caused_by": {"$exists": True}}
        await self._events.create_index("caused_by", partialFilterExpression=caused)
        await self._events.create_index([("stream", 1), ("sequence", 1)])
        await self._events.create_index([("stream", 1), ("subject", 1), ("sequence", 1)])

    async def keep(self, entry: Entry) -> None:
        """Store an entry. One that is already stored changes nothing."""
        await self._insert(entry.to_document())

    async def is_filled(self) -> bool:
        """Whether the streams were read completely since this database was created."""
        return await self._marks.find_one({"_id": "filled"}) is not None

    async def set_filled(self) -> None:
        """Remember that the streams were read completely."""
        await self._marks.update_one({"_id": "filled"}, {"$set": {}}, upsert=True)

    async def archived(self, stream: str) -> int:
        """The number up to which a stream has given up its events, because they are in this log; 0 if none."""
        mark = await self._marks.find_one({"_id": f"archived-{stream}"})
        return mark["sequence"] if mark else 0

    async def set_archived(self, stream: str, sequence: int) -> None:
        """From now on a stream may give up its events up to this number."""
        await self._marks.update_one({"_id": f"archived-{stream}"}, {"$max": {"sequence": sequence}}, upsert=True)

    async def of_stream(
        self, stream: str, subjects: Sequence[str], start: int, before: int, limit: int
    ) -> AsyncGenerator[Entry, None]:
        """The first entries of a stream (with one of `subjects`, if any is given) with a number in this range."""
        query: Document = {"stream": stream, "sequence": {"$gte": start, "$lt": before}}
        if subjects:
            query["subject"] = {"$in": list(subjects)}
        async for document in self._events.find(query).sort("sequence", 1).limit(limit):
            yield Entry.from_document(document)

    async def entries(self, ids: Sequence[str]) -> dict[str, Entry]:
        """The entries with these ids, by id, as a majority of the database has them."""
        majority = self._events.with_options(read_concern=ReadConcern("majority"))
        found = majority.find({"_id": {"$in": list(ids)}})
        return {document["_id"]: Entry.from_document(document) async for document in found}

    async def places(self, stream: str, above: int = 0) -> AsyncGenerator[list[Entry], None]:
        """The entries of a stream, place by place, in ascending order of their sequence numbers, from `above` one on.

        A place has one entry, and its message; or several, oldest first, if the stream was lost and begun anew.
        """
        place: list[Entry] = []
        async for document in self._events.find({"stream": stream, "sequence": {"$gt": above}}).sort("sequence", 1):
            entry = Entry.from_document(document)
            if place and place[0].sequence != entry.sequence:
                yield sorted(place, key=lambda one: one.time)
                place = []
            place.append(entry)
        if place:
            yield sorted(place, key=lambda one: one.time)

    async def last_place(self, stream: str) -> int:
        """The largest sequence number of a stream that has an entry; 0 if none has."""
        newest = await self._events.find_one({"stream": stream}, {"sequence": 1}, sort=[("sequence", DESCENDING)])
        return newest["sequence"] if newest else 0

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that have an entry."""
        return {d["_id"] async for d in self._events.find({"_id": {"$in": list(ids)}}, {"_id": 1})}

    async def move(self, entry: Entry, sequence: int) -> None:
        """The message of an entry has another place in its stream now."""
        await self._events.update_one({"_id": entry.id, "sequence": entry.sequence}, {"$set": {"sequence": sequence}})

    async def unname(self, subjects: Iterable[str], unnamed: Callable[[str, str], str]) -> int:
        """Give entries with these subjects the body that `unnamed` makes of both; return how many that changes."""
        count = 0
        async for document in self._events.find({"subject": {"$in": list(subjects)}}, {"subject": 1, "body": 1}):
            if (body := unnamed(document["subject"], document["body"])) != document["body"]:
                change = {"$set": {"body": body}, "$unset": {"email": ""}}
                count += (await self._events.update_one({"_id": document["_id"]}, change)).modified_count
        return count

    async def about(self, key: str, value: str, limit: int = MAX_ENTRIES) -> list[Entry]:
        """Every entry with this order_id or payment_id, oldest first."""
        found = self._events.find({key: value}).sort("time").limit(limit)
        return [Entry.from_document(document) for document in await found.to_list()]

    async def newest_of_item(self, item_id: str, subjects: Sequence[str], limit: int) -> list[Entry]:
        """The newest entries of an item with these subjects, oldest first."""
        found = self._events.find({"item_id": item_id, "subject": {"$in": list(subjects)}})
        newest = await found.sort("time", DESCENDING).limit(limit).to_list()
        return [Entry.from_document(document) for document in reversed(newest)]

    async def stock_at(self, item_id: str, at: datetime) -> Entry | None:
        """The newest stock change of an item at this time; None if there was none."""
        query = {"item_id": item_id, "subject": StockChanged.subject, "time": {"$lte": at}}
        document = await self._events.find_one(query, sort=[("time", DESCENDING)])
        return Entry.from_document(document) if document else None

    async def stock_after(self, item_id: str, at: datetime, within: timedelta) -> Entry | None:
        """The first stock change of an item `within` this time after `at`; None if there is none."""
        query = {"item_id": item_id, "subject": StockChanged.subject, "time": {"$gte": at, "$lte": at + within}}
        document = await self._events.find_one(query, sort=[("time", 1)])
        return Entry.from_document(document) if document else None

    async def stock_caused_by(self, item_id: str, ids: Iterable[str]) -> list[Entry]:
        """The stock changes of an item that these events caused."""
        query = {"caused_by": {"$in": list(ids)}, "item_id": item_id, "subject": StockChanged.subject}
        found = self._events.find(query).sort("time").limit(MAX_ENTRIES)
        return [Entry.from_document(document) for document in await found.to_list()]

    async def of_user(self, user_id: str, limit: int, before: str | None = None) -> list[Entry]:
        """The newest entries about the account of a user, the newest first; with `before`, those older than that."""
        wanted: Document = {"user_id": user_id}
        if before:
            last = await self._events.find_one({"_id": before, **wanted}, {"time": 1})
            if last is None:
                return []
            wanted["$or"] = [{"time": {"$lt": last["time"]}}, {"time": last["time"], "_id": {"$lt": before}}]
        found = self._events.find(wanted).sort([("time", DESCENDING), ("_id", DESCENDING)]).limit(limit)
        return [Entry.from_document(document) for document in await found.to_list()]

    async def user_with_email(self, email: str) -> str | None:
        """The id of the user with this email address, in any case, as events of revisions before said it."""
        document = await self._events.find_one({"email": email.lower()}, {"user_id": 1})
        return document.get("user_id") if document else None

    async def about_any(self, order_ids: Sequence[str]) -> list[Entry]:
        """Every entry about these orders, oldest first."""
        found = self._events.find({"order_id": {"$in": list(order_ids)}}).sort("time")
        return [Entry.from_document(document) async for document in found]

    async def order_ending_with(self, end: str) -> str | None:
        """The order whose id ends so; None if it is not exactly one."""
        query = {"order_id": {"$exists": True, "$regex": f"{re.escape(end)}$"}, "subject": OrderPlaced.subject}
        found = await self._events.find(query, {"order_id": 1}).limit(2).to_list()
        return found[0]["order_id"] if len(found) == 1 else None

    async def items_titled(self, words: Sequence[str]) -> list[str]:
        """The newest items that had all of these in one of their titles, in any case, as words or parts of words."""
        has = [{"title": {"$regex": re.escape(word.lower())}} for word in words]
        matching = {"$match": {"title": {"$exists": True}, "$and": has}}
        by_item: list[dict[str, Any]] = [
            {"$group": {"_id": "$item_id"}},
            {"$sort": {"_id": DESCENDING}},
            {"$limit": MOST_ITEMS},
        ]
        return [found["_id"] async for found in await self._events.aggregate([matching, *by_item]) if found["_id"]]

    async def orders_among(
        self, people: Sequence[str], items: Sequence[str], limit: int, before: str | None
    ) -> list[Entry]:
        """The OrderPlaced entries of these buyers, sellers or items, newest first, before the order id `before`."""
        named = [
            (key, list(values)) for key, values in (("buyer_id", people), ("seller_id", people), ("item_id", items))
        ]
        wanted = [{key: {"$in": values}} for key, values in named if values]
        if not wanted:
            return []
        query: dict[str, Any] = {"subject": OrderPlaced.subject, "$or": wanted}
        if before:
            query["order_id"] = {"$lt": before}
        found = self._events.find(query).sort("order_id", DESCENDING).limit(limit)
        return [Entry.from_document(document) for document in await found.to_list()]


def inserting(collection: Collection) -> Callable[[Sequence[Document]], Any]:
    """Return a function that inserts documents. Of two with the same id, the earlier one in the stream is kept."""

    async def insert(documents: Sequence[Document]) -> list[None]:
        try:
            await write_all(collection, [InsertOne(document) for document in documents])
        except BulkWriteError as error:
            problems = (error.details or {}).get("writeErrors", [])
            if any(problem["code"] != DUPLICATE_KEY for problem in problems):
                raise
            again = [documents[problem["index"]] for problem in problems]
            earlier = [d for d in again if "sequence" in d]
            if earlier:
                await write_all(
                    collection,
                    [ReplaceOne({"_id": d["_id"], "sequence": {"$gt": d["sequence"]}}, d) for d in earlier],
                )
        return [None] * len(documents)

    return insert
