"""What items copies of other services' facts."""

from common.bus.consumers import Consumers
from common.events import StockChanged, UserRegistered
from items.store import ItemStore

consumers = Consumers("items")


@consumers.on(UserRegistered)
async def name_seller(event: UserRegistered, store: ItemStore) -> None:
    """Whoever signs up may sell: remember the name, and put it on items that were faster than this event."""
    await store.name_seller(event.user_id, event.name)


@consumers.on(StockChanged)
async def show_stock(event: StockChanged, store: ItemStore) -> None:
    """Show how many are left; what is older than what is shown already changes nothing."""
    await store.show_stock(event)
