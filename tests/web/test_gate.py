"""A gate without a network: it answers by itself, and tells the server later. In Chromium, with a whole Souk."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import segno
from playwright.async_api import Browser, Page, Request, Route, expect

from infra.local.stack.stack import Stack
from tests.journeys.test_mail import mail, token_in
from tests.support.browsing import LIMIT, PHONE, accessible, headline
from tests.support.people import People, Person
from tests.support.shopping import Json, ok, pay, place
from tests.support.waiting import eventually

pytestmark = pytest.mark.prove


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


@asynccontextmanager
async def at_gate(chromium: Browser, stack: Stack, link: str, before: str = "") -> AsyncIterator[Page]:
    """A phone with the page of a gate, which it also keeps. `before` is a script that runs first."""
    context = await chromium.new_context(base_url=stack.url, **PHONE)
    try:
        page = await context.new_page()
        page.set_default_timeout(LIMIT)
        if before:
            await page.add_init_script(before)
        await page.goto(link)
        await page.locator("[data-gate-kept]").wait_for()
        await expect(page.get_by_label("Number or code")).to_be_visible()
        yield page
    finally:
        await context.close()


async def new_gate(seller: Person, item_id: str, name: str) -> Json:
    """A gate of an event."""
    made: Json = ok(await seller.http.post("/api/tickets/gates", json={"item_id": item_id, "name": name}), 201)
    return made


async def door_of(seller: Person, item_id: str) -> Json:
    """What the seller knows of the door."""
    door: Json = ok(await seller.http.get("/api/tickets/gates", params={"item_id": item_id}))
    return door


async def arrived(seller: Person, item_id: str, admitted: int) -> Json:
    """The door, once so many tickets have let somebody in."""

    async def known() -> Json | None:
        door = await door_of(seller, item_id)
        return door if door["admitted"] == admitted else None

    return await eventually(known, 30, why="the scans have arrived")


async def test_a_gate_without_a_network_answers_by_itself_and_tells_all_of_it_later(
    chromium: Browser, stack: Stack, people: People
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bea")
    copied, other = await two_tickets(seller, buyer)
    gates = [await new_gate(seller, copied["item_id"], name) for name in ("North", "South")]
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


async def test_who_comes_in_offline_with_a_ticket_that_was_given_away_is_named_there_and_to_the_seller(
    chromium: Browser, stack: Stack, people: People
) -> None:
    seller, buyer, friend = await people.new("Sella"), await people.signed_up("Bea"), await people.new("Cleo")
    given, _ = await two_tickets(seller, buyer)
    gate = await new_gate(seller, given["item_id"], "South")

    async with at_gate(chromium, stack, gate["link"]) as page:
        await page.context.set_offline(True)
        address = f"cleo-{given['number'].lower()}@souk.test"
        ok(await buyer.http.post(f"/api/tickets/{given['id']}/transfer", json={"email": address}))
        token = token_in(await mail(await people.anybody(), address, "A ticket for you"))
        held = ok(await friend.http.post("/api/tickets/accept", json={"token": token}))
        await scanned(page, given["code"], "Come in")  # Nobody could tell this phone.

        await page.context.set_offline(False)
        await expect(page.locator(".gate-extras li")).to_contain_text(
            f"{given['number']} was let in here while offline"
        )
        await expect(page.locator(".gate-extras li")).to_contain_text("somebody else has it")
        await expect(page.locator(".gate-offline")).to_be_hidden()
        await page.context.set_offline(True)
        await scanned(page, given["number"], "Not valid any more")
        await expect(page.locator(".verdict span")).to_have_text(re.compile(f"^{given['number']} · "))
        await scanned(
            page, held["number"].lower().replace("-", " "), "Come in"
        )  # Who had the old code has not used it up.

    [extra] = (await door_of(seller, given["item_id"]))["extras"]
    assert (extra["reason"], extra["second_gate"]) == ("given_away", "South")
    assert extra["listed_at"] < extra["void_since"]


async def test_a_scan_that_the_server_refuses_is_shown_and_stops_no_other(
    chromium: Browser, stack: Stack, people: People
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bea")
    first, second = await two_tickets(seller, buyer)
    gate = await new_gate(seller, first["item_id"], "South")

    async with at_gate(chromium, stack, gate["link"]) as page:
        await page.context.set_offline(True)
        await scanned(page, first["code"], "Come in")
        await page.locator("#code").evaluate("field => field.removeAttribute('maxlength')")  # The camera has none.
        await scanned(page, "x" * 600, "No ticket")
        await page.evaluate(
            """async gate => {
              const open = indexedDB.open("souk-gate");
              await new Promise(resolve => (open.onsuccess = resolve));
              const stores = open.result.transaction("scans", "readwrite");
              const scan = { code: "y".repeat(501), gate, at: new Date().toISOString(), admitted: false };
              stores.objectStore("scans").add(scan);
              await new Promise(resolve => (stores.oncomplete = resolve));
              open.result.close();
            }""",
            gate["token"],
        )
        await scanned(page, second["code"], "Come in")
        await page.context.set_offline(False)

        await expect(page.locator(".gate-offline")).to_be_hidden()
        await expect(page.locator(".gate-aside li")).to_have_count(1)
        await expect(page.locator(".gate-aside li")).to_contain_text("refused by the server")
        await page.reload()  # Then it is sent once more.
        await expect(page.locator(".gate-aside li")).to_have_count(1)

    door = await arrived(seller, first["item_id"], 2)
    assert [(one["gate"], one["count"]) for one in door["missing"]] == [("South", 1)]


async def test_what_was_scanned_at_a_gate_that_is_closed_now_is_sent_from_another(
    chromium: Browser, stack: Stack, people: People
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bea")
    ticket, _ = await two_tickets(seller, buyer)
    south, north = [await new_gate(seller, ticket["item_id"], name) for name in ("South", "North")]

    async with at_gate(chromium, stack, south["link"]) as page:
        await page.context.set_offline(True)
        await scanned(page, ticket["code"], "Come in")
        ok(await seller.http.delete(f"/api/tickets/gates/{south['id']}"))
        await page.evaluate("link => (location.href = link)", north["link"])  # Nothing but what is after the # changes.
        await expect(page.locator(".verdict strong")).to_contain_text("No answer.")  # It has no list of this gate yet.
        await page.context.set_offline(False)
        await arrived(seller, ticket["item_id"], 1)
        await expect(headline(page, "North")).to_be_visible()
        await scanned(page, ticket["code"], "Used already")
        await expect(page.locator(".verdict span")).to_contain_text("South")


async def test_an_answer_of_a_gateway_turns_nobody_away(chromium: Browser, stack: Stack, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bea")
    ticket, _ = await two_tickets(seller, buyer)
    gate = await new_gate(seller, ticket["item_id"], "South")

    async def not_found(route: Route) -> None:
        await route.fulfill(status=404, content_type="text/plain", body="404 page not found")

    async with at_gate(chromium, stack, gate["link"]) as page:
        await page.route("**/api/tickets/scan*", not_found)  # and where the page sends those later
        await scanned(page, ticket["code"], "Come in")
        await expect(page.locator(".gate-offline")).to_contain_text("Scans that wait to be sent: 1.")
        await page.unroute("**/api/tickets/scan*")
        await arrived(seller, ticket["item_id"], 1)


CAMERA = """
const canvas = document.createElement("canvas");
[canvas.width, canvas.height] = [640, 480];
const paper = canvas.getContext("2d");
let rows = [];
window.hold = (matrix) => (rows = matrix);
setInterval(() => {
  paper.fillStyle = "#fff";
  paper.fillRect(0, 0, 640, 480);
  paper.fillStyle = "#000";
  const size = Math.floor(440 / (rows.length || 1));
  rows.forEach((row, y) => row.forEach((dark, x) => dark && paper.fillRect(40 + x * size, 20 + y * size, size, size)));
}, 50);
navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(20);
"""
"""A camera that sees what `hold` was told: the modules of a QR, or nothing."""

LISTENER = """
window.said = [];
addEventListener("DOMContentLoaded", () => {
  const verdict = document.querySelector(".verdict");
  const note = () => said.push(verdict.querySelector("strong").textContent);
  new MutationObserver(note).observe(verdict, { subtree: true, childList: true, characterData: true });
});
"""
"""Hears every verdict, however short it stands."""


async def heard(page: Page, verdict: str) -> None:
    """Wait until the gate has said it."""
    await page.wait_for_function("verdict => said.includes(verdict)", arg=verdict)


async def test_a_copy_right_behind_the_first_does_not_come_in_with_its_green_screen(
    chromium: Browser, stack: Stack, people: People
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bea")
    ticket, other = await two_tickets(seller, buyer)
    gate = await new_gate(seller, ticket["item_id"], "South")
    modules = [list(row) for row in segno.make_qr(ticket["code"], error="m", mode="alphanumeric").matrix]

    async with at_gate(chromium, stack, gate["link"], CAMERA + LISTENER) as page:
        verdict = page.locator(".verdict")
        await page.get_by_role("button", name="Scan with the camera").click()
        await page.evaluate("modules => hold(modules)", modules)
        await heard(page, "Come in")
        await expect(verdict.locator("strong")).to_have_text(
            "This code was checked. Take it away to scan the next one."
        )
        await expect(verdict).not_to_have_class(re.compile("good"))
        await page.evaluate("hold([])")
        await expect(verdict).to_be_hidden()
        await page.evaluate("modules => hold(modules)", modules)
        await heard(page, "Used already")

        await page.evaluate("hold([])")
        await scanned(page, other["number"], "Come in")
        await expect(verdict).not_to_have_class(re.compile("good"))  # By itself, while nothing else is scanned.


async def test_a_phone_makes_sounds_and_keeps_what_waits(chromium: Browser, stack: Stack, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bea")
    ticket, _ = await two_tickets(seller, buyer)
    gate = await new_gate(seller, ticket["item_id"], "South")
    watched = """
    window.sounds = [];
    window.AudioContext = class extends AudioContext {
      constructor() {
        super();
        sounds.push(window.event?.type ?? "nobody has touched the page");
      }
    };
    navigator.storage.persist = async () => (window.persistent = true);
    """

    async with at_gate(chromium, stack, gate["link"], watched) as page:
        await scanned(page, ticket["code"], "Come in")
        assert await page.evaluate("sounds") in (["click"], ["touchend"], ["keydown"])
        assert await page.evaluate("window.persistent")
