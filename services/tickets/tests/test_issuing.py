"""Which tickets there are: one for each paid unit of an event, whatever comes twice or out of order."""

import asyncio

from common.events import ItemKind, PaymentRefunded, TicketsIssued, TicketsRevoked
from common.ids import new_id
from tests.support.sessions import person

from .conftest import Venue


async def test_a_paid_order_has_a_ticket_for_each_unit(venue: Venue) -> None:
    first, second = await venue.sold(2)

    assert {name: first[name] for name in ("item_title", "venue", "city", "starts_at", "status", "generation")} == {
        "item_title": "A concert",
        "venue": "The opera",
        "city": "Zürich",
        "starts_at": "2027-05-01T18:00:00Z",
        "status": "valid",
        "generation": 1,
    }
    assert (first["holder"], second["holder"]) == (venue.buyer.id, venue.buyer.id)
    assert first["number"][:-1] == second["number"][:-1]
    assert (first["number"][-2:], second["number"][-2:]) == ("-1", "-2")
    assert first["code"] != second["code"]
    [issued] = await venue.events.published(TicketsIssued)
    assert (issued.order_id, issued.quantity, issued.buyer_id) == (first["order_id"], 2, venue.buyer.id)


async def test_tickets_are_issued_once_however_often_the_payment_is_told(venue: Venue) -> None:
    await venue.events.deliver(venue.item())
    order = venue.paid(3)

    await venue.events.deliver(order)
    before = await venue.tickets(order.order_id)
    await asyncio.gather(*(venue.events.deliver(order) for _ in range(5)))

    assert await venue.tickets(order.order_id) == before
    assert len(await venue.events.published(TicketsIssued)) == 1


async def test_an_order_that_comes_before_its_item_waits_for_it(venue: Venue) -> None:
    order = venue.paid()
    await venue.events.js.publish(order.subject, order.model_dump_json().encode())

    await venue.events.deliver(venue.item())

    await venue.events.published(TicketsIssued)
    assert len(await venue.tickets(order.order_id)) == 1


async def test_a_thing_has_no_tickets(venue: Venue) -> None:
    await venue.events.deliver(venue.item(kind=ItemKind.THING, starts_at=None, venue=None, city=None, timezone=None))
    order = venue.paid(2)

    await venue.events.deliver(order)

    assert await venue.tickets(order.order_id) == []
    assert await venue.db.bookings.count_documents({}) == 0


async def test_a_refund_revokes_and_the_payment_told_again_brings_nothing_back(venue: Venue) -> None:
    await venue.events.deliver(venue.item())
    order = venue.paid(2)
    await venue.events.deliver(order)

    await venue.events.deliver(venue.refund_of(order))
    await venue.events.deliver(venue.refund_of(order))
    await venue.events.deliver(order)

    assert [ticket["status"] for ticket in await venue.tickets(order.order_id)] == ["revoked", "revoked"]
    assert len(await venue.events.published(TicketsRevoked)) == 1


async def test_a_refund_that_comes_before_its_payment_leaves_nothing_valid(venue: Venue) -> None:
    await venue.events.deliver(venue.item())
    order = venue.paid(2)

    await venue.events.deliver(venue.refund_of(order))
    await venue.events.deliver(order)

    assert [ticket["status"] for ticket in await venue.tickets(order.order_id)] == ["revoked", "revoked"]
    assert await venue.events.published(TicketsIssued, 0) == []


async def test_only_the_money_of_this_order_revokes_its_tickets(venue: Venue) -> None:
    await venue.events.deliver(venue.item())
    order = venue.paid()
    money = {"order_id": order.order_id, "buyer_id": order.buyer_id, "amount": 1250, "currency": "EUR", "reason": "x"}
    rejected = PaymentRefunded.model_validate(money | {"payment_id": new_id(), "payment_version": 3})
    paid_it = PaymentRefunded.model_validate(money | {"payment_id": order.payment_id, "payment_version": 3})

    await venue.events.deliver(rejected)
    await venue.events.deliver(order)
    assert [ticket["status"] for ticket in await venue.tickets(order.order_id)] == ["valid"]

    await venue.events.deliver(paid_it)
    assert [ticket["status"] for ticket in await venue.tickets(order.order_id)] == ["revoked"]


async def test_a_ticket_shows_the_newest_date_whatever_comes_last(venue: Venue) -> None:
    [ticket] = await venue.sold()

    await venue.events.deliver(venue.item(version=3, venue="The big hall"))
    await venue.events.deliver(venue.item(version=2, venue="The small hall"))

    [now] = await venue.tickets(ticket["order_id"])
    assert now["venue"] == "The big hall"


async def test_nobody_else_sees_a_ticket(venue: Venue) -> None:
    [ticket] = await venue.sold()
    mallory = person("Mallory")

    assert await venue.tickets(ticket["order_id"], mallory) == []
    assert await venue.tickets(user=mallory) == []
    for path in ("", "/qr.svg", "/calendar.ics"):
        answer = await venue.call("GET", f"/{ticket['id']}{path}", mallory)
        assert (answer.status_code, answer.json()["code"]) == (404, "ticket_not_found"), path
    assert (await venue.call("GET", f"/pdf?order_id={ticket['order_id']}", mallory)).status_code == 404
    assert (await venue.call("GET", params={"order_id": ticket["order_id"]})).status_code == 401


async def test_ids_that_are_none_are_not_found(venue: Venue) -> None:
    [ticket] = await venue.sold()

    for wrong in (
        "x",
        "-1",
        f"{ticket['order_id']}-0",
        f"{ticket['order_id']}-2",
        f"{ticket['order_id']}-²",
        "a-9999999",
    ):
        assert (await venue.call("GET", f"/{wrong}", venue.buyer)).status_code == 404, wrong
