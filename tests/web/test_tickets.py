"""Tickets from the form of an event to its door: in Chromium, against the real services."""

import re
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Page, expect

from tests.journeys.test_mail import mail, token_in
from tests.support.browsing import Open, accessible, bought, comes_to_say, headline, paid, signed_up
from tests.support.people import People

ADMITTED = "Come in"
SHOTS: Path | None = None
"""A folder for pictures of every page, to look at by hand."""


async def shown(page: Page, name: str, size: dict[str, Any]) -> None:
    """Check the page with axe, light and dark."""
    await accessible(page)
    if SHOTS:
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            await page.screenshot(path=SHOTS / f"{name}-{'phone' if size else 'desktop'}-{scheme}.png", full_page=True)


async def event_listed(page: Page, title: str, size: dict[str, Any]) -> str:
    """List an event; return the path of its page."""
    await page.goto("/sell")
    await expect(page.get_by_label("Starts")).to_be_hidden()
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("An event: buyers get tickets").check()
    await page.get_by_label("Starts").fill("2027-05-01T20:00")
    await page.get_by_label("Doors open").fill("2027-05-01T19:00")
    await page.get_by_label("Time zone").select_option("Europe/Zurich")
    await page.get_by_label("Venue").fill("The opera")
    await page.get_by_label("City").fill("Zürich")
    await page.get_by_label("Price of one").fill("12.50")
    await page.get_by_label("Currency").select_option("EUR")
    await page.get_by_label("How many").fill("5")
    await shown(page, "sell", size)
    await page.get_by_role("button", name="Put it on sale").click()
    await page.wait_for_url(re.compile(r"/items/\w+\?note=listed"))
    return page.url.partition("?")[0]


async def typed_at_gate(page: Page, number: str, verdict: str) -> None:
    """Type the number of a ticket at a gate, which answers so."""
    await page.get_by_label("Number or code").fill(number)
    await page.get_by_role("button", name="Check it").click()
    await expect(page.locator(".verdict strong")).to_have_text(verdict)


async def test_tickets_are_bought_given_away_and_let_people_in(
    opened: Open, people: People, size: dict[str, Any]
) -> None:
    seller, buyer, friend = await opened(**size), await opened(**size), await opened(**size)
    await signed_up(seller, "Sella")
    item = await event_listed(seller, f"A night at the opera {'by phone' if size else ''}", size)
    await expect(seller.get_by_role("main")).to_contain_text("May 1, 2027")
    await expect(seller.get_by_role("main")).to_contain_text("The opera, Zürich")
    await shown(seller, "item", size)

    await signed_up(buyer, "Bea")
    await bought(buyer, item, 2)
    await paid(buyer)
    await expect(headline(buyer, "It is yours")).to_be_visible()
    codes = buyer.locator(".tickets img")
    await expect(codes).to_have_count(2)
    for code in await codes.all():
        await expect(code).to_have_js_property("complete", True)
        assert await code.evaluate("image => image.naturalWidth") > 0
    await shown(buyer, "order", size)
    numbers = await buyer.locator(".tickets .number").all_inner_texts()

    await buyer.locator(".tickets .number").first.click()
    await expect(buyer.locator("img.qr")).to_be_visible()
    await shown(buyer, "ticket", size)
    address = f"friend-{numbers[0].lower()}@souk.test"
    await buyer.get_by_label("Their e-mail address").fill(address)
    await buyer.get_by_role("button", name="Send the link").click()
    await expect(buyer.get_by_text(f"We have sent a link to {address}.")).to_be_visible()
    http: httpx.AsyncClient = await people.anybody()
    token = token_in(await mail(http, address, "A ticket for you"))

    await signed_up(friend, "Cleo")
    await friend.goto(f"/tickets/accept?token={token}")
    await expect(friend.get_by_text("Bea would like to give you this ticket:")).to_be_visible()
    await expect(friend.get_by_role("main")).to_contain_text("A night at the opera")
    await shown(friend, "accept", size)
    await friend.get_by_role("button", name="Take the ticket").click()
    await expect(friend.get_by_text("The ticket is yours.")).to_be_visible()
    await expect(friend.locator("img.qr")).to_be_visible()
    held = await friend.locator(".admission .number").inner_text()
    await friend.goto("/my/tickets")
    await expect(friend.locator(".rows .row")).to_have_count(1)
    await shown(friend, "my-tickets", size)
    await buyer.reload()
    await expect(buyer.get_by_text("Cleo has it now.")).to_be_visible()
    await shown(buyer, "given-away", size)

    await seller.goto(f"{item}/door")
    await seller.get_by_label("Name of a new gate").fill("North")
    await seller.get_by_role("button", name="Make a gate").click()
    link = await seller.locator(".gate-link").inner_text()
    await shown(seller, "door", size)
    gate = await opened(link, **size)
    await expect(headline(gate, "North")).to_be_visible()
    await expect(gate.get_by_text("0 of 2 are in")).to_be_visible()
    await shown(gate, "gate", size)
    await typed_at_gate(gate, numbers[0], "Not valid any more")  # It was given away with its number.
    await typed_at_gate(gate, held.lower().replace("-", " "), ADMITTED)
    await expect(gate.get_by_text("1 of 2 are in")).to_be_visible()
    await shown(gate, "gate-good", size)
    await typed_at_gate(gate, held, "Used already")
    await expect(gate.locator(".verdict span")).to_contain_text("North")
    await shown(gate, "gate-bad", size)
    await typed_at_gate(gate, "whatever", "No ticket")

    # A gate that does not get an answer soon enough answers by itself, and tells the server later.
    await comes_to_say(seller, f"{item}/door", "1 of 2 tickets are in.")
    await friend.goto("/my/tickets")
    await expect(friend.locator(".status")).to_have_text("Used")
    await seller.get_by_role("button", name=re.compile("^Close")).click()
    await expect(seller.get_by_text("Closed")).to_be_visible()
    await gate.goto("/gate")  # with the token of a closed gate the browser would log the refusal
    await expect(gate.locator(".verdict strong")).to_contain_text("This gate is closed.")
