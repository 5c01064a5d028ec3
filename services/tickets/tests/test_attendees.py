"""Who comes to an event, as its seller sees it."""

from typing import Any

from common.http.paging import EXAMPLE_ID
from common.http.sessions import User
from common.ids import new_id
from tests.support.sessions import person

from .conftest import Venue


async def attendees(venue: Venue, user: User | None = None, **params: Any) -> dict[str, Any]:
    """A page of the list, as the seller or somebody else sees it."""
    asked = {"item_id": venue.item_id, **params}
    answer = await venue.call("GET", "/attendees", user or venue.seller, params=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_seller_sees_who_holds_valid_and_used_tickets_and_no_revoked_one(venue: Venue) -> None:
    [given, used] = await venue.sold(2)
    refunded = venue.paid()
    for event in (refunded, venue.refund_of(refunded)):
        await venue.events.deliver(event)
    cleo = person("Cleo")
    await venue.call("POST", f"/{given['id']}/transfer", venue.buyer, json={"email": "cleo@souk.test"})
    held = (await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token()})).json()
    await venue.scan(used["code"], await venue.gate())

    page = await attendees(venue)

    assert page["next"] is None
    assert [(a["number"], a["holder_name"], a["bought"], a["status"]) for a in page["items"]] == [
        (held["number"], "Cleo", False, "valid"),
        (used["number"], None, True, "used"),
    ]
    assert [a["first_admitted_at"] is None for a in page["items"]] == [True, False]
    assert await attendees(venue, person("Ola", "operator")) == page


async def test_the_list_goes_on_by_cursor_and_skips_and_repeats_nobody(venue: Venue) -> None:
    sold = [ticket["number"] for _ in range(3) for ticket in (await venue.sold(2))[::-1]]

    first = await attendees(venue, limit=2)
    second = await attendees(venue, limit=2, cursor=first["next"])

    assert [a["number"] for a in first["items"] + second["items"]] == sold[::-1]
    assert (len(first["items"]), second["next"]) == (4, None)


async def test_nobody_else_sees_the_list(venue: Venue) -> None:
    await venue.sold()

    async def refusal(user: User | None, item_id: str) -> tuple[int, str]:
        answer = await venue.call("GET", "/attendees", user, params={"item_id": item_id})
        return answer.status_code, answer.json()["code"]

    assert await refusal(venue.buyer, venue.item_id) == (403, "not_seller")
    assert await refusal(None, venue.item_id) == (401, "not_signed_in")
    assert await refusal(venue.seller, EXAMPLE_ID) == (404, "event_not_found")
    assert await refusal(venue.seller, new_id()) == (503, "unavailable")  # Perhaps it was listed a moment ago.
