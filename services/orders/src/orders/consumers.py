"""How orders reacts to the events of other services. No rules."""

from contextlib import suppress
from datetime import UTC, datetime

from common.bus.consumers import Consumers, RetryLater
from common.events import (
    HoldElapsed,
    ItemChanged,
    ItemListed,
    ItemState,
    ItemWithdrawn,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentReleased,
    UserErased,
)
from orders.desk import ReservationDesk
from orders.domain import Order, OrderAlreadyPaid, OrderNotFound
from orders.store import OrderStore

consumers = Consumers("orders")


@consumers.on(ItemListed, ItemChanged, ItemWithdrawn)
async def follow_item(event: ItemState, desk: ReservationDesk) -> None:
    """Copy the seller's newest offer to the stock."""
    await desk.follow(event)


@consumers.on(HoldElapsed)
async def release_unpaid_order(event: HoldElapsed, store: OrderStore, desk: ReservationDesk) -> None:
    """The hold is over: release the units, unless the order is settled."""
    order = await _order(event.order_id, store)
    early = (order.expires_at - datetime.now(UTC)).total_seconds()
    if early > 0 and not order.is_settled:
        raise RetryLater(early)  # The clocks differ, and nothing may expire early.
    # Also for an order that looks settled: only the desk reads states that cannot be rolled back.
    await desk.expire(order.id)


@consumers.on(PaymentAuthorized)
async def accept_payment(event: PaymentAuthorized, store: OrderStore, desk: ReservationDesk) -> None:
    """Accept the payment: from now on the units are kept for it. If the hold is over, the desk decides."""
    order = await _order(event.order_id, store)
    if order.awaits_payment:
        order.accept(event.payment_id)
        await store.save(order)  # StaleWrite propagates: the bus naks and we read again.
    else:
        await desk.consider(order.id, event.payment_id)


@consumers.on(PaymentCaptured)
async def finish_paid_order(event: PaymentCaptured, store: OrderStore, desk: ReservationDesk) -> None:
    """Mark the order as paid. If its hold is over, the desk decides."""
    order = await _order(event.order_id, store)
    if order.awaits_payment or order.accepted_payment == event.payment_id:
        order.pay(event.payment_id)
        await store.save(order)
    else:
        await desk.settle(order.id, event.payment_id)


@consumers.on(PaymentFailed, PaymentReleased)
async def note_failed_payment(event: PaymentFailed | PaymentReleased, desk: ReservationDesk) -> None:
    """Store why no money moved, for the buyer to read. If the payment was accepted, the order ends."""
    await desk.payment_failed(event.order_id, event.payment_id, event.reason)


@consumers.on(PaymentRefunded)
async def finish_refund(event: PaymentRefunded, desk: ReservationDesk) -> None:
    """Mark the order as refunded. Money that went back had come, and the news of that may still be on its way."""
    await desk.settle(event.order_id, event.payment_id)
    await desk.refunded(event.order_id, event.payment_id, event.payment_version)


@consumers.on(PaymentRefundFailed)
async def note_failed_refund(event: PaymentRefundFailed, store: OrderStore, desk: ReservationDesk) -> None:
    """Store why the money is not with the buyer, who was told that it would be. The news that it came may be late."""
    await desk.settle(event.order_id, event.payment_id)
    told = event.payment_id, event.reason, event.payment_version
    await store.change(event.order_id, lambda order: order.refund_failed(*told))


@consumers.on(PaymentDisputed)
async def note_dispute(event: PaymentDisputed, store: OrderStore, desk: ReservationDesk) -> None:
    """Store who has the money. What a bank takes back had come, and the news of that may still be on its way."""
    await desk.settle(event.order_id, event.payment_id)
    told = event.payment_id, event.dispute, event.payment_version
    await store.change(event.order_id, lambda order: order.disputed(*told))


@consumers.on(UserErased)
async def forget_buyer(event: UserErased, store: OrderStore, desk: ReservationDesk) -> None:
    """Forget the name on their orders, and cancel those that they have not paid. One that is being paid goes on."""
    await store.forget_buyer(event.user_id)
    for order_id in await store.unpaid_by(event.user_id):
        with suppress(OrderAlreadyPaid):
            await desk.cancel(order_id)


async def _order(order_id: str, store: OrderStore) -> Order:
    order = await store.get(order_id)
    if order is None:
        raise OrderNotFound(f"there is no order {order_id}")
    return order
