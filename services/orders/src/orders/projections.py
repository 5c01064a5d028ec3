"""The stock, compared with the streams and the orders: `python -m orders.projections orders.stock --swap`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from common.bus.connection import COMMAND_PATIENCE, Bus
from common.events import ItemChanged, ItemListed, ItemState, ItemWithdrawn, StockChanged
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.projections import Difference, Projection, State, main
from common.settings import load
from orders.settings import OrdersSettings
from orders.stock import Stock
from orders.store import OrderStore


class Stocks(Projection):
    """The newest offer of each item, and as many units taken as its orders have.

    The offer comes from the stream; the orders are in the same database and every change of theirs is in one
    transaction with the stock, so they are what its units are counted by: the difference must be zero at any moment.
    """

    name = "orders.stock"

    def __init__(self, bus: Bus, store: OrderStore) -> None:
        self._bus = bus
        self._store = store
        self._offers: dict[str, ItemState] = {}
        self._published: dict[str, int] = {}

    async def expected(self) -> dict[str, State]:
        async for item in self._bus.stored_events(ItemListed, ItemChanged, ItemWithdrawn):
            known = self._offers.get(item.item_id)
            if known is None or known.item_version < item.item_version:
                self._offers[item.item_id] = item
        async for event in self._bus.stored_events(StockChanged):
            self._published[event.item_id] = max(event.stock_version, self._published.get(event.item_id, 0))
        exact = {"units_too_many": 0, "versions_behind": 0}
        return {key: {**Stock.open(item).offer(), **exact} for key, item in self._offers.items()}

    async def found(self) -> dict[str, State]:
        return {
            stock.id: {
                **stock.offer(),
                "units_too_many": stock.taken - live,
                "versions_behind": max(0, self._published.get(stock.id, 0) - stock.version),
            }
            async for stock, live in self._store.stock_and_units()
        }

    async def repair(self, differences: Sequence[Difference]) -> None:
        """Stock of an item that was never listed stays: no order can be for it."""
        for difference in differences:
            if item := self._offers.get(difference.key):
                await self._store.restate(item, self._published.get(difference.key, 0))


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Projection]]:
    """The projections, and what they need."""
    settings = load(OrdersSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "orders", away=AWAY, within=COMMAND_PATIENCE) as bus,
        Relay.running(bus, db.orders, db.stock) as relay,
    ):
        yield [Stocks(bus, OrderStore(db, relay))]


if __name__ == "__main__":
    raise SystemExit(main(opened, AWAY))
