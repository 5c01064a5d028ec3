"""Pages that are seldom opened are accessible, too: what one has saved, a gallery, a receipt."""

from typing import Any

import pytest
from playwright.async_api import expect

from tests.support.browsing import Open, accessible, headline, signed_in
from tests.support.calls import PICTURE
from tests.support.people import People
from tests.support.shopping import becomes, ok, pay, place, sell

pytestmark = pytest.mark.prove


async def test_what_is_saved_a_gallery_and_a_receipt_are_accessible(
    opened: Open, people: People, size: dict[str, Any]
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    item, gone = await sell(seller, 3, title="A lamp with two sides"), await sell(seller, 1, title="A chair")
    for _ in range(2):
        headers = {"Content-Type": "image/png"}
        ok(await seller.http.post(f"/api/items/{item}/pictures", content=PICTURE, headers=headers), 201)
    order_id = (await place(buyer, item, 2))["id"]
    await pay(buyer, order_id)
    await becomes(buyer, order_id, "paid")
    page = await opened("/signin", **size)
    await signed_in(page, buyer)
    await page.goto("/my/favourites")
    await accessible(page)

    shop = f"/sellers/{seller.user.id}"
    for path in (shop, f"/items/{gone}", f"/items/{item}"):
        await page.goto(path)
        heart = page.get_by_role("button", name="Save for later").first
        await expect(heart).to_have_attribute("aria-pressed", "false")
        await heart.focus()
        await page.keyboard.press("Enter")
        await expect(heart).to_have_attribute("aria-pressed", "true")
        assert page.url.endswith(path)
        if path == shop:
            await accessible(page)
            await expect(heart).to_be_focused()
            await page.reload()
            await expect(heart).to_have_attribute("aria-pressed", "true")
            await heart.click()
            await expect(heart).to_have_attribute("aria-pressed", "false")
    await expect(page.locator(".strip img")).to_have_count(2)
    await accessible(page)
    ok(await seller.http.delete(f"/api/items/{gone}"))
    await page.goto("/my/favourites")
    await expect(page.locator(".row", has_text="A chair")).to_contain_text("Off sale")
    await accessible(page)
    await page.goto(f"/orders/{order_id}/receipt")
    await expect(headline(page, "Receipt")).to_be_visible()
    await accessible(page)
