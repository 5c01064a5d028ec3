"""The buying journey in Chromium, against the real services."""

import re
from typing import Any

import pytest
from playwright.async_api import expect

from infra.local.stack.stack import Stack
from tests.support.browsing import PASSWORD, PHONE, Open, accessible, bought, listed, live, signed_in, signed_up
from tests.support.people import People
from tests.support.sessions import person
from tests.support.waiting import eventually


async def test_what_one_buys_others_see_at_once(opened: Open) -> None:
    seller, buyer, watcher = await opened(), await opened(**PHONE), await opened()
    await signed_up(seller, "Sella")
    item = await listed(seller, "Two seats at the lighthouse")
    await accessible(seller)

    await watcher.get_by_label("Search the market").fill("lighthouse")
    await watcher.get_by_role("link", name="Two seats at the lighthouse").click()
    await live(watcher)
    await expect(watcher.locator(".offer .stock")).to_have_text("5 left")
    await accessible(watcher)

    await signed_up(buyer, "Bo")
    await seller.goto("/my/sales")
    await live(seller)
    await bought(buyer, item, 2)
    await expect(watcher.locator(".offer .stock")).to_have_text("3 left")
    await expect(seller.locator(".row .status")).to_have_text("Awaiting payment")
    await expect(buyer.locator(".countdown")).to_have_text(re.compile(r"^14:\d\d$"))
    await accessible(buyer)

    await buyer.get_by_label("Declined").check()
    await buyer.get_by_role("button", name="Pay €25.00").click()
    await expect(buyer.get_by_role("heading", name="The card was declined")).to_be_visible()
    await buyer.get_by_label("Slow").check()
    await buyer.get_by_role("button", name="Pay €25.00").click()
    await expect(buyer.get_by_role("heading", name="It is yours")).to_be_visible()
    await accessible(buyer)

    await seller.locator("summary", has_text="Refund").first.click()
    await accessible(seller)
    await seller.get_by_role("button", name="Send €25.00 back to Bo").click()
    await expect(seller.locator(".row .status")).to_have_text("Refunded")
    await expect(buyer.get_by_role("heading", name="Your money is back")).to_be_visible()
    await expect(watcher.locator(".offer .stock")).to_have_text("5 left")

    await seller.goto(f"{item}/edit")
    await accessible(seller)
    await seller.get_by_label("Price of one").fill("13")
    await seller.get_by_role("button", name="Save").click()
    await expect(watcher.locator(".offer .price")).to_have_text("€13.00")
    await seller.get_by_text("Take it off sale", exact=True).click()
    await seller.get_by_role("button", name="Yes, take it off sale").click()
    await expect(watcher.get_by_role("button", name="Off sale")).to_be_disabled()


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desktop", "phone"])
async def test_every_page_is_accessible(opened: Open, people: People, options: dict[str, Any]) -> None:
    page = await opened("/signin", **options)
    await accessible(page)
    await signed_in(page, await people.new())

    for path in ("/", "/sell", "/my/items", "/my/orders", "/my/sales", "/nowhere", "/?q=nothing-like-it"):
        await page.goto(path)
        await accessible(page)


async def test_an_open_page_survives_restarts_of_web_and_of_the_bus(opened: Open, stack: Stack, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    body = {"title": "A lamp", "price": 1250, "currency": "EUR", "quantity": 50}
    item = (await seller.http.post("/api/items", json=body)).json()
    page = await opened(f"/items/{item['id']}")
    await live(page)

    for name, left in (("web", 48), ("nats", 46)):
        await stack.kill(name)
        await stack.ready()

        async def order() -> bool:
            answer = await buyer.http.post("/api/orders", json={"item_id": item["id"], "quantity": 2})
            return answer.status_code == 201

        await eventually(order)
        await expect(page.locator(".offer .stock")).to_have_text(f"{left} left")


async def test_without_scripts_everything_works_but_nothing_moves(opened: Open) -> None:
    seller, buyer = await opened(java_script_enabled=False), await opened(java_script_enabled=False)
    for page, name in ((seller, "Sella"), (buyer, "Bo")):
        await page.goto("/signup")
        await page.get_by_label("Name").fill(name)
        await page.get_by_label("E-mail").fill(person(name).email)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    item = await listed(seller, "A lamp")

    await bought(buyer, item, 1)
    await expect(buyer.get_by_text("Pay by")).to_be_visible()
    await buyer.get_by_role("button", name="Pay €12.50").click()
    await expect(buyer.get_by_role("heading", name="It is yours")).to_be_visible()


async def test_back_leads_to_where_one_was(opened: Open, people: People) -> None:
    seller = await people.new()
    for number in range(60):
        body = {"title": f"Stool {number}", "price": 1250, "currency": "EUR", "quantity": 5}
        assert (await seller.http.post("/api/items", json=body)).status_code == 201
    page = await opened("/")
    far = page.get_by_role("link", name="Stool 5", exact=True)
    while not await far.count():
        await page.mouse.wheel(0, 2_000)
    await far.scroll_into_view_if_needed()
    await far.click()
    await expect(page.get_by_role("heading", name="Stool 5", exact=True)).to_be_visible()

    await page.go_back()

    await expect(far).to_be_in_viewport()
    await live(page)


async def test_the_front_page_is_light(opened: Open, stack: Stack, people: People) -> None:
    seller = await people.new()
    for number in range(24):
        body = {"title": f"Chair {number}", "price": 1250, "currency": "EUR", "quantity": 5}
        assert (await seller.http.post("/api/items", json=body)).status_code == 201
    page = await opened("/signin")
    sizes: dict[str, int] = {}
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.enable")
    urls: dict[str, str] = {}
    devtools.on("Network.responseReceived", lambda e: urls.update({e["requestId"]: e["response"]["url"]}))
    devtools.on("Network.loadingFinished", lambda e: sizes.update({e["requestId"]: int(e["encodedDataLength"])}))
    await devtools.send("Network.setCacheDisabled", {"cacheDisabled": True})

    await page.goto("/", wait_until="load")
    await live(page)

    weight = {urls[request].partition(stack.url)[2]: size for request, size in sizes.items() if request in urls}
    assert sum(weight.values()) < 100_000, weight
