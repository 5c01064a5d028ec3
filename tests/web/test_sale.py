"""What is not on sale yet, and what is paused, in Chromium."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from tests.support.browsing import PHONE, Open, accessible, live, signed_in
from tests.support.people import People, Person
from tests.support.shopping import ok

pytestmark = pytest.mark.prove


async def offer(seller: Person, **fields: Any) -> str:
    """Put an item on sale; return its path."""
    body = {"title": "Two seats, row 4", "price": 4500, "currency": "EUR", "quantity": 3, **fields}
    return f"/items/{ok(await seller.http.post('/api/items', json=body), 201)['id']}"


async def test_the_button_wakes_when_the_sale_starts(opened: Open, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    page = await opened("/signin", **PHONE)
    await signed_in(page, buyer)
    later = datetime.now(UTC) + timedelta(seconds=30)
    await page.goto(await offer(seller, sale_starts_at=later.isoformat()))
    await live(page)
    await page.get_by_label("Quantity").fill("2")
    await expect(page.get_by_role("button", name="Not on sale yet")).to_be_disabled()
    await expect(page.locator(".until")).to_have_text(re.compile(r"^0:\d\d$"))
    await accessible(page)

    await page.get_by_role("button", name="Hold it and pay").click(timeout=90_000)

    await expect(page.get_by_role("heading", name="We hold it for you")).to_be_visible()


async def test_pausing_and_selling_again_is_live(opened: Open, people: People) -> None:
    seller = await people.new("Sella")
    item = await offer(seller)
    page, watcher = await opened("/signin"), await opened(item)
    await signed_in(page, seller)
    await live(watcher)
    await page.goto("/my/items")
    await page.get_by_role("button", name="Pause it").click()

    await expect(watcher.get_by_role("button", name="Not for sale right now")).to_be_disabled()
    await accessible(page)

    await page.get_by_role("button", name="Sell it again").click()
    await expect(watcher.get_by_role("button", name="Hold it and pay")).to_be_enabled()
