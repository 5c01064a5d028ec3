"""What items copies from others, compared with the streams: `python -m items.projections items.available --swap`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from pymongo.errors import DuplicateKeyError

from common.bus.connection import Bus
from common.events import StockChanged, UserRegistered
from common.mongo.client import AWAY, Database, database
from common.projections import Difference, Projection, State, main
from common.settings import load
from items.settings import ItemsSettings


class Sellers(Projection):
    """The names of who has signed up."""

    name = "items.sellers"

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._db = db

    async def expected(self) -> dict[str, State]:
        return {event.user_id: {"name": event.name} async for event in self._bus.stored_events(UserRegistered)}

    async def found(self) -> dict[str, State]:
        return {d["_id"]: {"name": d.get("name")} async for d in self._db.sellers.find({})}

    async def repair(self, differences: Sequence[Difference]) -> None:
        """A name never changes, so what was found is its own guard."""
        for difference in differences:
            key, found = difference.key, difference.found
            if difference.expected is None:
                await self._db.sellers.delete_one({"_id": key, **(found or {})})
                continue
            name = difference.expected["name"]
            with suppress(DuplicateKeyError):  # It came meanwhile.
                await self._db.sellers.update_one(
                    {"_id": key, **(found or {"name": name})}, {"$set": {"name": name}}, upsert=found is None
                )
            await self._db.items.update_many({"seller_id": key}, {"$set": {"seller_name": name}})


class Available(Projection):
    """What is left of each item, as orders said last."""

    name = "items.available"

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._items = db.items

    async def expected(self) -> dict[str, State]:
        newest: dict[str, State] = {}
        async for event in self._bus.stored_events(StockChanged):
            if event.item_id not in newest or newest[event.item_id]["stock_version"] < event.stock_version:
                newest[event.item_id] = {"available": event.available, "stock_version": event.stock_version}
        return newest

    async def found(self) -> dict[str, State]:
        """Items that no stock was told of yet show their own quantity and are none of this."""
        told_of = self._items.find({"stock_version": {"$ne": 0}}, {"available": 1, "stock_version": 1})
        return {d.pop("_id"): d async for d in told_of}

    async def repair(self, differences: Sequence[Difference]) -> None:
        for difference in differences:
            seen = difference.found or {"stock_version": 0}
            if difference.expected is not None:
                await self._items.update_one({"_id": difference.key, **seen}, {"$set": dict(difference.expected)})


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Projection]]:
    """The projections, and what they need."""
    settings = load(ItemsSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.connected(settings.nats_url.get_secret_value(), "items", replicas=settings.nats_replicas, away=AWAY) as bus,
    ):
        yield [Sellers(bus, db), Available(bus, db)]


if __name__ == "__main__":
    raise SystemExit(main(opened, AWAY))
