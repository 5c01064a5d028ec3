"""Sliding windows in MongoDB, the same ones for all replicas: the only file of the throttle that speaks to it."""

import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from pymongo import ReturnDocument, WriteConcern
from pymongo.read_concern import ReadConcern

from common.mongo.client import Collection, Database, Document


@dataclass(frozen=True)
class Window:
    """At most `most` hits within `seconds`, for one key."""

    name: str
    most: int
    seconds: int

    def interval(self) -> int:
        """The number of the interval that it is now."""
        return int(time.time() // self.seconds)

    def seconds_until_room(self) -> int:
        """Seconds until a window that has as many hits as it may has one less."""
        return math.ceil(self.seconds - time.time() % self.seconds + self.seconds / self.most)

    def count(self, document: Document | None) -> int:
        """The hits that this document of a key has in the window that ends now, rounded up."""
        now = time.time() / self.seconds
        match document:
            case {"interval": interval, "count": int(count), "before": int(before)} if interval == int(now):
                return math.ceil(count + before * (1 - now % 1))
            case {"interval": interval, "count": int(count)} if interval == int(now) - 1:
                return math.ceil(count * (1 - now % 1))
            case _:
                return 0


@dataclass(frozen=True)
class Key:
    """What is counted in a window."""

    window: Window
    value: str

    @property
    def id(self) -> str:
        """The id of its document."""
        return f"{self.window.name} {self.value}"


class Windows:
    """Counts hits. A window has those of its interval, and those of the one before by the part that still overlaps."""

    def __init__(self, db: Database) -> None:
        # Of the primary alone: a hit that a failover takes back lets somebody try once more, and one that the majority
        # does not have yet counts all the same.
        self._collection: Collection = db.throttle.with_options(
            read_concern=ReadConcern("local"), write_concern=WriteConcern(w=1)
        )

    async def prepare(self) -> None:
        """Make the index that removes old windows."""
        await self._collection.create_index("until", name="until", expireAfterSeconds=0)

    async def counts(self, *keys: Key) -> list[int]:
        """The hits in the window of each key."""
        found = await self._collection.find({"_id": {"$in": [key.id for key in keys]}}).to_list()
        documents = {document["_id"]: document for document in found}
        return [key.window.count(documents.get(key.id)) for key in keys]

    async def hit(self, key: Key) -> int:
        """Count a hit. Return the hits in its window, this one too."""
        return key.window.count(await self._changed(key, {"count": {"$add": ["$count", 1]}}))

    async def take(self, key: Key) -> bool:
        """Count a hit if its window has room for it; return whether it had.

        A window of hits alone is closed to everybody for as long as more come than it may have.
        """
        overlap = 1 - time.time() / key.window.seconds % 1
        after = {"$add": ["$count", {"$multiply": ["$before", overlap]}, 1]}
        taken = {"$lte": [after, key.window.most]}
        document = await self._changed(
            key, {"taken": taken, "count": {"$cond": [taken, {"$add": ["$count", 1]}, "$count"]}}
        )
        return document is not None and bool(document["taken"])

    async def _changed(self, key: Key, change: Document) -> Document | None:
        """Move the document of a key to the interval that it is now, and then change it."""
        interval = key.window.interval()
        same, next_one = {"$eq": ["$interval", interval]}, {"$eq": ["$interval", interval - 1]}
        moved = {
            "interval": interval,
            "count": {"$cond": [same, "$count", 0]},
            "before": {"$cond": [same, "$before", {"$cond": [next_one, "$count", 0]}]},
            "until": datetime.fromtimestamp((interval + 2) * key.window.seconds, UTC),
        }
        return await self._collection.find_one_and_update(
            {"_id": key.id}, [{"$set": moved}, {"$set": change}], upsert=True, return_document=ReturnDocument.AFTER
        )

    async def forget(self, email: str) -> None:
        """Remove what was counted for an address."""
        await self._collection.delete_many({"_id": {"$regex": f" {re.escape(email)}$"}})
