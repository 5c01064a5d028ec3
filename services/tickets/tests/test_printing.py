"""The tickets that go with a receipt, as tickets hands them to who mails it."""

import io

from pypdf import PdfReader

from common.bus.connection import Bus
from common.events import ItemKind
from common.ids import new_id
from common.papers import papers_of
from tests.support.sessions import person

from .conftest import Venue


async def test_a_buyer_is_mailed_the_tickets_that_they_hold(venue: Venue, bus_url: str) -> None:
    await venue.events.deliver(venue.item(title="Žižková živě"))
    order, unpaid = venue.paid(3), venue.paid()
    await venue.events.deliver(order)
    given, *kept = await venue.tickets(order.order_id)
    await venue.call("POST", f"/{given['id']}/transfer", venue.buyer, json={"email": "cleo@souk.test"})
    await venue.call("POST", "/accept", person("Cleo"), json={"token": await venue.link_token()})

    async with Bus.connected(bus_url, "notifications") as bus:
        papers = await papers_of(bus, order.order_id, venue.item_id, "de")
        assert papers.pdf is not None
        pages = [page.extract_text() for page in PdfReader(io.BytesIO(papers.pdf)).pages]
        assert [ticket["number"] in page for ticket, page in zip(kept, pages, strict=True)] == [True, True]
        assert all("Samstag, 1. Mai 2027, 20:00" in page for page in pages)
        assert all("Žižková živě" in page for page in pages)

        await venue.events.deliver(venue.refund_of(order))
        assert (await papers_of(bus, order.order_id, venue.item_id, "de")).model_dump() == {
            "settled": True,
            "pdf": None,
        }
        assert not (await papers_of(bus, unpaid.order_id, venue.item_id, "de")).settled
        assert not (await papers_of(bus, unpaid.order_id, new_id(), "de")).settled


async def test_a_thing_has_no_tickets(venue: Venue, bus_url: str) -> None:
    await venue.events.deliver(venue.item(kind=ItemKind.THING))
    async with Bus.connected(bus_url, "notifications") as bus:
        papers = await papers_of(bus, new_id(), venue.item_id, "en")
    assert (papers.settled, papers.pdf) == (True, None)
