"""The address that a ticket is offered to is in no event, and is forgotten with the offer."""

from datetime import UTC, datetime, timedelta

import pytest

from common.bus.connection import Bus
from common.directory import IDS, Directory, Owner, answering
from common.events import TicketTransferOffered, UserErased
from tests.support.sessions import person
from tests.support.waiting import eventually

from .conftest import Venue

EMAIL = "cleo@souk.test"


async def offered(venue: Venue, number: int = 1) -> str:
    """A new ticket that is offered to Cleo: the id of the ticket."""
    [ticket] = await venue.sold()
    answer = await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json={"email": EMAIL})
    assert answer.json()["offered_to"] == EMAIL
    await venue.events.published(TicketTransferOffered, number)
    return str(ticket["id"])


async def kept(venue: Venue) -> bool:
    """Whether the address is anywhere in the database."""
    return EMAIL in str(await venue.db.bookings.find().to_list())


async def test_no_event_has_the_address_and_who_mails_it_is_told_on_request(venue: Venue, bus_url: str) -> None:
    await offered(venue)
    [event] = await venue.events.published(TicketTransferOffered)

    assert EMAIL not in event.model_dump_json()
    async with Bus.connected(bus_url, "notifications") as bus:
        directory = Directory(bus)
        assert await directory.recipient(event.request_id) == EMAIL
        for unknown in (event.request_id[:-1], "", "x-1-y", f"{event.order_id}-2-{'0' * 16}"):
            assert await directory.recipient(unknown) is None


@pytest.mark.parametrize("end", ["taken", "taken back", "used", "refunded", "erased"])
async def test_an_offer_that_is_over_forgets_the_address(venue: Venue, end: str) -> None:
    ticket_id = await offered(venue)
    token = await venue.link_token()
    assert await kept(venue)

    match end:
        case "taken":
            assert (await venue.call("POST", "/accept", person("Cleo"), json={"token": token})).status_code == 200
        case "taken back":
            await venue.call("DELETE", f"/{ticket_id}/transfer", venue.buyer)
        case "used":
            [ticket] = await venue.tickets()
            assert (await venue.scan(ticket["code"], await venue.gate()))["result"] == "admitted"
        case "refunded":
            order = (await venue.db.bookings.find_one({}) or {})["sale"]
            paid = venue.paid(order_id=ticket_id.partition("-")[0], payment_id=order["payment_id"])
            await venue.events.deliver(venue.refund_of(paid))
        case "erased":
            await venue.events.deliver(UserErased(user_id=venue.buyer.id, account_version=2))
            late = await venue.call("POST", "/accept", person("Cleo"), json={"token": token})
            assert (late.status_code, late.json()["code"]) == (409, "offer_is_over")

    assert not await kept(venue)


async def test_an_offer_to_somebody_who_deletes_their_account_is_over(venue: Venue, bus_url: str) -> None:
    cleo = person("Cleo")

    async def owners(emails: list[str]) -> dict[str, Owner]:
        return {email: Owner(user_id=cleo.id) for email in emails}

    async with Bus.connected(bus_url, "auth") as bus, answering(bus, {IDS: owners}):
        await offered(venue)
    assert await kept(venue)

    await venue.events.deliver(UserErased(user_id=person("Bo").id, account_version=2))
    assert await kept(venue)
    await venue.events.deliver(UserErased(user_id=cleo.id, account_version=2))

    assert not await kept(venue)


async def test_an_offer_that_nobody_accepts_lapses(venue: Venue) -> None:
    await offered(venue)
    open_one = await offered(venue, 2)
    long_ago, over = datetime.now(UTC) - timedelta(days=7, minutes=1), datetime.now(UTC) - timedelta(minutes=1)
    change = {"$set": {"tickets.0.offer.at": long_ago, "lapses_at": over}}
    lapsed = await venue.db.bookings.find_one_and_update({"_id": {"$ne": open_one.partition("-")[0]}}, change) or {}

    async def forgotten() -> bool:
        booking = await venue.db.bookings.find_one({"_id": lapsed["_id"]}) or {}
        return booking["tickets"][0]["offer"] is None and booking.get("lapses_at") is None

    await eventually(forgotten, why="the address is forgotten")
    assert await kept(venue)  # That of the open one.
