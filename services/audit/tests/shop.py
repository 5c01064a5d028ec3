"""A shop for checks: the records of all services in one real database, as they keep them, and the log beside them."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

from audit.event_log.domain import Entry
from audit.event_log.store import EventLog
from audit.reconciliation.checker import Checker
from audit.reconciliation.findings import Checkpoint, Report
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.bus.message import Message
from common.clock import now
from common.errors import NotFound
from common.events import (
    CancelReason,
    Event,
    ItemListed,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPlaced,
    OrderRefundRequested,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentRefunded,
    StockChanged,
    TicketsIssued,
    TicketsRevoked,
)
from common.ids import new_id
from common.mongo.client import Collection, Database, Document
from common.mongo_records import changes_in, records_in
from common.records import Record, Records, RecordsQuery

from .conftest import World

FIELDS = {
    "orders": (
        "item_id", "quantity", "unit_price", "currency", "status", "expires_at", "version", "accepted_payment",
        "payment_id", "rejected_payments", "refund_requested",
    ),
    "stock": ("offered", "taken", "status", "version", "item_version"),
    "items": ("quantity", "status", "version", "available", "stock_version"),
    "payments": ("order_id", "amount", "currency", "status", "version", "check_at", "refunded_amount"),
    "charges": ("amount", "currency", "captured", "refunded", "refunded_amount"),
    "bookings": ("version", "sale", "returned", "tickets"),
}  # fmt: skip
PLACES = {
    "orders": "orders", "stock": "orders", "items": "items", "payments": "payments", "charges": "payments",
    "bookings": "tickets",
}  # fmt: skip
OFFERED = 30


class ChargesUnlisted(NotFound):
    code = "charges_unlisted"


@dataclass
class Shop:
    """What was sold in it, step by step. A step leaves all records consistent."""

    db: Database
    bus: Bus
    random: Random = field(default_factory=lambda: Random(1))  # noqa: S311 - not a secret
    deadlines: dict[str, int] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    """By order, or by item, what was published."""
    read: Counter[str] = field(default_factory=Counter)
    """Records that services have shown, by kind."""
    sequences: Counter[str] = field(default_factory=Counter)
    changes_told: bool = True
    lists_charges: bool = True

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answer for every service."""
        await EventLog(self.db).prepare()
        made: dict[str, Records] = {}
        for kind, service in PLACES.items():
            made.setdefault(service, Records(service)).on(kind)(self._reader(kind))
        for service, records in made.items():
            kinds = {kind: self.db[kind] for kind, place in PLACES.items() if place == service}
            if self.changes_told:
                records.on("changes")(self._telling(kinds))
        expiration = made.setdefault("expiration", Records("expiration"))
        expiration.on("deadlines")(self._deadlines)
        async with AsyncExitStack() as stack:
            for records in made.values():
                await stack.enter_async_context(records.answering(self.bus, []))
            yield

    def _reader(self, kind: str) -> Any:
        async def show(query: RecordsQuery) -> list[Record]:
            found = await records_in(self.db[kind], query, *FIELDS[kind])
            self.read[kind] += len(found)
            for row in found if kind == "stock" else ():
                live = {"awaiting_payment": 0, "paid": 0}
                async for order in self.db.orders.find({"item_id": row["id"], "status": {"$in": list(live)}}):
                    live[order["status"]] += order["quantity"]
                row["held"], row["sold"] = live.values()
            return found

        return show

    def _telling(self, kinds: dict[str, Collection]) -> Any:
        async def show(query: RecordsQuery) -> list[Record]:
            if "charges" in kinds and not self.lists_charges:
                raise ChargesUnlisted("not here")
            found = await changes_in(query, **kinds)
            self.read["changes"] += len(found)
            return found

        return show

    async def _deadlines(self, query: RecordsQuery) -> list[Record]:
        return [{"id": key, "due": self.deadlines[key]} for key in sorted(query.ids or ()) if key in self.deadlines]

    async def check(self, checkpoint: Checkpoint | None = None, **more: Any) -> tuple[Report, Checkpoint | None]:
        """Check with little patience, from a checkpoint on or everything."""
        return await Checker(self.bus, self.db, 0.04).check_since(checkpoint, **more)

    async def publish(self, *events: Event) -> None:
        """Put events into the log."""
        for event in events:
            self.sequences[event.stream] += 1
            body, headers = event.model_dump_json().encode(), Envelope.of(event).headers("test")
            message = Message(event.stream, self.sequences[event.stream], event.subject, now(), headers, body)
            await self.db.events.insert_one(Entry.of(message).to_document())

    async def list_item(self, kind: str = "thing", quantity: int = OFFERED) -> str:
        listed = World.item(quantity=quantity, kind=kind, starts_at=now() if kind == "event" else None)
        state = {"_id": listed.item_id, "status": "listed", "version": 1}
        await self.db.items.insert_one({**state, "quantity": quantity, "available": quantity, "stock_version": 1})
        await self.db.stock.insert_one({**state, "offered": quantity, "taken": 0, "item_version": 1})
        self.events[listed.item_id] = [listed]
        change = StockChanged(item_id=listed.item_id, stock_version=1, quantity=quantity, available=quantity)
        await self.publish(listed, change)
        return listed.item_id

    async def _take(self, item_id: str, units: int) -> None:
        changed = {"$inc": {"taken": units, "version": 1}}
        stock: Document = await self.db.stock.find_one_and_update({"_id": item_id}, changed, return_document=True) or {}
        shown = {"available": stock["offered"] - stock["taken"], "stock_version": stock["version"]}
        await self.db.items.update_one({"_id": item_id}, {"$set": shown})
        await self.publish(StockChanged.model_validate({"item_id": item_id, "quantity": stock["offered"], **shown}))

    async def place(self, item_id: str, published: bool = True) -> str:
        [listed] = self.events[item_id]
        assert isinstance(listed, ItemListed)
        ends = now() + timedelta(minutes=15)
        placed: OrderPlaced = World.placed(listed, expires_at=ends, quantity=self.random.randint(1, 2))
        state = placed.model_dump(include={"item_id", "quantity", "unit_price", "currency", "expires_at"})
        await self.db.orders.insert_one({"_id": placed.order_id, **state, "status": "awaiting_payment", "version": 1})
        self.deadlines[placed.order_id] = milliseconds(ends)
        self.events[placed.order_id] = [placed]
        if published:
            await self.publish(placed)
        await self._take(item_id, placed.quantity)
        return placed.order_id

    async def cancel(self, order_id: str) -> None:
        placed = self.events[order_id][0].model_dump() | {"order_version": 2, "reason": CancelReason.BUYER}
        await self.db.orders.update_one({"_id": order_id}, {"$set": {"status": "cancelled", "version": 2}})
        await self.publish(OrderCancelled.model_validate(placed))
        await self._take(placed["item_id"], -placed["quantity"])

    async def pay(self, order_id: str) -> str:
        placed, payment_id = self.events[order_id][0].model_dump(), new_id()
        paid = {"status": "paid", "version": 3, "payment_id": payment_id}
        amount = {"amount": placed["quantity"] * placed["unit_price"], "currency": "EUR"}
        about = {"payment_id": payment_id, "order_id": order_id, "buyer_id": placed["buyer_id"], **amount}
        payment = {"_id": payment_id, "order_id": order_id, **amount, "status": "captured", "version": 3}
        await self.db.payments.insert_one(payment)
        await self.db.charges.insert_one({"_id": payment_id, **amount, "captured": True, "refunded": False})
        await self.db.orders.update_one({"_id": order_id}, {"$set": paid})
        await self.publish(
            PaymentAuthorized.model_validate({**about, "payment_version": 2}),
            OrderPaymentAccepted.model_validate({**placed, "order_version": 2, "payment_id": payment_id}),
            PaymentCaptured.model_validate({**about, "payment_version": 3}),
            OrderPaid.model_validate({**placed, "order_version": 3, "payment_id": payment_id}),
        )
        [listed] = self.events[placed["item_id"]]
        if isinstance(listed, ItemListed) and listed.kind == "event":
            units: list[Document] = [{"unit": unit, "generation": 1, "admissions": [], "strays": []} for unit in (1, 2)]
            sale = {"sale": {"payment_id": payment_id}, "returned": [], "tickets": units[: placed["quantity"]]}
            await self.db.bookings.insert_one({"_id": order_id, "version": 1, **sale})
            await self.publish(TicketsIssued.model_validate({**placed, "tickets_version": 1}))
        return payment_id

    async def place_paid(self, item_id: str) -> str:
        await self.pay(order_id := await self.place(item_id))
        return order_id

    async def refund(self, order_id: str) -> None:
        placed = self.events[order_id][0].model_dump()
        payment = await self.db.payments.find_one({"order_id": order_id})
        if payment is None:
            return  # It was damaged.
        money = {"payment_id": payment["_id"], "order_id": order_id, "buyer_id": placed["buyer_id"]}
        money |= {"amount": payment["amount"], "currency": "EUR", "payment_version": 4, "reason": "asked"}
        told = {**placed, "order_version": 4, "payment_id": payment["_id"]}
        await self.db.orders.update_one(
            {"_id": order_id}, {"$set": {"status": "refunded", "version": 5, "refund_requested": True}}
        )
        back = {"refunded": True, "refunded_amount": payment["amount"]}
        await self.db.charges.update_one({"_id": payment["_id"]}, {"$set": back})
        await self.db.payments.update_one({"_id": payment["_id"]}, {"$set": {"status": "refunded", "version": 4}})
        await self.publish(OrderRefundRequested.model_validate(told), PaymentRefunded.model_validate(money))
        if await self.db.bookings.find_one({"_id": order_id}):
            gone = {"$set": {"version": 2, "returned": [payment["_id"]]}}
            await self.db.bookings.update_one({"_id": order_id}, gone)
            await self.publish(TicketsRevoked.model_validate({**placed, "tickets_version": 2}))
        await self._take(placed["item_id"], -placed["quantity"])

    async def any(self, status: str) -> str | None:
        """The id of an order with this status."""
        found = [order["_id"] async for order in self.db.orders.find({"status": status}).sort("_id", 1)]
        return self.random.choice(found) if found else None

    async def step(self) -> None:
        """Anything that people do."""
        match self.random.randrange(6):
            case 0:
                await self.list_item(self.random.choice(["thing", "event"]))
            case 1 if order := await self.any("awaiting_payment"):
                await self.cancel(order)
            case 2 | 3 if order := await self.any("awaiting_payment"):
                await self.pay(order)
            case 4 if order := await self.any("paid"):
                await self.refund(order)
            case _:
                free = self.db.items.find({"available": {"$gt": 2}}).sort("_id", 1)
                items = [item["_id"] async for item in free] or [await self.list_item()]
                await self.place(self.random.choice(items))


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
