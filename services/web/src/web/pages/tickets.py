"""Tickets, for who holds them; the door of an event, for its seller; a gate, for who scans there."""

import re
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator

from common.errors import NotFound
from common.http.dependencies import Provided
from common.http.paging import KnownId
from web.clients import tickets as tickets_api
from web.clients.api import Refused
from web.pages.forms import Form, errors_of
from web.pages.visitor import CurrentVisitor, Visitor
from web.rendering.assets import Assets
from web.rendering.i18n import N_
from web.security.headers import HEADERS

router = APIRouter()

STATUS = {"valid": N_("Valid"), "used": N_("Used"), "revoked": N_("Refunded")}
"""The status of a ticket in words."""

NEW_GATE = "new_gate"
"""The cookie that brings the link of a new gate to the page that shows it."""

NEW_GATE_SECONDS = 60

_TICKET = re.compile(r"[0-9a-f]{32}-[1-9][0-9]{0,5}")
_GATE = re.compile("[0-9a-f]{64}")


def _could_be_ticket(identifier: str) -> str:
    if _TICKET.fullmatch(identifier):
        return identifier
    raise NotFound("there is nothing with this id")


def _could_be_gate(identifier: str) -> str:
    if _GATE.fullmatch(identifier):
        return identifier
    raise NotFound("there is nothing with this id")


TicketId = Annotated[str, AfterValidator(_could_be_ticket)]
GateId = Annotated[str, AfterValidator(_could_be_gate)]
LinkToken = Annotated[str, Query(max_length=200)]


@router.get("/my/tickets")
async def my_tickets(visitor: CurrentVisitor) -> Response:
    """The tickets that the visitor holds."""
    visitor.require_user()
    found = await tickets_api.tickets(visitor.api)
    return visitor.render("my_tickets.html", tickets=found, ticket_status=STATUS)


@router.get("/tickets/accept")
async def accept_page(visitor: CurrentVisitor, token: LinkToken = "") -> Response:
    """What is offered, and one button, so that a program which opens the links in mails does not use them up."""
    visitor.require_user()
    try:
        offer = await tickets_api.offered(visitor.api, token)
    except Refused as refused:
        return _not_accepted(visitor, refused)
    return visitor.render("accept_ticket.html", link_token=token, offer=offer, error="")


@router.post("/tickets/accept")
async def accept(visitor: CurrentVisitor, form: Form) -> Response:
    """The ticket is the visitor's."""
    visitor.require_user()
    token = form.text("token")
    try:
        ticket = await tickets_api.accept(visitor.api, token)
    except Refused as refused:
        return _not_accepted(visitor, refused)
    return visitor.redirect(f"/tickets/{ticket.id}?note=accepted_ticket")


@router.get("/tickets/{ticket_id}")
async def show_ticket(ticket_id: TicketId, visitor: CurrentVisitor) -> Response:
    """A ticket, to show at the door or to print."""
    visitor.require_user()
    return await _ticket_page(visitor, ticket_id)


@router.post("/tickets/{ticket_id}/transfer")
async def offer(ticket_id: TicketId, visitor: CurrentVisitor, form: Form) -> Response:
    """Offer a ticket to somebody."""
    visitor.require_user()
    _ = visitor.i18n.gettext
    try:
        await tickets_api.offer(visitor.api, ticket_id, form.text("email"))
    except Refused as refused:
        if refused.reason == "too_many_offers":
            errors = {"email": _("You have offered this ticket too often.")}
        elif refused.reason == "ticket_not_valid":
            errors = {"email": _("This ticket was used or refunded.")}
        else:
            errors = errors_of(refused, {"email": _("Enter an e-mail address.")})
        return await _ticket_page(visitor, ticket_id, refused.status, errors, form.text("email"))
    return visitor.redirect(f"/tickets/{ticket_id}")


@router.post("/tickets/{ticket_id}/take-back")
async def take_back(ticket_id: TicketId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Take an offer back."""
    visitor.require_user()
    await tickets_api.take_back(visitor.api, ticket_id)
    return visitor.redirect(f"/tickets/{ticket_id}")


@router.get("/items/{item_id}/door")
async def show_door(item_id: KnownId, visitor: CurrentVisitor) -> Response:
    """The gates of one of the visitor's events, and the link of a gate that was just made: once."""
    visitor.require_user()
    made = visitor.unseal("gate", visitor.request.cookies.get(NEW_GATE, ""))
    page = await _door_page(visitor, item_id, link=made[0] if made else "")
    if made:
        page.delete_cookie(NEW_GATE, path=f"/items/{item_id}/door")
    return page


@router.post("/items/{item_id}/door/gates")
async def open_gate(item_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Make a gate. Its link is on the page that follows, and nowhere else later.

    It goes there in a cookie: addresses are kept in histories and logs.
    """
    visitor.require_user()
    try:
        link = await tickets_api.open_gate(visitor.api, item_id, form.text("name"))
    except Refused as refused:
        texts = {"name": visitor.i18n.gettext("Enter a name of up to 80 characters.")}
        return await _door_page(visitor, item_id, refused.status, errors=errors_of(refused, texts))
    door = f"/items/{item_id}/door"
    answer, secure = visitor.redirect(door), visitor.settings.cookie_secure
    sealed = visitor.seal("gate", [link])
    answer.set_cookie(NEW_GATE, sealed, NEW_GATE_SECONDS, path=door, httponly=True, samesite="lax", secure=secure)
    return answer


@router.post("/items/{item_id}/door/gates/{gate_id}/close")
async def close_gate(item_id: KnownId, gate_id: GateId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001
    """Close a gate."""
    visitor.require_user()
    await tickets_api.close_gate(visitor.api, gate_id)
    return visitor.redirect(f"/items/{item_id}/door")


@router.get("/gate")
async def gate(visitor: CurrentVisitor) -> Response:
    """A gate, for who has its link. The token is after the #, so it reaches neither this service nor a log."""
    page = visitor.render("gate.html")
    page.headers["Permissions-Policy"] = HEADERS["Permissions-Policy"].replace("camera=()", "camera=(self)")
    return page


@router.get("/gate-worker.js", response_class=Response)
async def gate_worker(assets: Annotated[Assets, Provided(Assets)]) -> Response:
    """The script that keeps the page of a gate for when there is no network. Its address is the same for ever."""
    script = assets.named("gate-worker.js")
    return Response(script.plain, media_type=script.media_type, headers={"Cache-Control": "no-cache"})


def _not_accepted(visitor: Visitor, refused: Refused) -> Response:
    error = visitor.i18n.gettext("This ticket was taken back, accepted already or used, or the link is too old.")
    return visitor.render("accept_ticket.html", refused.status, error=error)


async def _ticket_page(
    visitor: Visitor, ticket_id: str, status: int = 200, errors: dict[str, str] | None = None, email: str = ""
) -> Response:
    ticket = await tickets_api.ticket(visitor.api, ticket_id)
    typed = {"email": email}
    return visitor.render("ticket.html", status, ticket=ticket, ticket_status=STATUS, errors=errors or {}, typed=typed)


async def _door_page(
    visitor: Visitor, item_id: str, status: int = 200, link: str = "", errors: dict[str, str] | None = None
) -> Response:
    item, door = await visitor.api.item(item_id), await tickets_api.door(visitor.api, item_id)
    return visitor.render("door.html", status, item=item, door=door, link=link, errors=errors or {}, typed={"name": ""})
