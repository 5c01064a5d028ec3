"""Payments and the amounts due, in MongoDB."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from prometheus_client import Counter
from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from common.batching import Batcher
from common.events import DisputeStatus, OrderPlaced
from common.ids import FindMissed, minted_at, nothing_missed, once_arrived
from common.mongo.client import AWAY, WITHOUT_PENDING, Collection, Database, Document, look_up, write_all
from common.mongo_records import changes_in, records_in
from common.outbox import Outbox, Relay
from common.records import Record, RecordsQuery
from payments.domain import Payment, PaymentNotFound
from payments.due import Due, OrderNotPayable
from payments.status import TROUBLE

PAYMENTS = Counter("souk_payments_total", "Payments that came into a state", ["status", "currency"])
MONEY = Counter("souk_payments_minor_units_total", "Money of payments that came into a state", ["status", "currency"])


class PaymentStore:
    """Payments. At most one is live for an order, and one was made under each Idempotency-Key of a buyer."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self.collection: Collection = db.payments
        self._outbox = Outbox(self.collection, relay)
        self._find = look_up(self.collection)
        self._waiting: dict[str, list[asyncio.Event]] = {}

    async def prepare(self) -> None:
        """Create the indexes. A second call changes nothing."""
        await self.collection.create_index("live_order", unique=True, sparse=True)
        with_key = {"request_key": {"$exists": True}}
        await self.collection.create_index(
            [("buyer_id", 1), ("request_key", 1)], unique=True, partialFilterExpression=with_key
        )
        await self.collection.create_index([("buyer_id", 1), ("_id", -1)])
        await self.collection.create_index([("order_id", 1), ("_id", -1)])
        in_trouble = {"status": {"$in": list(TROUBLE)}}
        await self.collection.create_index([("status", 1), ("_id", -1)], partialFilterExpression=in_trouble)

    async def add(self, payment: Payment) -> None:
        """Write an intent. Raises `OrderNotPayable` if the order has a live payment, or the key was used."""
        self._outbox.relay.check_room()
        try:
            await self._outbox.save(payment)
        except DuplicateKeyError:
            raise OrderNotPayable("a payment for this order is under way") from None

    async def find(self, payment_id: str) -> Payment | None:
        """A payment, or None. Concurrent calls share a query."""
        document = await self._find(payment_id)
        return Payment.from_document(document) if document else None

    async def get(self, payment_id: str) -> Payment:
        """A payment. Raises `PaymentNotFound`."""
        if (payment := await self.find(payment_id)) is None:
            raise PaymentNotFound(f"there is no payment {payment_id}")
        return payment

    async def under_key(self, buyer_id: str, request_key: str) -> Payment | None:
        """The payment that a buyer made under an Idempotency-Key."""
        wanted = {"buyer_id": buyer_id, "request_key": request_key}
        document = await self.collection.find_one(wanted, WITHOUT_PENDING)
        return Payment.from_document(document) if document else None

    async def change(self, payment: Payment, transition: Callable[[Payment], None]) -> Payment:
        """Apply a transition and save; after a lost race, apply it to the newest state. Transitions are repeatable."""
        before = payment.status

        def move(newest: Payment) -> None:
            nonlocal before
            before = newest.status
            transition(newest)

        changed = await self._outbox.update(lambda: self.get(payment.id), move, loaded=payment, command=False)
        if changed.status is not before:
            PAYMENTS.labels(changed.status, changed.currency).inc()
            MONEY.labels(changed.status, changed.currency).inc(changed.amount)
        for waiting in self._waiting.get(payment.id, ()):
            waiting.set()
        return changed

    async def changed(self, payment_id: str, seconds: float) -> None:
        """Wait until this process has changed a payment, or so many seconds: other replicas change it, too."""
        waiting = self._waiting.setdefault(payment_id, [])
        waiting.append(told := asyncio.Event())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(told.wait(), seconds)
        finally:
            waiting.remove(told)
            if not waiting:
                self._waiting.pop(payment_id, None)

    async def begun(self) -> float:
        """When the first payment was made, or now, in Unix seconds."""
        first = await self.collection.find_one({}, {"_id": 1}, sort=[("_id", 1)])
        return minted_at(first["_id"]) if first else time.time()

    async def in_trouble(self, limit: int, before: str | None, *, lost: bool = False) -> list[Payment]:
        """Payments whose refund failed or which are disputed, newest first, older than the payment `before`.

        Lost disputes are left out, unless they are wanted.
        """
        query: dict[str, Any] = {"status": {"$in": list(TROUBLE)}}
        if not lost:
            query["dispute"] = {"$ne": DisputeStatus.LOST}
        return await self._newest(query, limit, before)

    async def records(self, query: RecordsQuery) -> list[Record]:
        """Payments, for reconciliation."""
        fields = ("order_id", "amount", "currency", "status", "version", "check_at", "tries", "dispute", "settled_by")
        return await records_in(self.collection, query, *fields, "settled_amount", "refunded_amount")

    async def changes(self, query: RecordsQuery, ledger: str) -> list[Record]:
        """What was written, for reconciliation; the gateway's charges are in the collection `ledger`."""
        return await changes_in(query, payments=self.collection, charges=self.collection.database[ledger])

    async def made_by(self, buyer_id: str, order_id: str | None, limit: int, before: str | None) -> list[Payment]:
        """A buyer's payments, of one order or all, newest first, older than the payment `before`."""
        query: dict[str, Any] = {"buyer_id": buyer_id}
        if order_id:
            query["order_id"] = order_id
        return await self._newest(query, limit, before)

    async def _newest(self, query: dict[str, Any], limit: int, before: str | None) -> list[Payment]:
        if before:
            query["_id"] = {"$lt": before}
        found = self.collection.find(query, WITHOUT_PENDING).sort("_id", -1).limit(limit)
        return [Payment.from_document(document) for document in await found.to_list()]


class DueStore:
    """What is due for each order: a copy of the newest event of orders, in whatever order the events arrive."""

    def __init__(self, db: Database, missed: FindMissed[OrderPlaced] = nothing_missed) -> None:
        """Orders that no replica has handled are `missed`."""
        self._dues: Collection = db.dues
        self._missed = missed
        self._find = look_up(self._dues)
        self._writes: Batcher[UpdateOne, None] = Batcher(self._write, shared=AWAY)

    async def find(self, order_id: str) -> Due | None:
        """What is due for an order. Concurrent calls share a query."""
        document = await self._find(order_id)
        return Due.model_validate({**document, "id": document["_id"]}) if document else None

    async def expect(self, order_id: str) -> Due | None:
        """What is due for an order that may have been placed a moment ago, see `once_arrived`."""
        return await once_arrived(self.find, order_id, self._missed, lambda order: self.keep(Due.of(order)))

    async def keep(self, due: Due) -> None:
        """Store a due, unless a newer one is stored. Concurrent calls share a write.

        The query asks for `_id` alone, so that the server retries the later of two concurrent first writes.
        """
        document = {"_id": due.id, **due.to_document()}
        newer = {"$lt": [{"$ifNull": ["$order_version", 0]}, due.order_version]}
        update = [{"$replaceWith": {"$cond": [newer, {"$literal": document}, "$$ROOT"]}}]
        await self._writes(UpdateOne({"_id": due.id}, update, upsert=True))

    async def all(self) -> AsyncIterator[Document]:
        """Every due, as it is stored."""
        async for document in self._dues.find({}):
            yield document

    async def repair(self, order_id: str, found: Mapping[str, Any] | None, expected: Mapping[str, Any] | None) -> None:
        """Put the `expected` due in the place of the `found` one; None stands for no due.

        Changes nothing if another version was stored meanwhile.
        """
        stored = {"_id": order_id, "order_version": (found or {}).get("order_version")}
        if expected is None:
            await self._dues.delete_one(stored)
        elif found is not None:
            await self._dues.replace_one(stored, {"_id": order_id, **expected})
        else:
            with suppress(DuplicateKeyError):  # A consumer stored one meanwhile.
                await self._dues.insert_one({"_id": order_id, **expected})

    async def _write(self, writes: Sequence[UpdateOne]) -> list[None]:
        await write_all(self._dues, writes)
        return [None] * len(writes)
