"""Who comes to an event, for its seller: a list, and a file for spreadsheets."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from common.http.paging import KnownId
from common.order_numbers import readable_number
from web.clients import sales, tickets
from web.clients.api import PAGE_SIZE, Api
from web.clients.tickets import Attendee
from web.pages.tickets import STATUS
from web.pages.visitor import CurrentVisitor
from web.rendering.i18n import I18n
from web.rendering.spreadsheet import BOM, row

router = APIRouter(prefix="/items/{item_id}")

ORDERS = 100
"""Orders whose tickets are asked for at a time when they are written to a file."""


@dataclass(frozen=True)
class Guests:
    """A page of the list: each ticket with the name of who has it, empty if that is not known."""

    rows: list[tuple[Attendee, str]]
    next: str | None


@router.get("/attendees")
async def attendee_list(item_id: KnownId, visitor: CurrentVisitor, cursor: str | None = None) -> Response:
    """The tickets of one of the visitor's events, and who has them."""
    visitor.require_user()
    guests = await _guests(visitor.api, item_id, cursor or None, PAGE_SIZE)
    item = await visitor.api.item(item_id)
    return visitor.render("attendees.html", item=item, guests=guests, first=not cursor, ticket_status=STATUS)


@router.get("/attendees.csv")
async def attendee_file(item_id: KnownId, visitor: CurrentVisitor) -> Response:
    """The whole list as CSV. A file that breaks off is not complete."""
    visitor.require_user()
    first = await _guests(visitor.api, item_id, None, ORDERS)  # Who cannot answer says so in time.
    headers = {"Content-Disposition": 'attachment; filename="attendees.csv"', "Cache-Control": "no-store"}
    return StreamingResponse(
        _written(visitor.api, item_id, first, visitor.i18n), media_type="text/csv; charset=utf-8", headers=headers
    )


async def _written(api: Api, item_id: str, guests: Guests, i18n: I18n) -> AsyncIterator[str]:
    _ = i18n.gettext
    yield BOM + row((_("Ticket"), _("Name"), _("Status"), _("Admitted at"), _("Order")))
    while True:
        yield "".join(row(_cells(ticket, name, i18n)) for ticket, name in guests.rows)
        if not guests.next:
            return
        guests = await _guests(api, item_id, guests.next, ORDERS)


def _cells(ticket: Attendee, name: str, i18n: I18n) -> tuple[object, ...]:
    at = ticket.first_admitted_at.isoformat(timespec="seconds") if ticket.first_admitted_at else ""
    return ticket.number, name, i18n.gettext(STATUS[ticket.status]), at, readable_number(ticket.order_id)


async def _guests(api: Api, item_id: str, cursor: str | None, limit: int) -> Guests:
    """The tickets of up to `limit` orders. Tickets names whom one was transferred to, orders who has bought one."""
    found = await tickets.attendees(api, item_id, cursor, limit)
    bought = [ticket.order_id for ticket in found.items if ticket.bought]
    names = await sales.buyers(api, item_id, cursor, min(bought)) if bought else {}
    named = [(t, (names.get(t.order_id) if t.bought else t.holder_name) or "") for t in found.items]
    return Guests(named, found.next)
