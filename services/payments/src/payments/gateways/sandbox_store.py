"""The sandbox's ledger in MongoDB: one document for each charge, separate from the payments."""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from common.mongo.client import AWAY, Collection, Document, newest
from payments.gateways.port import GatewayRefused, GatewayUnavailable


class SandboxLedger:
    """Charges by payment id. Every method raises `GatewayUnavailable` while the database is away."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self._newest = newest(collection)

    async def add(self, charge: Document) -> Document:
        """Store a charge. Return the charge that is stored under its id: this one, or an earlier one."""
        with _away_is_unavailable():
            try:
                await self.collection.insert_one(charge)
            except DuplicateKeyError:
                return await self._newest(charge["_id"]) or {}
        return charge

    async def find(self, payment_id: str) -> Document | None:
        """A charge, or None."""
        with _away_is_unavailable():
            return await self.collection.find_one({"_id": payment_id})

    async def capture(self, payment_id: str, now: datetime) -> Document:
        """Capture a charge that is authorized by `now` and not ended; return it. A second time changes nothing."""
        authorized = {"_id": payment_id, "authorized_at": {"$lte": now}, "ended": {"$exists": False}}
        return await self._change(authorized, {"captured_at": {"$ifNull": ["$captured_at", now]}})

    async def end(self, payment_id: str, reason: str, now: datetime) -> Document:
        """End a charge of which nothing is captured by `now`; return it. The first reason stays."""
        uncaptured = {"_id": payment_id, "captured_at": {"$not": {"$lte": now}}}
        return await self._change(uncaptured, {"captured_at": None, "ended": {"$ifNull": ["$ended", reason]}})

    async def _change(self, wanted: Document, change: Document) -> Document:
        with _away_is_unavailable():
            after = ReturnDocument.AFTER
            changed = await self.collection.find_one_and_update(wanted, [{"$set": change}], return_document=after)
            found = changed or await self._newest(wanted["_id"])
        if found is None:
            raise GatewayRefused(f"there is no charge for payment {wanted['_id']}")
        return found

    async def refund(self, payment_id: str, now: datetime) -> bool:
        """Refund a charge that is captured by `now`; False if there is none. A second refund changes nothing."""
        captured = {"_id": payment_id, "captured_at": {"$lte": now}}
        once = [{"$set": {"refunded_at": {"$ifNull": ["$refunded_at", now]}}}]
        with _away_is_unavailable():
            found = await self.collection.update_one(captured, once)
        return found.matched_count > 0

    async def page(self, after: str, limit: int, ids: Sequence[str] | None) -> list[Document]:
        """Up to `limit` charges by ascending id above `after`; only those of `ids`, if given."""
        wanted: dict[str, Any] = {"$gt": after} if ids is None else {"$gt": after, "$in": list(ids)}
        with _away_is_unavailable():
            return await self.collection.find({"_id": wanted}).sort("_id", 1).limit(limit).to_list()

    async def notified(self, payment_id: str) -> None:
        """The webhook calls of this charge have arrived."""
        with _away_is_unavailable():
            await self.collection.update_one({"_id": payment_id}, {"$unset": {"notify_at": ""}})


@contextlib.contextmanager
def _away_is_unavailable() -> Iterator[None]:
    try:
        yield
    except AWAY as error:
        raise GatewayUnavailable("the sandbox's ledger is away") from error
