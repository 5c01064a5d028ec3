"""The page of a door makes gates, each once."""

import re

from tests.support.waiting import eventually

from .conftest import Page, Visitors, listed

CONCERT = {"kind": "event", "starts_at": "2030-06-07T20:00", "timezone": "Europe/Berlin"}
LINK = re.compile(r"/gate#[\w-]{20,}")


async def test_a_new_gates_link_is_shown_once_and_a_reload_makes_no_other_gate(visitors: Visitors) -> None:
    seller = await visitors.new("Sella")
    door = f"{await listed(seller, **CONCERT)}/door"

    async def known() -> Page | None:
        page = await seller.get(door)
        return page if page.status == 200 else None  # Tickets may not know the event yet.

    answer = await seller.http.post(
        f"{door}/gates",
        data={**(await eventually(known, 60)).form(f"{door}/gates").fields, "name": "North"},
        follow_redirects=False,
    )

    assert (answer.status_code, answer.headers["location"]) == (303, door), "a reload would send the form again"
    assert "gate#" not in answer.headers["location"]
    made = await seller.get(door)
    reloaded = await seller.get(door)
    assert [len(set(LINK.findall(page.text))) for page in (made, reloaded)] == [1, 0]
    assert [page.answer.text.count("<b>North</b>") for page in (made, reloaded)] == [1, 1]
    [link] = set(LINK.findall(made.text))
    sign = await seller.http.post("/api/tickets/gates/sign", json={"gate": link.partition("#")[2]})
    assert sign.json()["name"] == "North"


async def test_a_link_that_somebody_else_put_into_the_browser_is_not_shown(visitors: Visitors) -> None:
    seller = await visitors.new("Sella")
    door = f"{await listed(seller, **CONCERT)}/door"

    async def shown() -> Page | None:
        seller.http.cookies.set("new_gate", "ZmFsc2UtdG9rZW4tb2Ytc29tZWJvZHk", domain="127.0.0.1", path=door)
        page = await seller.get(door)
        return page if page.status == 200 else None

    page = await eventually(shown, 60)
    assert LINK.findall(page.text) == []
