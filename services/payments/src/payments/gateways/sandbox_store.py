"""The sandbox's ledger in MongoDB: one document for each charge, separate from the payments."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from common.mongo.client import Collection, Document, newest
from payments.gateways.ledger_errors import away_is_unavailable
from payments.gateways.port import GatewayRefused


class SandboxLedger:
    """Charges by payment id. Every method raises `GatewayUnavailable` while the database is away."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self._newest = newest(collection)

    async def add(self, charge: Document) -> Document:
        """Store a charge. Return the charge that is stored under its id: this one, or an earlier one."""
        with away_is_unavailable():
            try:
                await self.collection.insert_one(charge)
            except DuplicateKeyError:
                return await self._newest(charge["_id"]) or {}
        return charge

    async def find(self, payment_id: str) -> Document | None:
        """A charge, or None."""
        with away_is_unavailable():
            return await self.collection.find_one({"_id": payment_id})

    async def capture(self, payment_id: str, now: datetime, later: Mapping[str, datetime] | None = None) -> Document:
        """Capture a charge that is authorized by `now` and not ended; return it. A second time changes nothing.

        What happens to the money `later`: by `disputed_at` the buyer's bank takes it back, by `part_refund_at` a third
        goes back to the buyer.
        """
        authorized = {"_id": payment_id, "authorized_at": {"$lte": now}, "ended": {"$exists": False}}
        change = {"captured_at": {"$ifNull": ["$captured_at", now]}}
        first = {"$eq": [{"$type": "$captured_at"}, "missing"]}
        for name, at in (later or {}).items():
            change |= {one: {"$cond": [first, at, {"$ifNull": [f"${one}", "$$REMOVE"]}]} for one in (name, "notify_at")}
        return await self._change(authorized, change)

    async def end(self, payment_id: str, reason: str, now: datetime) -> Document:
        """End a charge of which nothing is captured by `now`; return it. The first reason stays.

        Money that moves by itself is captured when its time has come, an authorized charge when somebody has captured
        it: that may be a moment after `now`, since calls overtake each other.
        """
        by_itself = {"captured_at": {"$gt": now}, "authorized_at": {"$exists": False}}
        uncaptured = {"_id": payment_id, "$or": [{"captured_at": None}, by_itself]}
        return await self._change(uncaptured, {"captured_at": None, "ended": {"$ifNull": ["$ended", reason]}})

    async def _change(self, wanted: Document, change: Document) -> Document:
        with away_is_unavailable():
            after = ReturnDocument.AFTER
            changed = await self.collection.find_one_and_update(wanted, [{"$set": change}], return_document=after)
            found = changed or await self._newest(wanted["_id"])
        if found is None:
            raise GatewayRefused(f"there is no charge for payment {wanted['_id']}")
        return found

    async def refund(self, payment_id: str, now: datetime, fails_at: datetime | None = None) -> Document | None:
        """Refund a charge that is captured by `now`; return it, or None. A second refund changes nothing.

        With `fails_at`, the refund fails then, unless one has failed before.
        """
        untouched: Document = {
            "_id": payment_id,
            "captured_at": {"$lte": now},
            "refunded_at": {"$exists": False},
        }
        change = {"refunded_at": now}
        if fails_at:
            untouched["refund_failures"] = {"$exists": False}
            change |= {"refund_fails_at": fails_at, "notify_at": fails_at}
        with away_is_unavailable():
            await self.collection.update_one(untouched, {"$set": change})
            found = await self._newest(payment_id)
        return found if found and (at := found.get("captured_at")) and at <= now else None

    async def refund_part(self, payment_id: str, amount: int, now: datetime, **wanted: Any) -> bool:
        """Somebody refunds a part of a charge that is captured by `now`, at the provider. Returns whether it could be.

        The next webhook call reports it. With the last part, the charge is refunded. A charge has to be as `wanted`.
        """
        back = {"$add": [{"$ifNull": ["$part_refunded", 0]}, amount]}
        there = {"captured_at": {"$lte": now}, "refunded_at": {"$exists": False}, "disputed_at": {"$exists": False}}
        whole = {"$cond": [{"$eq": [back, "$amount"]}, now, "$$REMOVE"]}
        change = {"part_refunded": back, "refunded_at": whole, "part_refund_at": "$$REMOVE", "notify_at": now}
        enough = {"$expr": {"$lte": [back, "$amount"]}}
        with away_is_unavailable():
            changed = await self.collection.update_one(
                {"_id": payment_id, **there, **enough, **wanted}, [{"$set": change}]
            )
        return bool(changed.modified_count)

    async def refund_due_part(self, payment_id: str, now: datetime) -> None:
        """If a third of a charge goes back by `now`, refund it."""
        charge = await self.find(payment_id) or {}
        if (at := charge.get("part_refund_at")) and at <= now:
            await self.refund_part(payment_id, charge["amount"] // 3, now, part_refund_at=at)

    async def fail_refund(self, payment_id: str, reason: str, now: datetime) -> None:
        """If the refund of a charge fails by `now`, take it back."""
        failing = {"_id": payment_id, "refund_fails_at": {"$lte": now}}
        change = {
            "$unset": {"refunded_at": "", "refund_fails_at": ""},
            "$inc": {"refund_failures": 1},
            "$set": {"refund_failure": reason},
        }
        with away_is_unavailable():
            await self.collection.update_one(failing, change)

    async def page(self, after: str, limit: int, ids: Sequence[str] | None) -> list[Document]:
        """Up to `limit` charges by ascending id above `after`; only those of `ids`, if given."""
        wanted: dict[str, Any] = {"$gt": after} if ids is None else {"$gt": after, "$in": list(ids)}
        with away_is_unavailable():
            return await self.collection.find({"_id": wanted}).sort("_id", 1).limit(limit).to_list()

    async def notified(self, charge: Document) -> None:
        """The webhook calls of this charge have arrived. What it was to report since then stays to be reported."""
        told = {"_id": charge["_id"], "notify_at": charge.get("notify_at")}
        with away_is_unavailable():
            await self.collection.update_one(told, {"$unset": {"notify_at": ""}, "$set": {"tries": 0}})
