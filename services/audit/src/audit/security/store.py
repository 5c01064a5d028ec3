"""The security log in MongoDB."""

from pymongo import DESCENDING

from audit.event_log.store import inserting
from audit.security.domain import Noted
from common.batching import Batcher
from common.bus.streams import SECURITY_MAX_AGE
from common.clock import now
from common.mongo.client import AWAY, Collection, Database, Document
from common.security_log import Kind

KEPT = 50_000
"""Entries of one kind that are kept, roughly."""

TRIM_EVERY = 500
"""Entries that are added until the oldest are removed."""


class SecurityStore:
    """The newest entries of each kind, for at most as long as the stream has them. Concurrent calls share a write."""

    def __init__(self, db: Database, kept: int = KEPT, trim_every: int = TRIM_EVERY) -> None:
        self._entries: Collection = db.security
        self._erased: Collection = db.erased
        self._insert: Batcher[Document, None] = Batcher(inserting(self._entries), shared=AWAY)
        self._kept = kept
        self._trim_every = trim_every
        self._added = 0

    async def prepare(self) -> None:
        """Create the indexes. A second call changes nothing."""
        await self._entries.create_index([("kind", 1), ("_id", DESCENDING)])
        await self._entries.create_index([("user_id", 1), ("_id", DESCENDING)], sparse=True)
        await self._entries.create_index("at", expireAfterSeconds=SECURITY_MAX_AGE)
        await self._erased.create_index("at", expireAfterSeconds=SECURITY_MAX_AGE)

    async def keep(self, noted: Noted) -> None:
        """Store an entry, of an erased person without their network. One that is already stored changes nothing."""
        entry = noted.model_dump(exclude={"id"}, exclude_none=True)
        if noted.user_id and await self._erased.find_one({"_id": noted.user_id}, {"_id": 1}):
            entry.pop("network", None)
        await self._insert({"_id": noted.id, **entry})
        self._added += 1
        if self._added % self._trim_every == 0:
            await self._trim(noted.kind)

    async def forget(self, user_id: str) -> None:
        """Remember that somebody is erased, and keep no network of theirs."""
        await self._erased.update_one({"_id": user_id}, {"$set": {"at": now()}}, upsert=True)
        await self._entries.update_many({"user_id": user_id}, {"$unset": {"network": ""}})

    async def page(self, kind: Kind | None, user_id: str | None, limit: int, before: str | None) -> list[Noted]:
        """Entries of a kind, about a user, or all; newest first, with ids below `before`."""
        query: Document = {name: value for name, value in (("kind", kind), ("user_id", user_id)) if value}
        if before:
            query["_id"] = {"$lt": before}
        found = self._entries.find(query).sort("_id", DESCENDING).limit(limit)
        return [Noted.model_validate({**one, "id": one["_id"]}) for one in await found.to_list()]

    async def _trim(self, kind: Kind) -> None:
        """Remove what is older than the newest `KEPT` of this kind: what comes in a flood is trimmed soon."""
        found = self._entries.find({"kind": kind}, {"_id": 1}).sort("_id", DESCENDING).skip(self._kept).limit(1)
        if oldest := await found.to_list():
            await self._entries.delete_many({"kind": kind, "_id": {"$lte": oldest[0]["_id"]}})
