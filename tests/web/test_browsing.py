"""Finding things in a browser: while typing, by filters, on a desktop and on a phone."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from playwright.async_api import expect

from tests.support.browsing import Open, accessible, headline
from tests.support.people import People
from tests.support.shopping import ok
from tests.support.waiting import eventually

EVENT = {
    "kind": "event",
    "category": "theatre",
    "city": "Görlitz",
    "venue": "Nikolaikirche",
    "timezone": "Europe/Berlin",
}


async def test_results_come_while_one_types_and_filters_narrow_them(
    opened: Open, people: People, size: dict[str, Any]
) -> None:
    seller = await people.new("Sella")
    start = f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%dT18:00:00Z}"
    for item in (
        {"title": "Wintermärchen in the nave", "starts_at": start, **EVENT},
        {"title": "Wintermärchen, a libretto", "category": "books"},
    ):
        offer = {"price": 1250, "currency": "EUR", "quantity": 5, **item}
        ok(await seller.http.post("/api/items", json=offer), 201)
    page = await opened("/", **size)
    await expect(page.locator(".hero")).to_be_visible()
    days = page.locator(".days .pill")

    async def counted() -> int:
        await page.reload()  # Counts are kept for five seconds: those of a market that was empty, too.
        return await days.count()

    await eventually(counted, 30, why="the market has events")
    assert len(set(await days.evaluate_all("days => days.map(day => day.getBoundingClientRect().height)"))) == 1

    await page.get_by_label("Search the market").press_sequentially("wintermaer")

    await expect(page.get_by_role("heading", name="Results for “wintermaer”")).to_be_visible()
    await expect(page.locator(".hero")).to_have_count(0)
    await expect(page.locator("#announce")).to_contain_text("offers")
    await expect(page.get_by_label("Search the market")).to_be_focused()
    await accessible(page)

    await page.get_by_role("link", name=re.compile("^Theatre")).click()
    await expect(page.get_by_role("link", name="Wintermärchen in the nave").first).to_be_visible()
    await expect(page.get_by_role("link", name="Wintermärchen, a libretto")).to_have_count(0)
    await accessible(page)

    await page.goto("/cities/gorlitz")
    await expect(headline(page, "On in Görlitz")).to_be_visible()
    await page.get_by_text("Price and dates").click()
    await accessible(page)
    await page.get_by_role("link", name="Wintermärchen in the nave").first.click()
    await page.get_by_role("link", name="All offers").click()
    await expect(page.get_by_role("heading", name="Offers of")).to_be_visible()
    await accessible(page)
