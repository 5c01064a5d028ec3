"""Everybody can use the site: by touch, without scripts, with a keyboard only, with a screen reader."""

import re
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from infra.local.stack.stack import Stack
from tests.support.browsing import PASSWORD, PHONE, Open, accessible, headline, paid, signed_in
from tests.support.late_money import bank_waiting
from tests.support.people import People
from tests.support.sessions import person
from tests.support.shopping import Json, becomes, money, ok, pay, place, sell, try_to_pay
from tests.support.stacks import away

FOCUS_IS_VISIBLE = """() => {
    const focused = document.activeElement, box = focused.getBoundingClientRect();
    if (focused === document.body) return true;
    if (box.bottom <= 0 || box.top >= innerHeight) return false;
    for (let e = focused; e !== document.body; e = e.parentElement) {
        const {outlineStyle, outlineWidth} = getComputedStyle(e);
        if (outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2) return true;
    }
    return false;
}"""


@pytest.mark.prove
async def test_the_buying_journey_on_a_phone(opened: Open, people: People) -> None:
    await sell(await people.new("Sella"), 5, title="Ferry to the outer islands")
    page = await opened(**PHONE)
    await page.get_by_label("Search the market").tap()
    await page.keyboard.type("outer islands")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Ferry to the outer islands").tap()
    await page.get_by_label("Quantity").fill("2")
    await page.get_by_role("button", name="Hold it and pay").tap()

    await expect(page.get_by_text("Sign in to continue.")).to_be_visible()
    await page.get_by_role("main").get_by_role("link", name="Sign up").tap()
    await page.get_by_label("Name").fill("Bo")
    await page.get_by_label("E-mail").fill(person("Bo").email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign up").tap()

    await expect(page.locator(".countdown")).to_have_text(re.compile(r"^14:\d\d$"))
    await page.get_by_label("Visa").tap()
    await page.get_by_role("button", name="Pay €90.00").tap()
    await expect(headline(page, "It is yours")).to_be_visible()


async def test_the_buying_journey_without_scripts(opened: Open, people: People, stack: Stack) -> None:
    await sell(await people.new("Sella"), 5, title="Night train to the coast")
    page = await opened(java_script_enabled=False)
    await page.get_by_label("Search the market").fill("night coast")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name="Night train to the coast").click()
    buyer = await people.new("Bo")
    await signed_in(page, buyer)
    await page.reload()

    await page.get_by_role("button", name="Hold it and pay").click()
    await expect(page.get_by_text("Pay by")).to_be_visible()
    [placed] = ok(await buyer.http.get("/api/orders"))["items"]
    await paid(page, "Declined")
    await expect(headline(page, "The card was declined")).to_be_visible()
    await paid(page, "Late")
    [payment, _] = await money(buyer, placed["id"], "processing", "failed")
    async with bank_waiting(stack, payment):
        await expect(headline(page, "Your payment is being processed")).to_be_visible()
    await expect(headline(page, "It is yours")).to_be_visible()  # The page refreshes by itself.

    await page.locator("nav .menu summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus. Check that the focus is visible on the way."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        assert await page.evaluate(FOCUS_IS_VISIBLE), await page.evaluate("document.activeElement.outerHTML")
        if await target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {target} on {page.url}")


async def test_the_buying_journey_by_keyboard_alone(opened: Open, people: People) -> None:
    await sell(await people.new("Sella"), 5, title="Balloon over the vineyards")
    page = await opened()
    keys = page.keyboard
    await tab_to(page, page.get_by_role("link", name="Skip to the content"))
    await keys.press("Enter")
    await expect(page.locator("main")).to_be_focused()

    await page.goto("/signup")
    for label, text in (("Name", "Bo"), ("E-mail", person("Bo").email), ("Password", PASSWORD)):
        await tab_to(page, page.get_by_label(label))
        await keys.type(text)
    await keys.press("Enter")
    await expect(page.locator("nav .menu summary")).to_have_text("Bo")

    await tab_to(page, page.get_by_label("Search the market"))
    await keys.type("balloon vineyards")
    await expect(page.get_by_role("heading", name="Results for “balloon vineyards”")).to_be_visible()
    await page.locator("#found").evaluate("found => (found.old = true)")
    await keys.press("Enter")
    await page.wait_for_function("() => !document.querySelector('#found').old")  # Else the focus goes with it.
    await tab_to(page, page.get_by_role("link", name="Balloon over the vineyards"))
    await keys.press("Enter")
    await expect(headline(page, "Balloon over the vineyards")).to_be_visible()

    await tab_to(page, page.get_by_label("Quantity"))
    await keys.press("ArrowUp")
    await tab_to(page, page.get_by_role("button", name="Hold it and pay"))
    await keys.press("Enter")
    await expect(headline(page, "We hold it for you")).to_be_visible()
    await tab_to(page, page.get_by_label("Visa"))
    await keys.press("ArrowDown")
    await expect(page.get_by_label("Slow")).to_be_checked()
    await tab_to(page, page.get_by_role("button", name="Pay €90.00"))
    await keys.press("Enter")
    await expect(headline(page, "It is yours")).to_be_visible()

    await tab_to(page, page.locator("nav .menu summary"))
    await keys.press("Enter")
    await keys.press("Escape")
    await expect(page.locator("nav .menu summary")).to_be_focused()
    await keys.press("Enter")
    await tab_to(page, page.locator("nav .menu").get_by_role("link", name="My orders"))
    await keys.press("Enter")
    await expect(page.locator(".row", has_text="Balloon over the vineyards")).to_contain_text("Paid")


@pytest.mark.prove
async def test_every_state_is_accessible(opened: Open, people: People, size: dict[str, Any]) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    item = await sell(seller, 7)
    orders: dict[str, Json] = {}
    for name in ("waiting", "declined", "processing", "refused", "cancelled", "paid", "refunded"):
        orders[name] = await place(buyer, item)
    ok(await try_to_pay(buyer, orders["declined"]["id"], "pm_card_declined"), 402)
    await pay(buyer, orders["processing"]["id"], "pm_card_late")
    await try_to_pay(buyer, orders["refused"]["id"], "pm_card_capture_fails")
    await becomes(buyer, orders["refused"]["id"], "cancelled")
    ok(await buyer.http.delete(f"/api/orders/{orders['cancelled']['id']}"))
    for name in ("paid", "refunded"):
        await pay(buyer, orders[name]["id"])
        await becomes(buyer, orders[name]["id"], "paid")
    ok(await seller.http.post(f"/api/orders/{orders['refunded']['id']}/refund"), 202)
    await becomes(buyer, orders["refunded"]["id"], "refunded")
    withdrawn = await sell(seller, 1)
    ok(await seller.http.delete(f"/api/items/{withdrawn}"))

    page = await opened("/signin", **size)
    await signed_in(page, buyer)
    for path in (*(f"/orders/{order['id']}" for order in orders.values()), "/my/orders", "/my/data", f"/items/{item}"):
        await page.goto(path)
        await accessible(page)
    await page.locator("nav .menu summary").click()
    await accessible(page)
    await signed_in(page, seller)
    for path in ("/my/sales", "/my/items", f"/items/{withdrawn}", f"/items/{withdrawn}/edit", f"/items/{item}/edit"):
        await page.goto(path)
        await accessible(page)


@pytest.mark.prove
async def test_an_unavailable_service_is_a_clear_page(opened: Open, stack: Stack) -> None:
    pages = [await opened("/signin"), await opened("/signin", **PHONE)]  # Nothing of items is on its way there.
    async with away(stack, "items"):
        for page in pages:
            await page.goto("/")
            await expect(headline(page, "Part of Souk is unavailable")).to_be_visible()
            await accessible(page)
    # It loads itself again: by now, or soon.
    await expect(headline(pages[0], "Hold it. Pay it. It’s yours.")).to_be_visible()  # noqa: RUF001 - as it is typeset
