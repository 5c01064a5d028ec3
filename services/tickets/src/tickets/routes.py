"""HTTP routes of tickets, for who has bought or holds them. No rules, no queries."""

import asyncio
import secrets
from typing import Annotated

from email_validator import EmailNotValidError, validate_email
from fastapi import APIRouter, Header, Path, Query, Response
from pydantic import AfterValidator, Field, StringConstraints

from common.directory import Directory
from common.errors import Unavailable
from common.http.dependencies import Now, Provided
from common.http.paging import EXAMPLE_ID, Body
from common.http.problems import problems
from common.http.sessions import CurrentUser, User
from common.languages import preferred_language
from common.mail_tokens import MailTokens, Purpose
from tickets.attendees.routes import router as attendees
from tickets.domain import Offer, OfferIsOver, TicketNotFound, TicketNotValid, TooManyOffers, parsed_ticket_id
from tickets.door.routes import router as door
from tickets.papers import calendar, pdf, svg
from tickets.store import BookingStore, EventStore, PersonStore
from tickets.views import OfferView, TicketView, Views

router = APIRouter(prefix="/api/tickets", tags=["tickets"])
router.include_router(door)  # First: `/{ticket_id}` would match its paths.
router.include_router(attendees)

Bookings = Annotated[BookingStore, Provided(BookingStore)]
People = Annotated[PersonStore, Provided(PersonStore)]
Viewing = Annotated[Views, Provided(Views)]
Tokens = Annotated[MailTokens, Provided(MailTokens)]
TicketInPath = Annotated[str, Path(description="The ticket's id.", examples=[f"{EXAMPLE_ID}-1"])]
OrderInQuery = Annotated[str, Query(max_length=64, description="The order's id.", examples=[EXAMPLE_ID])]

Language = Annotated[
    str, Header(alias="Accept-Language", max_length=200, description="The language of dates.", examples=["de"])
]

PRIVATE = {"Cache-Control": "private, no-store"}
"""Of what shows a code."""


def _address(text: str) -> str:
    try:
        # The test environment allows .test, Souk's own names on a laptop.
        return validate_email(text, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError:
        raise ValueError("it is not an e-mail address") from None


class Transfer(Body):
    """Whom a ticket is offered to."""

    email: Annotated[
        str,
        Field(max_length=254, json_schema_extra={"format": "email"}, examples=["grace@souk.test"]),
        AfterValidator(_address),
    ]


class Acceptance(Body):
    """The token of the link in a mail."""

    token: Annotated[
        str, StringConstraints(min_length=1, max_length=200, strip_whitespace=False), Field(examples=["b3JkZXJzLW9m"])
    ]


@router.get("")
async def list_tickets(
    user: CurrentUser,
    bookings: Bookings,
    views: Viewing,
    order_id: Annotated[
        str | None, Query(max_length=64, description="Only those of this order.", examples=[EXAMPLE_ID])
    ] = None,
) -> list[TicketView]:
    """The tickets of an order: all for its buyer, to a holder their own. Without `order_id`: all that the caller holds.

    There is none for an order that is not paid, or of a thing.
    """
    if order_id is not None:
        booking = await bookings.find(order_id)
        return await views.of([booking] if booking else [], user.id)
    held = await views.of(await bookings.held_by(user.id), user.id)
    return [ticket for ticket in held if ticket.holder == user.id]


@router.get("/pdf", responses=problems(TicketNotFound))
async def print_tickets(
    order_id: OrderInQuery, user: CurrentUser, bookings: Bookings, views: Viewing, language: Language = ""
) -> Response:
    """The tickets of an order that the caller holds and that are not revoked, as a PDF to print."""
    tickets = await views.of([await bookings.get(order_id)], user.id)
    papers = [ticket.paper for ticket in tickets if ticket.code and ticket.status != "revoked"]
    if not papers:
        raise TicketNotFound("there is no such ticket")
    headers = {**PRIVATE, "Content-Disposition": f'attachment; filename="tickets-{tickets[0].number[:9]}.pdf"'}
    printed = await asyncio.to_thread(pdf, papers, preferred_language(language))
    return Response(printed, media_type="application/pdf", headers=headers)


@router.get("/{ticket_id}", responses=problems(TicketNotFound))
async def show_ticket(ticket_id: TicketInPath, user: CurrentUser, bookings: Bookings, views: Viewing) -> TicketView:
    """A ticket that the caller has bought or holds."""
    return await _seen(ticket_id, user, bookings, views)


@router.get("/{ticket_id}/qr.svg", responses=problems(TicketNotFound))
async def show_qr(ticket_id: TicketInPath, user: CurrentUser, bookings: Bookings, views: Viewing) -> Response:
    """The QR of a ticket that the caller holds."""
    ticket = await _seen(ticket_id, user, bookings, views)
    if not ticket.code:
        raise TicketNotFound("this ticket is somebody else's")
    return Response(svg(ticket.code), media_type="image/svg+xml", headers=PRIVATE)


@router.get("/{ticket_id}/calendar.ics", responses=problems(TicketNotFound))
async def show_calendar(
    ticket_id: TicketInPath, user: CurrentUser, bookings: Bookings, views: Viewing, now: Now
) -> Response:
    """The event of a ticket as an entry for a calendar (iCalendar)."""
    entry = calendar((await _seen(ticket_id, user, bookings, views)).paper, now)
    headers = {**PRIVATE, "Content-Disposition": 'attachment; filename="event.ics"'}
    return Response(entry, media_type="text/calendar", headers=headers)


@router.post("/offer", responses=problems(TicketNotFound, TicketNotValid, OfferIsOver))
async def show_offer(
    body: Acceptance,
    user: CurrentUser,  # noqa: ARG001 - an account is needed to take it, too
    bookings: Bookings,
    events: Annotated[EventStore, Provided(EventStore)],
    tokens: Tokens,
    now: Now,
) -> OfferView:
    """What somebody is offered, and by whom, for who has the link: nothing changes."""
    request_id, ticket_id = _offered(body.token, tokens)
    order_id, unit = parsed_ticket_id(ticket_id)
    booking = await bookings.get(order_id)
    offer = booking.open_offer(unit, request_id, now)
    return OfferView.of(booking, offer, await events.find(booking.sale.item_id) if booking.sale else None)


@router.post("/accept", responses=problems(TicketNotFound, TicketNotValid, OfferIsOver))
async def accept_ticket(
    body: Acceptance, user: CurrentUser, bookings: Bookings, people: People, views: Viewing, tokens: Tokens, now: Now
) -> TicketView:
    """Take the ticket that somebody has offered. Every code of it so far is dead."""
    request_id, ticket_id = _offered(body.token, tokens)
    order_id, unit = parsed_ticket_id(ticket_id)
    await people.keep(user.id, user.name)
    await bookings.change(order_id, lambda booking: booking.accept(unit, request_id, user.id, now))
    return await _seen(ticket_id, user, bookings, views)


@router.post("/{ticket_id}/transfer", responses=problems(TicketNotFound, TicketNotValid, TooManyOffers))
async def offer_ticket(
    ticket_id: TicketInPath,
    body: Transfer,
    user: CurrentUser,
    bookings: Bookings,
    views: Viewing,
    directory: Annotated[Directory, Provided(Directory)],
    now: Now,
) -> TicketView:
    """Offer a ticket that the caller holds to somebody, who gets a mail. It is the caller's until they accept."""
    order_id, unit = parsed_ticket_id(ticket_id)
    request_id = f"{ticket_id}-{secrets.token_hex(8)}"
    recipient_id = await _user_with(body.email, directory)
    offer = Offer(request_id=request_id, email=body.email, at=now, giver=user.name, recipient_id=recipient_id)
    await bookings.change(order_id, lambda booking: booking.offer(unit, user.id, offer))
    return await _seen(ticket_id, user, bookings, views)


@router.delete("/{ticket_id}/transfer", responses=problems(TicketNotFound))
async def take_ticket_back(
    ticket_id: TicketInPath, user: CurrentUser, bookings: Bookings, views: Viewing
) -> TicketView:
    """Take an offer back before it is accepted."""
    order_id, unit = parsed_ticket_id(ticket_id)
    await bookings.change(order_id, lambda booking: booking.take_back(unit, user.id))
    return await _seen(ticket_id, user, bookings, views)


def _offered(token: str, tokens: MailTokens) -> tuple[str, str]:
    """The request of the link in a mail, and its ticket."""
    if request_id := tokens.request_id(Purpose.ACCEPT_TICKET, token):
        return request_id, request_id.rpartition("-")[0]
    raise OfferIsOver("this link was not made here")


async def _user_with(email: str, directory: Directory) -> str | None:
    """Whose address it is, so that the offer ends with their account. Without auth the offer lapses by itself."""
    try:
        return await directory.user_with(email)
    except Unavailable:
        return None


async def _seen(ticket_id: str, user: User, bookings: BookingStore, views: Views) -> TicketView:
    order_id, unit = parsed_ticket_id(ticket_id)
    for ticket in await views.of([await bookings.get(order_id)], user.id):
        if ticket.id == f"{order_id}-{unit}":
            return ticket
    raise TicketNotFound("there is no such ticket")
