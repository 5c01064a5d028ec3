"""The events of orders add and remove deadlines, in any order: orders ignores the end of a settled hold."""

from common.bus.consumers import Consumers
from common.events import OrderCancelled, OrderPaid, OrderPlaced
from expiration.deadlines import Deadlines

consumers = Consumers("expiration")


@consumers.on(OrderPlaced)
async def start_the_clock(event: OrderPlaced, deadlines: Deadlines) -> None:
    """A hold starts."""
    await deadlines.add(event.order_id, event.expires_at)


@consumers.on(OrderCancelled, OrderPaid)
async def stop_the_clock(event: OrderCancelled | OrderPaid, deadlines: Deadlines) -> None:
    """The hold is settled. If this overtakes `OrderPlaced`, the deadline stays, and orders ignores its end."""
    await deadlines.drop(event.order_id)
