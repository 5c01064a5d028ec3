"""The copies of other services' facts, compared with the streams: `python -m items.projections items.available`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from common.bus.connection import COMMAND_PATIENCE, Bus
from common.directory import Directory
from common.events import StockChanged, UserErased, UserRegistered
from common.mongo.client import AWAY, database
from common.projections import Difference, Projection, State, main
from common.settings import load
from items.settings import ItemsSettings
from items.store import ProjectionStore


class Sellers(Projection):
    """The names of the registered users, which auth says; None for those who have deleted their account."""

    name = "items.sellers"

    def __init__(self, bus: Bus, store: ProjectionStore) -> None:
        self._bus = bus
        self._store = store
        self._directory = Directory(bus)

    async def expected(self) -> dict[str, State]:
        names = {event.user_id: event.name async for event in self._bus.stored_events(UserRegistered)}
        erased = {event.user_id: None async for event in self._bus.stored_events(UserErased)}
        unnamed = [key for key, name in names.items() if name is None and key not in erased]
        return {key: {"name": name} for key, name in (names | await self._directory.names(unnamed) | erased).items()}

    async def found(self) -> dict[str, State]:
        return {key: {"name": name} for key, name in (await self._store.seller_names()).items()}

    async def repair(self, differences: Sequence[Difference]) -> None:
        """A name never changes, so the name that was found is the guard of the write."""
        for difference in differences:
            if difference.expected is None:
                await self._store.remove_seller(difference.key, difference.found or {})
            elif difference.expected["name"] is None:
                await self._store.forget_seller(difference.key)
            else:
                await self._store.name_seller(difference.key, difference.expected["name"], difference.found)


class Available(Projection):
    """The available units of each item, and the version that orders sells by, according to its stock events."""

    name = "items.available"

    def __init__(self, bus: Bus, store: ProjectionStore) -> None:
        self._bus = bus
        self._store = store

    async def expected(self) -> dict[str, State]:
        newest: dict[str, StockChanged] = {}
        followed: dict[str, int] = {}
        async for event in self._bus.stored_events(StockChanged):
            if event.item_id not in newest or newest[event.item_id].stock_version < event.stock_version:
                newest[event.item_id] = event
            followed[event.item_id] = max(followed.get(event.item_id, 0), event.item_version or 0)
        return {
            key: {
                "available": event.available,
                "stock_version": event.stock_version,
                "followed_version": followed[key],
            }
            for key, event in newest.items()
        }

    async def found(self) -> dict[str, State]:
        """Leaves out items without a stock event: they show their own quantity."""
        return dict(await self._store.available())

    async def repair(self, differences: Sequence[Difference]) -> None:
        for difference in differences:
            if difference.expected is not None:
                await self._store.show_available(difference.key, difference.found, difference.expected)


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Projection]]:
    """The projections, and what they need."""
    settings = load(ItemsSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "items", away=AWAY, within=COMMAND_PATIENCE) as bus,
    ):
        store = ProjectionStore(db)
        yield [Sellers(bus, store), Available(bus, store)]


if __name__ == "__main__":
    raise SystemExit(main(opened, AWAY))
