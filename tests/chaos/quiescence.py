"""Wait until everything has settled, and report what has not."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable

import redis.asyncio
from nats.js import JetStreamContext

from common.bus.streams import STREAMS
from common.mongo.client import Collection, Database, database
from common.outbox import HAS_PENDING
from payments.status import TROUBLE
from tests.chaos.end_state import open_streams
from tests.chaos.history import Json
from tests.chaos.world import World

PAUSE = 0.3
"""Seconds between two checks. The world is quiet if two in a row find nothing."""


async def until_quiet(world: World, people: Iterable[str], limit: float) -> list[str]:
    """Return what has not settled within `limit` seconds: an empty list if all is well."""
    deadline = time.monotonic() + limit
    quiet_before = False
    async with (
        database(world.mongo_url("auth")) as auth,
        database(world.mongo_url("items")) as items,
        database(world.mongo_url("orders")) as orders,
        database(world.mongo_url("payments")) as payments,
        database(world.mongo_url("tickets")) as tickets,
        database(world.ledger_url) as ledger,
        redis.asyncio.from_url(world.redis_url) as deadlines,
        open_streams(world) as js,
    ):
        ids = {"$in": list(people)}
        while True:
            busy = [one async for one in _in_databases(auth, items, orders, payments, tickets, ids)]
            busy += [one async for one in _at_the_provider(ledger)]
            busy += [one async for one in _in_streams(js)]
            if waiting := await deadlines.zcard("deadlines"):
                busy.append(f"{waiting} deadlines are still to come")
            if (not busy and quiet_before) or time.monotonic() > deadline:
                return busy
            quiet_before = not busy
            await asyncio.sleep(PAUSE)


async def _in_databases(
    auth: Database, items: Database, orders: Database, payments: Database, tickets: Database, ids: Json
) -> AsyncIterator[str]:
    unsettled = {"check_at": {"$exists": True}}
    troubled = await payments.payments.distinct("_id", {"buyer_id": ids, "status": {"$in": list(TROUBLE)}})
    refunding = {"status": "paid", "refund_requested": True, "payment_id": {"$nin": troubled}}
    looks: list[tuple[Collection, Json, str]] = [
        (auth.users, {"_id": ids, **HAS_PENDING}, "users have unpublished events"),
        (items.items, {"seller_id": ids, **HAS_PENDING}, "items have unpublished events"),
        (orders.stock, {"seller_id": ids, **HAS_PENDING}, "stocks have unpublished events"),
        (orders.orders, {"buyer_id": ids, **HAS_PENDING}, "orders have unpublished events"),
        (payments.payments, {"buyer_id": ids, **HAS_PENDING}, "payments have unpublished events"),
        (tickets.bookings, {"sale.buyer_id": ids, **HAS_PENDING}, "tickets have unpublished events"),
        (orders.orders, {"buyer_id": ids, "status": "awaiting_payment"}, "orders are not settled"),
        (orders.orders, {"buyer_id": ids, **refunding}, "refunds are not done"),
        (payments.payments, {"buyer_id": ids, **unsettled}, "payments are not settled"),
    ]
    for collection, query, what in looks:
        if found := await collection.count_documents(query):
            yield f"{found} {what}"


async def _at_the_provider(ledger: Database) -> AsyncIterator[str]:
    if found := await ledger.sandbox_charges.count_documents({"notify_at": {"$exists": True}}):
        yield f"{found} charges have news that the provider has not told"


async def _in_streams(js: JetStreamContext) -> AsyncIterator[str]:
    for stream in STREAMS:
        for info in await js.consumers_info(stream):
            waiting = (info.num_pending or 0) + (info.num_ack_pending or 0)
            if info.config.durable_name and waiting:
                yield f"{waiting} messages wait for {info.config.durable_name}"
