"""Orders, stock, and the answers given under an Idempotency-Key, in MongoDB."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

import pymongo
from cachetools import LRUCache
from prometheus_client import Gauge
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from common.bus.envelope import Envelope
from common.clock import now
from common.events import ItemState
from common.mongo.client import AWAY, WITHOUT_PENDING, Collection, Database, Document, look_up, write_in
from common.mongo_records import changes_in, records_in
from common.outbox import Outbox, Relay, write_of
from common.records import Record, RecordsQuery
from orders.domain import Order, OrderNotFound, OrderPhase, OrderStatus, hold_key
from orders.holds import Hold, Owned
from orders.sales import Chosen
from orders.stock import Stock

T = TypeVar("T")

Session = AsyncClientSession
Pair = tuple[str, str]
"""A buyer's id and an item's."""
Restated = dict[str, tuple[Stock, list[Envelope]]]

TRANSACTION_TIMEOUT = 10.0
"""Seconds after which a transaction, with its retries, is given up."""

ANSWERS_KEPT = 24 * 3600
"""Seconds for which an Idempotency-Key is remembered."""

REFUSALS_KEPT = 100
"""The newest refusals of a buyer that are remembered, each under its key."""

REFUSALS_PRUNED_AT = 25
"""After so many refusals of a buyer, a process removes those that are more than may be kept."""


HOLDS = Gauge("souk_holds", "Orders that await payment")
HELD_UNITS = Gauge("souk_held_units", "Units of items that unpaid orders hold")

ORDER_FIELDS = (
    "buyer_id",
    "seller_id",
    "item_id",
    "quantity",
    "unit_price",
    "currency",
    "status",
    "expires_at",
    "version",
    "accepted_payment",
    "payment_id",
    "late_payment",
    "rejected_payments",
    "refund_requested",
)
HOLD_FIELDS = dict.fromkeys(("item_id", "buyer_id", "quantity", "status", "counts_for", "expires_at", "lapsed_at"), 1)
STOCK_FIELDS = ("offered", "taken", "status", "version", "item_version")


class OrderStore:
    """Orders and stock. Single changes of an order are `save`d; whatever touches stock goes through a transaction."""

    def __init__(self, db: Database, relay: Relay) -> None:
        self._client = db.client
        self._orders: Collection = db.orders
        self._stock: Collection = db.stock
        self._answers: Collection = db.answers
        self._refusals: LRUCache[str, int] = LRUCache(maxsize=10_000)
        self._outbox = Outbox(db.orders, relay)
        self._stock_outbox = Outbox(db.stock, relay)
        self._find_order = look_up(db.orders)
        self._find_stock = look_up(db.stock)
        self.check_room = relay.check_room

    async def prepare(self) -> None:
        """Create the indexes. A second call changes nothing."""
        await self._orders.create_index([("buyer_id", 1), ("_id", -1)])
        await self._orders.create_index([("seller_id", 1), ("_id", -1)])
        holding = {"held_by": {"$exists": True}}
        await self._orders.create_index([("held_by", 1), ("quantity", 1)], partialFilterExpression=holding)
        await self._orders.create_index([("expires_at", 1)], partialFilterExpression=holding)
        await self._answers.create_index("at", expireAfterSeconds=ANSWERS_KEPT)
        await self._orders.create_index([("item_id", 1), ("status", 1), ("buyer_id", 1), ("quantity", 1)])
        with suppress(OperationFailure):  # It is not there, or no longer: the one above has taken its place.
            await self._orders.drop_index("item_id_1_status_1_quantity_1")
        counting = {"counts_for": {"$exists": True}}
        await self._orders.create_index([("counts_for", 1), ("lapsed_at", 1)], partialFilterExpression=counting)
        await self._stock.create_index("seller_id")  # also creates the collection: a transaction would have to

    async def get(self, order_id: str) -> Order | None:
        """An order, or None. Concurrent calls share a query."""
        document = await self._find_order(order_id)
        return Order.from_document(document) if document else None

    async def stock(self, item_id: str) -> Stock | None:
        """The stock of an item, or None. Concurrent calls share a query."""
        document = await self._find_stock(item_id)
        return Stock.from_document(document) if document else None

    async def change(self, order_id: str, decide: Callable[[Order], None]) -> Order:
        """Let `decide` record something about an order whose stock stays as it is, however many events wait.

        Raises `OrderNotFound`, and what `Outbox.update` does.
        """

        async def load() -> Order:
            if (order := await self.get(order_id)) is None:
                raise OrderNotFound("there is no such order")
            return order

        return await self._outbox.update(load, decide, command=False)

    async def save(self, order: Order) -> None:
        """One guarded write of an order whose stock does not change. Raises `StaleWrite`."""
        await self._outbox.save(order)

    async def bought_by(
        self, buyer_id: str, limit: int, before: str | None, state: OrderPhase | None, now: datetime
    ) -> list[Order]:
        """A buyer's orders, newest first, older than the order `before`; only those in this state, if one is given."""
        match state:
            case None:
                chosen: dict[str, Any] = {}
            case OrderPhase.OPEN:
                chosen = {"status": OrderStatus.AWAITING_PAYMENT}
            case OrderPhase.UPCOMING:
                chosen = await self._upcoming(buyer_id, now)
            case OrderPhase.PAST:
                chosen = {
                    "status": {"$ne": OrderStatus.AWAITING_PAYMENT},
                    "$nor": [await self._upcoming(buyer_id, now)],
                }
        return await self._page({"buyer_id": buyer_id, **chosen}, limit, before)

    async def _upcoming(self, buyer_id: str, now: datetime) -> dict[str, Any]:
        bought = await self._orders.distinct("item_id", {"buyer_id": buyer_id, "status": OrderStatus.PAID})
        events = self._stock.find({"_id": {"$in": bought}, "over_at": {"$gt": now}}, {"_id": 1})
        return {"status": OrderStatus.PAID, "item_id": {"$in": [event["_id"] async for event in events]}}

    async def sold(self, chosen: Chosen, limit: int, before: str | None) -> list[Order]:
        """The chosen orders of a seller, newest first, older than the order `before`."""
        return await self._page(chosen.query, limit, before)

    async def _page(self, query: dict[str, Any], limit: int, before: str | None) -> list[Order]:
        if before:
            query["_id"] = {**query.get("_id", {}), "$lt": before}
        found = self._orders.find(query, WITHOUT_PENDING).sort("_id", -1).limit(limit)
        return [Order.from_document(document) for document in await found.to_list()]

    async def forget_buyer(self, buyer_id: str) -> None:
        """Remove the buyer's name from their orders, and their network from those that hold nothing."""
        await self._orders.update_many({"buyer_id": buyer_id}, {"$unset": {"buyer_name": ""}})
        over = {"buyer_id": buyer_id, "status": {"$ne": OrderStatus.AWAITING_PAYMENT}}
        await self._orders.update_many(over, {"$unset": {"counts_for": "", "lapsed_at": ""}})

    async def count_holds(self) -> None:
        """Say to Prometheus what is held, as an index of the holds alone has it."""
        held = {"$match": {"held_by": {"$exists": True}}}
        summed = {"$group": {"_id": None, "orders": {"$sum": 1}, "units": {"$sum": "$quantity"}}}
        found = await (await self._orders.aggregate([held, summed])).to_list()
        [total] = found or [{"orders": 0, "units": 0}]
        HOLDS.set(total["orders"])
        HELD_UNITS.set(total["units"])

    async def overdue(self, before: datetime, limit: int) -> list[str]:
        """The orders whose hold was over before then and that hold their units all the same, the oldest first.

        One that has accepted a payment ends with that.
        """
        held = {"held_by": {"$exists": True}, "expires_at": {"$lt": before}, "accepted_payment": None}
        return [
            document["_id"]
            for document in await self._orders.find(held, {"_id": 1}).sort("expires_at").limit(limit).to_list()
        ]

    async def unpaid_by(self, buyer_id: str) -> list[str]:
        """The ids of the orders of a buyer that await payment."""
        unpaid = {"buyer_id": buyer_id, "status": OrderStatus.AWAITING_PAYMENT}
        return [document["_id"] async for document in self._orders.find(unpaid, {"_id": 1})]

    async def order_records(self, query: RecordsQuery) -> list[Record]:
        """Orders, for reconciliation."""
        return await records_in(self._orders, query, *ORDER_FIELDS)

    async def stock_records(self, query: RecordsQuery) -> list[Record]:
        """Stock for reconciliation, each with the units that its orders hold and have bought at the same moment."""
        async with self._client.start_session(snapshot=True) as session:
            rows = await records_in(self._stock, query, *STOCK_FIELDS, session=session)
            live = await self.live_units(session, [row["id"] for row in rows])
        for row in rows:
            row["held"], row["sold"] = live.get(row["id"], (0, 0))
        return rows

    async def changes(self, query: RecordsQuery) -> list[Record]:
        """What was written, for reconciliation."""
        return await changes_in(query, orders=self._orders, stock=self._stock)

    async def stock_and_units(self) -> AsyncIterator[tuple[Stock, int]]:
        """Every stock, and the units that its orders hold and have bought at the same moment."""
        after, query = "", RecordsQuery()
        while (
            documents := await self._stock.find({"_id": {"$gt": after}}, {"_id": 1})
            .sort("_id", 1)
            .limit(query.limit)
            .to_list()
        ):
            async with self._client.start_session(snapshot=True) as session:
                stocks = await self.stock_in(session, [document["_id"] for document in documents])
                live = await self.live_units(session, list(stocks))
            for stock in stocks.values():
                yield stock, sum(live.get(stock.id, (0, 0)))
            after = documents[-1]["_id"]

    async def restate(self, item: ItemState, published_version: int) -> None:
        """Repair the stock of an item in a transaction, with `Stock.restate`. Its units are counted from its orders."""

        async def attempt(session: Session) -> Restated:
            kept = (await self.stock_in(session, [item.item_id])).get(item.item_id)
            taken = sum((await self.live_units(session, [item.item_id])).get(item.item_id, (0, 0)))
            stock = kept.model_copy() if kept else Stock.open(item)
            stock.restate(item, taken, published_version)
            if kept and kept.version < stock.version:
                guard = {"_id": kept.id, "version": kept.version}
                await self._stock.update_one(guard, {"$set": {"version": stock.version}}, session=session)
            changed = {stock.id: (stock, self._stock_outbox.envelopes(stock))}
            await self.write(session, {}, changed, {}, now())
            return changed

        self.committed((), (await self.in_transaction(attempt)).values())

    async def live_units(self, session: Session, item_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Units of each item that are held, and that are sold, as the session sees it; read from an index alone."""
        live = [OrderStatus.AWAITING_PAYMENT, OrderStatus.PAID]
        matching = {"$match": {"item_id": {"$in": item_ids}, "status": {"$in": live}}}
        by_status = {"$group": {"_id": {"item": "$item_id", "status": "$status"}, "units": {"$sum": "$quantity"}}}
        units: dict[str, tuple[int, int]] = {}
        async for group in await self._orders.aggregate([matching, by_status], session=session):
            held, sold = units.get(group["_id"]["item"], (0, 0))
            if group["_id"]["status"] == OrderStatus.PAID:
                units[group["_id"]["item"]] = (held, group["units"])
            else:
                units[group["_id"]["item"]] = (group["units"], sold)
        return units

    async def in_transaction(self, work: Callable[[Session], Awaitable[T]]) -> T:
        """Run `work` on a snapshot and commit it. After a conflict, run it again after a jittered pause.

        Raises one of `AWAY` if that does not succeed within `TRANSACTION_TIMEOUT`. A transaction that is out of time,
        or whose process is killed, keeps its locks until the server ends it (`transactionLifetimeLimitSeconds`).
        """
        with pymongo.timeout(TRANSACTION_TIMEOUT):
            async with self._client.start_session() as session:
                return await session.with_transaction(
                    work, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
                )

    async def orders_in(self, session: Session, ids: Iterable[str]) -> dict[str, Order]:
        """The orders of these ids, as the transaction sees them."""
        return {d["_id"]: Order.from_document(d) for d in await _find(self._orders, session, ids)}

    async def stock_in(self, session: Session, ids: Iterable[str]) -> dict[str, Stock]:
        """The stock of these items, as the transaction sees it."""
        return {d["_id"]: Stock.from_document(d) for d in await _find(self._stock, session, ids)}

    async def answers_in(self, session: Session, keys: Iterable[str]) -> dict[str, Document]:
        """What was answered under these keys, as the transaction sees it."""
        return {d["_id"]: d for d in await _find(self._answers, session, keys)}

    async def holds_in(
        self, session: Session, buying: Set[Pair], networks: Set[str], lapsed_after: datetime
    ) -> list[Hold]:
        """The holds of these buyers and networks, with those that lapsed after a time.

        A hold of an earlier revision is found by its buyer and item alone.
        """
        if not buying:
            return []
        holders = {"$in": [*{buyer for buyer, _ in buying}, *networks]}
        counted = {"counts_for": holders, "lapsed_at": {"$not": {"$lte": lapsed_after}}}
        held = {"held_by": {"$in": [hold_key(*pair) for pair in buying]}}
        found = await self._orders.find({"$or": [counted, held]}, HOLD_FIELDS, session=session).to_list()
        return [hold_of(d) for d in found if d["status"] == OrderStatus.AWAITING_PAYMENT or "lapsed_at" in d]

    async def owned_in(self, session: Session, pairs: Set[Pair]) -> dict[Pair, Owned]:
        """What these buyers hold of these items or have paid for; a pair without any is left out."""
        owned: dict[Pair, Owned] = {}
        if not pairs:
            return owned
        wanted = {
            "item_id": {"$in": list({item for _, item in pairs})},
            "status": {"$in": [OrderStatus.AWAITING_PAYMENT, OrderStatus.PAID]},
            "buyer_id": {"$in": list({buyer for buyer, _ in pairs})},
        }
        fields = {"buyer_id": 1, "item_id": 1, "quantity": 1, "status": 1, "placed_at": 1}
        async for d in self._orders.find(wanted, fields, session=session):
            known = owned.setdefault((d["buyer_id"], d["item_id"]), Owned())
            known.units += d["quantity"]
            if d["status"] == OrderStatus.PAID:
                known.last_paid = max(d["placed_at"], known.last_paid or d["placed_at"])
        return owned

    async def write(
        self,
        session: Session,
        orders: Mapping[str, tuple[Order, Sequence[Envelope]]],
        stock: Mapping[str, tuple[Stock, Sequence[Envelope]]],
        answers: Mapping[str, Document],
        now: datetime,
    ) -> None:
        """Write everything a group changed, in at most five calls however large the group."""
        for collection, changed in ((self._stock, stock), (self._orders, orders)):
            if changed:
                writes = [write_of(aggregate, envelopes) for aggregate, envelopes in changed.values()]
                await write_in(session, collection, writes)
        if answers:
            documents = [{**answer, "_id": key, "at": now} for key, answer in answers.items()]
            await self._answers.insert_many(documents, ordered=False, session=session)

    async def count_refusals(self, answers: Mapping[str, Document]) -> None:
        """Call this after the commit: of the refusals of a buyer only the newest are kept.

        However many keys somebody uses, what stays of their refusals is less than 200 short documents for each replica.
        """
        for key in (key for key, answer in answers.items() if "refused" in answer):
            buyer_id = key.partition("/")[0]
            self._refusals[buyer_id] = count = self._refusals.get(buyer_id, 0) + 1
            if count >= REFUSALS_PRUNED_AT:
                self._refusals.pop(buyer_id)
                with suppress(*AWAY):  # The answers are committed; the next refusals will prune these too.
                    await self._prune_refusals(buyer_id)

    async def _prune_refusals(self, buyer_id: str) -> None:
        of_buyer = {"_id": {"$gt": f"{buyer_id}/", "$lt": f"{buyer_id}0"}, "refused": {"$exists": True}}
        old = self._answers.find(of_buyer, {"_id": 1}).sort("at", pymongo.DESCENDING).skip(REFUSALS_KEPT)
        await self._answers.delete_many({"_id": {"$in": [document["_id"] async for document in old]}})

    def committed(
        self, orders: Iterable[tuple[Order, Sequence[Envelope]]], stock: Iterable[tuple[Stock, Sequence[Envelope]]]
    ) -> None:
        """Call this after the commit: the aggregates get their next version, and their events are published."""
        for order, envelopes in orders:
            self._outbox.committed(order, envelopes)
        for one, envelopes in stock:
            self._stock_outbox.committed(one, envelopes)


def hold_of(d: Document) -> Hold:
    """The order in a document as a hold."""
    counts_for = tuple(d.get("counts_for", (d["buyer_id"],)))
    return Hold(d["item_id"], d["buyer_id"], d["quantity"], counts_for, d["expires_at"], d.get("lapsed_at"))


async def _find(collection: Collection, session: Session, ids: Iterable[str]) -> list[Document]:
    wanted = list(ids)
    if not wanted:
        return []
    return await collection.find({"_id": {"$in": wanted}}, WITHOUT_PENDING, session=session).to_list()
