"""Every hold ends, whoever has forgotten its deadline."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from common.bus.connection import Bus, BusError
from common.events import CancelReason, OrderCancelled
from common.mongo.client import Database
from common.outbox import Relay
from orders.desk import ReservationDesk
from orders.holds import HoldLimits
from orders.overdue import ending_overdue
from orders.store import OrderStore
from tests.support.waiting import eventually

from .conftest import World
from .test_desk import listed, placing


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders.overdue.LOOK_EVERY", 0.05)
    monkeypatch.setattr("orders.overdue.SETTLE", 0.0)


async def ended_ago(orders: World, order_id: str, ago: timedelta) -> None:
    """The order's time was over so long ago, and expiration says nothing."""
    await orders.db.orders.update_one({"_id": order_id}, {"$set": {"expires_at": datetime.now(UTC) - ago}})


async def test_a_hold_whose_end_nobody_tells_ends_a_minute_late_and_no_other_does(orders: World) -> None:
    item = await orders.listed(quantity=5)
    forgotten, accepted, just_over, running = [await orders.placed(item) for _ in range(4)]
    await orders.events.deliver(orders.authorized(accepted, "payment"))
    await ended_ago(orders, just_over["id"], timedelta(seconds=20))
    await ended_ago(orders, accepted["id"], timedelta(hours=1))
    await ended_ago(orders, forgotten["id"], timedelta(seconds=61))

    async def expired() -> bool:
        assert (await orders.order(forgotten["id"]))["status"] == "expired"
        return True

    await eventually(expired)
    [cancelled] = await orders.events.published(OrderCancelled)
    assert (cancelled.order_id, cancelled.reason) == (forgotten["id"], CancelReason.EXPIRED)
    for order in (accepted, just_over, running):
        assert (await orders.order(order["id"]))["status"] == "awaiting_payment"
    assert (await orders.stock(item))["taken"] == 3


async def test_while_the_bus_is_away_no_hold_is_overdue(db: Database, bus_url: str) -> None:
    back, looked = asyncio.Event(), 0

    async def check_bus() -> None:
        nonlocal looked
        looked += 1
        if not back.is_set():
            raise BusError("not connected to the bus")

    async with Bus.connected(bus_url, "orders") as bus, Relay.running(bus, db.orders, db.stock) as relay:
        store = OrderStore(db, relay)
        await store.prepare()
        desk = ReservationDesk(store, HoldLimits(timedelta(minutes=15)))
        order = await desk.place(placing(await listed(desk, 1)))
        await db.orders.update_one({"_id": order.id}, {"$set": {"expires_at": datetime.now(UTC) - timedelta(hours=1)}})

        async def has(status: str) -> bool:
            found = await store.get(order.id)
            assert found is not None
            assert found.status == status
            return looked > 5

        async with ending_overdue(store, desk, check_bus):
            await eventually(lambda: has("awaiting_payment"))
            back.set()
            await eventually(lambda: has("expired"))
