"""Who keeps which items, in MongoDB."""

from collections.abc import Sequence
from datetime import datetime

from pymongo import DESCENDING, InsertOne

from common.errors import Conflict, Unauthenticated
from common.ids import new_id
from common.mongo.client import Database, Document, write_unless_there
from items.catalogue_store import SEEN

MOST_KEPT = 500
"""Items that one person keeps. Requests at the same moment may bring it a few above that."""


class TooManyFavourites(Conflict):
    """The caller keeps as many items as anybody may. The problem has the `limit`."""

    code = "too_many_favourites"


class FavouriteStore:
    """Stores what people keep: {_id: newer ones greater, user_id, item_id, kept_at}."""

    def __init__(self, db: Database) -> None:
        self._kept = db.favourites
        self._items = db.items
        self._people = db.sellers

    async def prepare(self) -> None:
        """Create an index for each query."""
        await self._kept.create_index([("user_id", 1), ("item_id", 1)], name="item_of_user", unique=True)
        await self._kept.create_index([("user_id", 1), ("_id", DESCENDING)], name="newest_of_user")

    async def keep(self, user_id: str, item_id: str, now: datetime) -> None:
        """Keep an item; one that is kept stays where it is.

        Raises `TooManyFavourites`, and `Unauthenticated` for somebody whose account is deleted.
        """
        if await self._people.find_one({"_id": user_id, "erased": True}):
            raise Unauthenticated("this account is not there any more")
        pair = {"user_id": user_id, "item_id": item_id}
        if await self._kept.find_one(pair):
            return
        if await self._kept.count_documents({"user_id": user_id}, limit=MOST_KEPT) == MOST_KEPT:
            raise TooManyFavourites(f"one person keeps at most {MOST_KEPT} items", limit=MOST_KEPT)
        # A request that came twice is refused the second time.
        await write_unless_there(self._kept, InsertOne({"_id": new_id(), **pair, "kept_at": now}))

    async def let_go(self, user_id: str, item_id: str) -> None:
        """Keep an item no longer."""
        await self._kept.delete_one({"user_id": user_id, "item_id": item_id})

    async def page(self, user_id: str, limit: int, after: str | None, item_ids: Sequence[str] = ()) -> list[Document]:
        """Items that somebody keeps, after a `place`, the one kept last first. With `item_ids`, only these.

        Each has also `place` and `kept_at`.
        """
        wanted: Document = {"user_id": user_id}
        if after:
            wanted["_id"] = {"$lt": after}
        if item_ids:
            wanted["item_id"] = {"$in": list(item_ids)}
        kept = await self._kept.find(wanted).sort("_id", DESCENDING).limit(limit).to_list()
        items = self._items.find({"_id": {"$in": [one["item_id"] for one in kept]}}, SEEN)
        known = {item["_id"]: item async for item in items}
        return [{**known[one["item_id"]], "place": one["_id"], "kept_at": one["kept_at"]} for one in kept]

    async def forget(self, user_id: str) -> None:
        """Forget all that somebody kept."""
        await self._kept.delete_many({"user_id": user_id})
