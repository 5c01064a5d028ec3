"""Calls to tickets, on behalf of a visitor. Each raises as `Api.send` does."""

from datetime import datetime

from pydantic import BaseModel, TypeAdapter

from common.http.paging import Page
from web.clients.api import Api


class Ticket(BaseModel):
    """A ticket as its buyer or its holder sees it. Only its holder has its code."""

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
    status: str
    code: str | None
    offered_to: str | None
    version: int


class Offer(BaseModel):
    """A ticket that somebody is offered, and who gives it."""

    giver: str | None
    item_id: str
    item_title: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    doors_at: datetime | None = None
    venue: str | None = None
    city: str | None = None
    timezone: str | None = None


class Gate(BaseModel):
    """A gate of an event."""

    id: str
    name: str
    opened_at: datetime
    closed_at: datetime | None


class Extra(BaseModel):
    """An admission that was one too many. Both are the same where nobody else was let in with the ticket."""

    number: str
    reason: str = "already_used"
    first_gate: str
    first_admitted_at: datetime
    second_gate: str
    second_admitted_at: datetime
    listed_at: datetime | None = None
    void_since: datetime | None = None


class Missing(BaseModel):
    """Scans of a phone that have not arrived, though later ones have."""

    device: str
    gate: str
    count: int


class Door(BaseModel):
    """An event's door."""

    gates: list[Gate]
    admitted: int
    tickets: int
    extras: list[Extra]
    missing: list[Missing] = []


class Attendee(BaseModel):
    """A ticket of an event, and who has it. Tickets knows the name of a holder who has not bought it."""

    number: str
    order_id: str
    holder_name: str | None
    bought: bool
    status: str
    first_admitted_at: datetime | None


TICKETS = TypeAdapter(list[Ticket])


async def tickets(api: Api, order_id: str | None = None) -> list[Ticket]:
    """The tickets of an order, or all that the visitor holds."""
    return TICKETS.validate_json((await api.get("tickets", order_id=order_id)).content)


async def ticket(api: Api, ticket_id: str) -> Ticket:
    """One ticket."""
    return Ticket.model_validate_json((await api.get("tickets", ticket_id)).content)


async def offer(api: Api, ticket_id: str, email: str) -> None:
    """Offer a ticket to somebody."""
    await api.send("POST", "tickets", ticket_id, "transfer", json={"email": email})


async def take_back(api: Api, ticket_id: str) -> None:
    """Take an offer back."""
    await api.send("DELETE", "tickets", ticket_id, "transfer")


async def offered(api: Api, token: str) -> Offer:
    """What the link in a mail offers."""
    return Offer.model_validate_json((await api.send("POST", "tickets", "offer", json={"token": token})).content)


async def accept(api: Api, token: str) -> Ticket:
    """Take the ticket of the link in a mail."""
    return Ticket.model_validate_json((await api.send("POST", "tickets", "accept", json={"token": token})).content)


async def door(api: Api, item_id: str) -> Door:
    """The door of one of the visitor's events."""
    return Door.model_validate_json((await api.get("tickets", "gates", item_id=item_id)).content)


async def attendees(api: Api, item_id: str, cursor: str | None, limit: int) -> Page[Attendee]:
    """The tickets of up to `limit` orders of one of the visitor's events, the newest orders first."""
    answer = await api.get("tickets", "attendees", item_id=item_id, cursor=cursor, limit=limit)
    return Page[Attendee].model_validate_json(answer.content)


async def open_gate(api: Api, item_id: str, name: str) -> str:
    """Make a gate. Returns the path of its page, with its token."""
    answer = await api.send("POST", "tickets", "gates", json={"item_id": item_id, "name": name})
    return str(answer.json()["link"])


async def close_gate(api: Api, gate_id: str) -> None:
    """Close a gate for good."""
    await api.send("DELETE", "tickets", "gates", gate_id)
