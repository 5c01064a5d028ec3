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
