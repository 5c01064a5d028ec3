"""A ticket on its way to somebody else."""

from common.events import TicketTransferOffered, TicketTransferred
from tests.support.sessions import person

from .conftest import Venue

CLEO = {"email": "cleo@souk.test"}


async def test_an_accepted_ticket_has_a_new_holder_and_its_old_code_is_dead(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate, cleo = await venue.gate(), person("Cleo")

    offered = await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
    assert (offered.status_code, offered.json()["offered_to"]) == (200, "cleo@souk.test")
    token = await venue.link_token()
    accepted = await venue.call("POST", "/accept", cleo, json={"token": token})

    assert accepted.status_code == 200, accepted.text
    assert (accepted.json()["holder"], accepted.json()["generation"]) == (cleo.id, 2)
    [of_buyer] = await venue.tickets(ticket["order_id"])
    assert (of_buyer["holder"], of_buyer["holder_name"], of_buyer["code"]) == (cleo.id, "Cleo", None)
    assert [t["id"] for t in await venue.tickets(user=cleo)] == [ticket["id"]]
    assert await venue.tickets(user=venue.buyer) == []
    assert (await venue.call("GET", f"/{ticket['id']}/qr.svg", venue.buyer)).status_code == 404
    assert (await venue.scan(ticket["code"], gate))["result"] == "revoked"
    assert (await venue.scan(accepted.json()["code"], gate))["result"] == "admitted"
    [transferred] = await venue.events.published(TicketTransferred)
    assert (transferred.holder_id, transferred.previous_holder_id) == (cleo.id, venue.buyer.id)


async def test_the_number_of_who_gave_a_ticket_away_admits_nobody_and_each_holder_has_their_own(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate, cleo, dora = await venue.gate(), person("Cleo"), person("Dora")
    await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
    of_cleo = (await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token()})).json()
    await venue.call("POST", f"/{ticket['id']}/transfer", cleo, json=CLEO)
    of_dora = (await venue.call("POST", "/accept", dora, json={"token": await venue.link_token(2)})).json()

    numbers = [ticket["number"], of_cleo["number"], of_dora["number"]]

    assert len(set(numbers)) == 3
    assert all(number.startswith(f"{ticket['number']}-") for number in numbers[1:])
    [of_buyer] = await venue.tickets(ticket["order_id"])
    assert of_buyer["number"] == ticket["number"]  # Who gave it away does not see the new one,
    for old in numbers[:2]:
        answer = await venue.scan(old, gate)
        assert (answer["result"], answer["number"]) == ("revoked", old)  # nor does a gate show it to them.
    assert (await venue.scan(f"{ticket['number']}-ZZZZ", gate))["result"] == "unknown"
    typed = numbers[2].lower().replace("-", "").replace("0", "o")
    assert (await venue.scan(typed, gate))["result"] == "admitted"
    attendees = (await venue.call("GET", f"/attendees?item_id={venue.item_id}", venue.seller)).json()["items"]
    assert [one["number"] for one in attendees] == [numbers[2]]


async def test_a_ticket_that_was_given_away_before_numbers_changed_has_a_new_one(venue: Venue) -> None:
    [ticket] = await venue.sold()
    gate, cleo = await venue.gate(), person("Cleo")
    await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
    await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token()})
    await venue.db.bookings.update_one({}, {"$unset": {"tickets.0.transfers": 1}})

    [held] = await venue.tickets(user=cleo)

    assert held["number"] != ticket["number"]
    assert (await venue.scan(ticket["number"], gate))["result"] == "revoked"
    assert (await venue.scan(held["number"], gate))["result"] == "admitted"


async def test_who_has_the_link_sees_which_ticket_it_is_and_who_gives_it(venue: Venue) -> None:
    [ticket] = await venue.sold()
    cleo = person("Cleo")
    await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
    body = {"token": await venue.link_token()}

    offer = await venue.call("POST", "/offer", cleo, json=body)

    assert offer.status_code == 200, offer.text
    seen = offer.json()
    assert (seen["giver"], seen["item_title"], seen["venue"]) == (venue.buyer.name, "A concert", "The opera")
    assert seen["starts_at"] == "2027-05-01T18:00:00Z"
    assert (await venue.call("POST", "/offer", cleo, json={"token": "x"})).json()["code"] == "offer_is_over"
    assert (await venue.call("POST", "/offer", json=body)).status_code == 401
    await venue.call("DELETE", f"/{ticket['id']}/transfer", venue.buyer)
    assert (await venue.call("POST", "/offer", cleo, json=body)).json()["code"] == "offer_is_over"
    stored = await venue.db.bookings.find_one({}) or {}
    assert stored["tickets"][0]["offer"] is None  # with the name of who gave it


async def test_accepting_twice_is_accepting_once_and_nobody_else_can(venue: Venue) -> None:
    [ticket] = await venue.sold()
    cleo = person("Cleo")
    await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
    token = await venue.link_token()

    first = await venue.call("POST", "/accept", cleo, json={"token": token})
    second = await venue.call("POST", "/accept", cleo, json={"token": token})
    third = await venue.call("POST", "/accept", person("Mallory"), json={"token": token})

    assert second.json() == first.json()
    assert (third.status_code, third.json()["code"]) == (409, "offer_is_over")
    assert len(await venue.events.published(TicketTransferred)) == 1


async def test_what_was_taken_back_or_offered_anew_cannot_be_accepted(venue: Venue) -> None:
    [ticket] = await venue.sold()
    cleo = person("Cleo")
    for number in (1, 2):
        await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
        await venue.events.published(TicketTransferOffered, number)

    taken = await venue.call("DELETE", f"/{ticket['id']}/transfer", venue.buyer)
    newest = await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token(2)})

    assert taken.json()["offered_to"] is None
    assert (newest.status_code, newest.json()["code"]) == (409, "offer_is_over")
    [mine] = await venue.tickets(ticket["order_id"])
    assert (mine["holder"], mine["generation"], mine["code"]) == (venue.buyer.id, 1, ticket["code"])


async def test_a_token_that_was_not_made_here_takes_nothing(venue: Venue) -> None:
    [ticket] = await venue.sold()
    await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
    token = await venue.link_token()

    for wrong in ("x", token[:-1], token + "A", f"{ticket['id']}-00.{token.partition('.')[2]}", "."):
        answer = await venue.call("POST", "/accept", person("Mallory"), json={"token": wrong})
        assert (answer.status_code, answer.json()["code"]) == (409, "offer_is_over"), wrong


async def test_only_its_holder_gives_a_ticket_away(venue: Venue) -> None:
    [ticket] = await venue.sold()
    mallory, cleo = person("Mallory"), person("Cleo")

    for method in ("POST", "DELETE"):
        answer = await venue.call(
            method, f"/{ticket['id']}/transfer", mallory, **({"json": CLEO} if method == "POST" else {})
        )
        assert (answer.status_code, answer.json()["code"]) == (404, "ticket_not_found")

    await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)
    await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token()})
    assert (await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO)).status_code == 404
    assert (await venue.call("POST", f"/{ticket['id']}/transfer", cleo, json=CLEO)).status_code == 200


async def test_a_used_or_revoked_ticket_goes_nowhere(venue: Venue) -> None:
    used, offered = await venue.sold(2)
    await venue.call("POST", f"/{offered['id']}/transfer", venue.buyer, json=CLEO)
    token = await venue.link_token()
    for ticket in (used, offered):
        await venue.scan(ticket["code"], await venue.gate())

    answer = await venue.call("POST", f"/{used['id']}/transfer", venue.buyer, json=CLEO)
    assert (answer.status_code, answer.json()["code"]) == (409, "ticket_not_valid")
    answer = await venue.call("POST", "/accept", person("Cleo"), json={"token": token})
    assert (answer.status_code, answer.json()["code"]) == (409, "ticket_not_valid")


async def test_a_ticket_is_offered_only_so_often_and_only_to_an_address(venue: Venue) -> None:
    [ticket] = await venue.sold()

    for wrong in ("x", "a@b@c.de", "a\nb@souk.test", "x" * 250 + "@souk.test"):
        answer = await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json={"email": wrong})
        assert [error["field"] for error in answer.json()["errors"]] == ["email"], wrong
    answers = [await venue.call("POST", f"/{ticket['id']}/transfer", venue.buyer, json=CLEO) for _ in range(21)]

    assert [answer.status_code for answer in answers] == [200] * 20 + [409]
    assert answers[-1].json()["code"] == "too_many_offers"
