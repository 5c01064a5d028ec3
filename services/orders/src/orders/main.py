"""Orders: builds its parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from common.bus.connection import Bus
from common.events import ItemListed
from common.http.app import Running, create_app, serve
from common.live_sessions import live_sessions
from common.metrics import sampled
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.settings import load
from orders.consumers import consumers
from orders.desk import ReservationDesk
from orders.overdue import ending_overdue
from orders.records import records
from orders.routes import router
from orders.sales import Sales
from orders.settings import OrdersSettings
from orders.store import OrderStore
from orders.units import UnitCounter


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything orders needs, for as long as it runs."""
    settings = load(OrdersSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "orders", away=AWAY) as bus,
        live_sessions(bus, settings) as sessions,
        Relay.running(bus, db.orders, db.stock) as relay,
    ):
        store = OrderStore(db, relay)
        await store.prepare()
        desk = ReservationDesk(store, settings.hold_limits, bus.missed(ItemListed))
        parts = [settings, store, Sales(db), desk, sessions, UnitCounter(db)]
        async with (
            records.answering(bus, parts),
            bus.consuming(consumers, parts),
            sampled(store.count_holds),
            ending_overdue(store, desk, bus.check),
        ):
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("orders", router, start, away=AWAY)

if __name__ == "__main__":
    serve(app, OrdersSettings, "orders")
