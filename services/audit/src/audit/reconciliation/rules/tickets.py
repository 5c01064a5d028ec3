"""The rule of tickets. No I/O."""

from collections.abc import Iterator, Sequence

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.records import BookingRecord, OrderRecord, OrderStatus
from common.events import Event, ItemKind, ItemState


def check_tickets(order: OrderRecord, item: Sequence[Event], booking: BookingRecord | None) -> Iterator[Finding]:
    """A paid order of an event has a ticket that is not revoked for each unit; any other order has none.

    `item` are the events of its item: without any, it is not known whether it is an event.
    """
    is_event = any(event.kind is ItemKind.EVENT for event in item if isinstance(event, ItemState))
    paid = order.status is OrderStatus.PAID and not order.refund_requested
    wanted = list(range(1, order.quantity + 1)) if paid and is_event else []
    found = booking.live_units if booking else []
    if found != wanted:
        yield Finding(
            rule=Rule.TICKETS_MATCH,
            subject={"order": order.id},
            expected=f"{len(wanted)} tickets, as the order of version {order.version} is {order.status}",
            found=f"{len(found)}: {', '.join(map(str, found))}",
        )
