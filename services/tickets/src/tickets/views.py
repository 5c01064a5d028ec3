"""Tickets as the people who have bought or hold them see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import BaseModel

from common.mongo.client import Document
from tickets.codes import Claim, TicketCodes
from tickets.domain import Booking, Offer, Ticket, TicketStatus, ticket_id
from tickets.papers import Paper
from tickets.store import EventStore, PersonStore


class TicketView(BaseModel):
    """A ticket. `code` is for its holder alone; `version` is that of all tickets of the order.

    `number` is that of the holder, who alone sees it: it is another one for each. To the buyer it stays what it was.

    `holder` is the id of who has it, `holder_name` how they are called: known of those whom it was transferred to.
    `offered_to` is the address that its holder has offered it to.
    """

    id: str
    number: str
    order_id: str
    item_id: str
    item_title: str
    starts_at: datetime | None
    ends_at: datetime | None
    doors_at: datetime | None
    venue: str | None
    city: str | None
    timezone: str | None
    holder: str
    holder_name: str | None
    status: TicketStatus
    generation: int
    code: str | None
    offered_to: str | None
    version: int

    @property
    def paper(self) -> Paper:
        """What stands on it, for its holder."""
        return Paper(
            ticket_id=self.id,
            number=self.number,
            title=self.item_title,
            code=self.code or "",
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            venue=self.venue,
            city=self.city,
            timezone=self.timezone,
        )


DETAILS = ("starts_at", "ends_at", "doors_at", "venue", "city", "timezone")


class OfferView(BaseModel):
    """A ticket that somebody is offered. `giver` is how its holder was called when they offered it."""

    giver: str | None
    item_id: str
    item_title: str
    starts_at: datetime | None
    ends_at: datetime | None
    doors_at: datetime | None
    venue: str | None
    city: str | None
    timezone: str | None

    @classmethod
    def of(cls, booking: Booking, offer: Offer, event: Document | None) -> Self:
        """The view of an offer."""
        assert booking.sale is not None  # noqa: S101 - only a sale has tickets
        known = event or {}
        details = {name: known.get(name) for name in DETAILS}
        title = known.get("title", booking.sale.item_title)
        return cls(giver=offer.giver, item_id=booking.sale.item_id, item_title=title, **details)


@dataclass(frozen=True)
class Views:
    """Makes the views: an order's tickets, what items says of their event, who has them, and their codes."""

    events: EventStore
    people: PersonStore
    codes: TicketCodes

    async def of(self, bookings: Sequence[Booking], user_id: str) -> list[TicketView]:
        """The tickets that a user may see."""
        seen = [(booking, ticket) for booking in bookings for ticket in booking.seen_by(user_id)]
        events = await self.events.of([booking.sale.item_id for booking, _ in seen if booking.sale])
        names = await self.people.names([ticket.holder_id for _, ticket in seen])
        return [self._view(booking, ticket, user_id, events, names) for booking, ticket in seen]

    def _view(
        self,
        booking: Booking,
        ticket: Ticket,
        user_id: str,
        events: dict[str, dict[str, object]],
        names: dict[str, str],
    ) -> TicketView:
        assert booking.sale is not None  # noqa: S101 - only a sale has tickets
        event = events.get(booking.sale.item_id, {})
        own = ticket.holder_id == user_id
        claim = Claim(booking.id, ticket.unit, booking.sale.item_id, ticket.generation)
        return TicketView.model_validate(
            {
                "id": ticket_id(booking.id, ticket.unit),
                "number": booking.number_of(ticket, None if own else 1),
                "order_id": booking.id,
                "item_id": booking.sale.item_id,
                "item_title": event.get("title", booking.sale.item_title),
                **{name: event.get(name) for name in DETAILS},
                "holder": ticket.holder_id,
                "holder_name": names.get(ticket.holder_id),
                "status": booking.status_of(ticket),
                "generation": ticket.generation,
                "code": self.codes.code(claim) if own else None,
                "offered_to": ticket.offer.email if own and ticket.offer else None,
                "version": booking.version,
            }
        )
