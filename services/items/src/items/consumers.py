"""How items copies the events of other services. No rules."""

from common.bus.consumers import Consumers
from common.events import StockChanged, UserRegistered
from items.store import ItemStore

consumers = Consumers("items")


@consumers.on(UserRegistered)
async def name_seller(event: UserRegistered, store: ItemStore) -> None:
    """Store the name of a possible seller, and fill it in on items that arrived before this event."""
    await store.name_seller(event.user_id, event.name)


@consumers.on(StockChanged)
async def show_stock(event: StockChanged, store: ItemStore) -> None:
    """Show how many units are left. An older event than the one shown changes nothing."""
    await store.show_stock(event)
