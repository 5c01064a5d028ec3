"""The orders' events move the deadlines. In any order: a deadline too many is an event that orders ignores."""

from common.bus.consumers import Consumers
from common.events import OrderCancelled, OrderPaid, OrderPlaced
from expiration.deadlines import Deadlines

consumers = Consumers("expiration")


@consumers.on(OrderPlaced)
async def start_the_clock(event: OrderPlaced, deadlines: Deadlines) -> None:
    """A hold begins."""
    await deadlines.add(event.order_id, event.expires_at)


@consumers.on(OrderCancelled, OrderPaid)
async def stop_the_clock(event: OrderCancelled | OrderPaid, deadlines: Deadlines) -> None:
    """The hold is settled. Should this overtake the placing, the clock runs out on a settled order: no harm."""
    await deadlines.drop(event.order_id)
