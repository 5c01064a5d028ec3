"""Prints the tickets that go with a receipt."""

import asyncio
from dataclasses import dataclass

from common.events import ItemKind
from common.papers import Papers, PapersQuery
from tickets.papers import pdf
from tickets.store import BookingStore, EventStore
from tickets.views import Views

LARGEST = 600_000
"""Bytes of a PDF that goes with a mail: in base64 it has to fit a message of the bus, which has 1 MB."""


@dataclass(frozen=True)
class Printer:
    """Says what there is to print for the buyer of an order."""

    bookings: BookingStore
    events: EventStore
    views: Views

    async def papers(self, query: PapersQuery) -> Papers:
        """The tickets that the buyer holds and that are not revoked. They may be issued a moment later."""
        item = await self.events.find(query.item_id)
        if item is None:
            return Papers(settled=False)
        if item["kind"] != ItemKind.EVENT:
            return Papers(settled=True)
        booking = await self.bookings.find(query.order_id)
        if booking is None or (booking.sale is None and not booking.returned):
            return Papers(settled=False)
        if booking.sale is None:
            return Papers(settled=True)
        tickets = await self.views.of([booking], booking.sale.buyer_id)
        papers = [ticket.paper for ticket in tickets if ticket.code and ticket.status != "revoked"]
        if not papers:
            return Papers(settled=True)
        printed = await asyncio.to_thread(pdf, papers, query.language)
        return Papers(settled=True, pdf=printed if len(printed) <= LARGEST else None)
