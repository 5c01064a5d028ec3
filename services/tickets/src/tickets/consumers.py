"""How tickets follows what is sold. No rules."""

from common.bus.consumers import Consumers, RetryLater
from common.clock import now
from common.events import (
    ItemChanged,
    ItemKind,
    ItemListed,
    ItemState,
    ItemWithdrawn,
    OrderPaid,
    OrderRefundRequested,
    PaymentRefunded,
    UserErased,
)
from tickets.domain import Sale
from tickets.store import BookingStore, EventStore, PersonStore

consumers = Consumers("tickets")

NOT_LISTED_YET = 0.5
"""Seconds after which an order is looked at again whose item is not known here yet."""


@consumers.on(ItemListed, ItemChanged, ItemWithdrawn)
async def follow_event(event: ItemState, events: EventStore) -> None:
    """Copy when and where it is."""
    await events.keep(event)


@consumers.on(OrderPaid)
async def issue_tickets(event: OrderPaid, bookings: BookingStore, events: EventStore) -> None:
    """Issue a ticket for each unit of an event, unless the money is on its way back already."""
    item = await events.find(event.item_id)
    if item is None:
        raise RetryLater(NOT_LISTED_YET)
    if item["kind"] == ItemKind.EVENT:
        await bookings.record(event.order_id, lambda booking: booking.issue(Sale.of(event)))


@consumers.on(OrderRefundRequested)
async def revoke_refunded_tickets(event: OrderRefundRequested, bookings: BookingStore) -> None:
    """The seller gives the money back: the tickets are worth nothing from now on."""
    await bookings.record(event.order_id, lambda booking: booking.give_back(event.payment_id, now()))


@consumers.on(PaymentRefunded)
async def revoke_repaid_tickets(event: PaymentRefunded, bookings: BookingStore) -> None:
    """The money is back with the buyer, for whatever reason. A payment that paid no order changes no ticket."""
    await bookings.record(event.order_id, lambda booking: booking.give_back(event.payment_id, now()))


@consumers.on(UserErased)
async def forget_holder(event: UserErased, people: PersonStore, bookings: BookingStore) -> None:
    """Somebody has deleted their account: their tickets stay, and nobody can say whose they are."""
    await people.forget(event.user_id)
    await bookings.end_offers_of(event.user_id)
