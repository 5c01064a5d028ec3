"""How items copies the events of other services. No rules."""

from common.bus.consumers import Consumers
from common.directory import Directory
from common.events import StockChanged, UserErased, UserRegistered
from items.favourites.store import FavouriteStore
from items.store import ItemStore

consumers = Consumers("items")


@consumers.on(UserRegistered)
async def name_seller(event: UserRegistered, store: ItemStore, directory: Directory) -> None:
    """Store the name of a possible seller, and fill it in on items that arrived before this event."""
    if name := event.name or await directory.name(event.user_id):
        await store.name_seller(event.user_id, name)


@consumers.on(UserErased)
async def forget_seller(event: UserErased, store: ItemStore, favourites: FavouriteStore) -> None:
    """Withdraw what they sell, and forget their name and what they keep, whatever comes later."""
    await store.forget_seller(event.user_id)
    await favourites.forget(event.user_id)


@consumers.on(StockChanged)
async def show_stock(event: StockChanged, store: ItemStore) -> None:
    """Show how many units are left. An older event than the one shown changes nothing."""
    await store.show_stock(event)
