"""The buying journey as people see it: in a real Chromium, against the real stack."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Error, Page, async_playwright, expect

from common.testing import eventually, person
from infra.local.stack import Stack
from tests import browser
from tests.conftest import People, Person

AXE = Path(__file__).parents[1] / "services/web/node_modules/axe-core/axe.min.js"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
DARK: dict[str, Any] = {"color_scheme": "dark"}

Open = Callable[..., Awaitable[Page]]


@pytest_asyncio.fixture
async def chromium() -> AsyncIterator[Browser]:
    """A browser of the test's own."""
    async with async_playwright() as playwright:
        try:
            running = await playwright.chromium.launch(executable_path=browser.find(), args=browser.ARGUMENTS)
        except Error as error:
            pytest.fail(f"{browser.MISSING}\n{error}")
        yield running
        await running.close()


@pytest_asyncio.fixture
async def opened(chromium: Browser, stack: Stack) -> AsyncIterator[Open]:
    """Opens pages, each for another visitor; none may complain about anything."""
    complaints: list[str] = []
    async with AsyncExitStack() as exits:

        async def open_page(path: str = "/", **options: Any) -> Page:
            context = await chromium.new_context(base_url=stack.url, **options)
            exits.push_async_callback(context.close)
            page = await context.new_page()
            page.set_default_timeout(10_000)
            page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
            page.on("console", lambda message: _note(complaints, message))
            page.on("request", lambda request: _note_stranger(complaints, stack, request.url))
            await page.goto(path)
            return page

        yield open_page
    assert complaints == []


def _note(complaints: list[str], message: ConsoleMessage) -> None:
    """A refused form is no fault, and a stream that breaks comes back; all else that a page complains of is one."""
    broken_stream = "/live" in message.location["url"]
    if message.type in {"error", "warning"} and "status of 4" not in message.text and not broken_stream:
        complaints.append(f"{message.location['url']}: {message.text}")


def _note_stranger(complaints: list[str], stack: Stack, url: str) -> None:
    if not url.startswith((stack.url, "data:")):
        complaints.append(f"a request to somebody else: {url}")


async def signed_up(page: Page, name: str) -> None:
    """Sign up with a form that is wrong at first."""
    await page.goto("/signup")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("E-mail").fill(person(name).email)
    await page.get_by_label("Password").fill("short")
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await expect(page.get_by_text("Use 8 to 128 characters.")).to_be_visible()
    await expect(page.get_by_label("Name")).to_have_value(name)
    await accessible(page)
    await page.get_by_label("Password").fill("long enough")
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await expect(page.get_by_text(name)).to_be_visible()


async def signed_in(page: Page, somebody: Person) -> None:
    """Carry the session of somebody."""
    token = somebody.http.headers["Authorization"].removeprefix("Bearer ")
    await page.context.add_cookies([{"name": "session", "value": token, "url": page.url}])


async def live(page: Page) -> None:
    """Wait until the page hears of changes."""
    await page.wait_for_selector("html[data-live=on]", state="attached")


async def accessible(page: Page) -> None:
    """Axe finds nothing, in light and in dark, and the page is no wider than its window."""
    await page.wait_for_function("document.getAnimations().length === 0")
    await page.evaluate(AXE.read_text())
    for scheme in ("dark", "light"):
        await page.emulate_media(color_scheme=scheme)
        violations = await page.evaluate("axe.run().then(found => found.violations.map(v => [v.id, v.nodes[0].html]))")
        assert violations == [], page.url
    overflow = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, page.url


async def listed(page: Page, title: str, quantity: int = 5) -> str:
    """Sell something; return the path of its page."""
    await page.goto("/sell")
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Price of one").fill("12.50")
    await page.get_by_label("Currency").select_option("EUR")
    await page.get_by_label("How many").fill(str(quantity))
    await page.get_by_role("button", name="Put it on sale").click()
    await page.wait_for_url(re.compile(r"/items/\w+\?note=listed"))
    return page.url.partition("?")[0]


async def bought(page: Page, item: str, quantity: int) -> None:
    """Hold some of an item; orders may learn of it a moment after it is listed."""
    for _ in range(20):
        await page.goto(item)
        await page.get_by_label("Quantity").fill(str(quantity))
        await page.get_by_role("button", name="Hold it and pay").click()
        await page.wait_for_load_state()
        if "/orders/" in page.url:
            return
    raise AssertionError(await page.locator("main").inner_text())


async def test_what_one_buys_others_see_at_once(opened: Open) -> None:
    seller, buyer, watcher = await opened(), await opened(**PHONE), await opened()
    await signed_up(seller, "Sella")
    item = await listed(seller, "Two seats at the lighthouse")
    await accessible(seller)

    await watcher.get_by_label("Search the market").fill("lighthouse")
    await watcher.get_by_role("link", name="Two seats at the lighthouse").click()
    await live(watcher)
    await expect(watcher.locator(".offer .stock")).to_have_text("Only 5 left")
    await accessible(watcher)

    await signed_up(buyer, "Bo")
    await seller.goto("/my/sales")
    await live(seller)
    await bought(buyer, item, 2)
    await expect(watcher.locator(".offer .stock")).to_have_text("Only 3 left")
    await expect(seller.get_by_text("Awaiting payment")).to_be_visible()
    await expect(buyer.locator(".countdown")).to_have_text(re.compile(r"^14:\d\d$"))
    await accessible(buyer)

    await buyer.get_by_label("Declined").check()
    await buyer.get_by_role("button", name="Pay €25.00").click()
    await expect(buyer.get_by_role("heading", name="The card was declined")).to_be_visible()
    await buyer.get_by_label("Slow").check()
    await buyer.get_by_role("button", name="Pay €25.00").click()
    await expect(buyer.get_by_role("heading", name="It is yours")).to_be_visible()
    await accessible(buyer)

    await seller.get_by_text("Refund", exact=False).first.click()
    await accessible(seller)
    await seller.get_by_role("button", name="Send €25.00 back to Bo").click()
    await expect(seller.get_by_text("Refunded")).to_be_visible()
    await expect(buyer.get_by_role("heading", name="Your money is back")).to_be_visible()
    await expect(watcher.locator(".offer .stock")).to_have_text("Only 5 left")

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
        await expect(page.locator(".offer .stock")).to_have_text(f"{left} left", timeout=20_000)


async def test_without_scripts_everything_works_but_nothing_moves(opened: Open) -> None:
    seller, buyer = await opened(java_script_enabled=False), await opened(java_script_enabled=False)
    for page, name in ((seller, "Sella"), (buyer, "Bo")):
        await page.goto("/signup")
        await page.get_by_label("Name").fill(name)
        await page.get_by_label("E-mail").fill(person(name).email)
        await page.get_by_label("Password").fill("long enough")
        await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    item = await listed(seller, "A lamp")

    await bought(buyer, item, 1)
    await expect(buyer.get_by_text("Pay by")).to_be_visible()
    await buyer.get_by_role("button", name="Pay €12.50").click()
    await expect(buyer.get_by_role("heading", name="It is yours")).to_be_visible()


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
