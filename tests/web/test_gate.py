"""A gate without a network: it answers by itself, and tells the server later. In Chromium, with a whole Souk."""

import re
from typing import Any

from playwright.async_api import Browser, Page, Request, expect

from infra.local.stack.stack import Stack
from tests.support.browsing import LIMIT, PHONE, accessible, headline
from tests.support.people import People, Person
from tests.support.shopping import Json, ok, pay, place
from tests.support.waiting import eventually


async def two_tickets(seller: Person, buyer: Person) -> list[Json]:
    """The tickets of a new event, which somebody has bought."""
    concert = {"title": "A concert", "description": "", "price": 900, "currency": "EUR", "quantity": 2, "kind": "event"}
    more = {"starts_at": "2027-05-01T18:00:00Z", "timezone": "Europe/Zurich"}
    item = ok(await seller.http.post("/api/items", json={**concert, **more}), 201)
    order_id = (await place(buyer, item["id"], 2))["id"]
    await pay(buyer, order_id)

    async def issued() -> list[Json]:
        found: list[Json] = (await buyer.http.get("/api/tickets", params={"order_id": order_id})).json()
        return found

    return await eventually(issued, 30, why="the tickets are issued")


async def scanned(page: Page, code: str, verdict: str) -> None:
    """Give the gate a code, which it answers so."""
    await page.get_by_label("Number or code").fill(code)
    await page.get_by_role("button", name="Check it").click()
    await expect(page.locator(".verdict strong")).to_have_text(verdict)


async def test_a_gate_without_a_network_answers_by_itself_and_tells_all_of_it_later(
    chromium: Browser, stack: Stack, people: People
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bea")
    copied, other = await two_tickets(seller, buyer)
    gates = [
        ok(await seller.http.post("/api/tickets/gates", json={"item_id": copied["item_id"], "name": name}), 201)
        for name in ("North", "South")
    ]
    sent: list[Any] = []

    def note(request: Request) -> None:
        if request.url.endswith("/api/tickets/scans"):
            sent.append([(scan["seq"], scan["admitted"]) for scan in (request.post_data_json or {})["scans"]])

    context = await chromium.new_context(base_url=stack.url, **PHONE)
    try:
        page = await context.new_page()
        page.set_default_timeout(LIMIT)
        page.on("request", note)
        await page.goto(gates[1]["link"])
        await expect(headline(page, "South")).to_be_visible()
        await page.locator("[data-gate-kept]").wait_for()
        north = {"code": copied["code"], "gate": gates[0]["token"], "device": "another phone", "seq": 1}
        said = ok(await buyer.http.post("/api/tickets/scan", json={**north, "at": "2027-05-01T18:00:00Z"}))
        assert said["result"] == "admitted"

        await context.set_offline(True)
        await scanned(page, copied["code"], "Come in")  # Nobody could tell this phone.
        await expect(page.locator(".gate-offline")).to_contain_text("Offline.")
        await scanned(page, copied["code"], "Used already")
        await scanned(page, copied["code"][:-9] + "AAAAAAAAA", "No ticket")
        await expect(page.locator(".gate-offline")).to_contain_text("Scans that wait to be sent: 3.")
        await accessible(page)
        await page.reload()
        await expect(headline(page, "South")).to_be_visible()
        await scanned(page, other["number"].lower().replace("-", " "), "Come in")
        await expect(page.locator(".gate-offline")).to_contain_text("Scans that wait to be sent: 4.")

        await context.set_offline(False)
        conflict = page.locator(".gate-extras li")
        await expect(conflict).to_have_count(1)
        await expect(conflict).to_contain_text(re.compile(f"{copied['number']}.*North"))
        await expect(page.locator(".gate-offline")).to_be_hidden()
        assert sent[-1] == [(1, True), (2, False), (3, False), (4, True)]
        await scanned(page, other["number"], "Used already")
    finally:
        await context.close()

    door = ok(await seller.http.get("/api/tickets/gates", params={"item_id": copied["item_id"]}))
    assert (door["admitted"], door["tickets"]) == (2, 2)
    extras = [(extra["number"], extra["first_gate"], extra["second_gate"]) for extra in door["extras"]]
    assert extras == [(copied["number"], "North", "South")]
