"""The attendee list of an event: who holds its tickets. No rules, no queries."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel

from common.http.dependencies import Provided
from common.http.paging import EXAMPLE_ID, Cursor, Limit, Page, page_of
from common.http.problems import problems
from common.http.sessions import OPERATOR, CurrentSession, PasskeyNeeded, ProofNeeded, Sessions
from tickets.domain import Booking, EventNotFound, Ticket, TicketStatus
from tickets.door.domain import NotSeller
from tickets.store import BookingStore, EventStore, PersonStore

router = APIRouter()


class Attendee(BaseModel):
    """A ticket and who has it, for the seller. `holder_name` is known of those whom it was transferred to.

    `bought`: its holder has bought it, so orders knows their name. `first_admitted_at` is when it let somebody in.
    """

    number: str
    order_id: str
    holder: str
    holder_name: str | None
    bought: bool
    status: TicketStatus
    first_admitted_at: datetime | None

    @classmethod
    def of(cls, booking: Booking, ticket: Ticket, names: Mapping[str, str]) -> Self:
        """The view of one ticket of an order."""
        return cls(
            number=booking.number_of(ticket),
            order_id=booking.id,
            holder=ticket.holder_id,
            holder_name=names.get(ticket.holder_id),
            bought=booking.sale is not None and booking.sale.buyer_id == ticket.holder_id,
            status=booking.status_of(ticket),
            first_admitted_at=ticket.admissions[0].at if ticket.admissions else None,
        )


@router.get("/attendees", responses=problems(EventNotFound, NotSeller, PasskeyNeeded, ProofNeeded))
async def list_attendees(
    item_id: Annotated[str, Query(max_length=64, description="The event's id, as an item.", examples=[EXAMPLE_ID])],
    session: CurrentSession,
    sessions: Annotated[Sessions, Provided(Sessions)],
    events: Annotated[EventStore, Provided(EventStore)],
    bookings: Annotated[BookingStore, Provided(BookingStore)],
    people: Annotated[PersonStore, Provided(PersonStore)],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[Attendee]:
    """For the seller of an event, and operators: its tickets that are valid or used, those of the newest orders first.

    A page has all tickets of up to `limit` orders. Its cursor is an order's id.
    """
    event = await events.event(item_id)
    if event["seller_id"] != session.user.id:
        if OPERATOR not in session.user.roles:
            raise NotSeller("this is another seller's event")
        sessions.check_operator(session)
    page = await page_of(
        lambda most: bookings.attending(item_id, most, cursor), limit, lambda booking: booking, lambda b: b.id
    )
    names = await people.names([ticket.holder_id for booking in page.items for ticket in booking.tickets])
    attendees = [Attendee.of(booking, ticket, names) for booking in page.items for ticket in booking.tickets]
    return Page(items=attendees, next=page.next)
