"""What people do in a browser, for the tests of web. Each step waits for its result."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, ConsoleMessage, Error, Locator, Page, Request, async_playwright, expect

from infra.local.stack.stack import Stack
from tests.support import browser
from tests.support.people import Person
from tests.support.sessions import person
from tests.support.waiting import eventually

AXE = Path(__file__).parents[2] / "services/web/node_modules/axe-core/axe.min.js"
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
PASSWORD = "long enough"

LIMIT = 30_000
"""Milliseconds to wait for a page, on a machine that is busy with other tests."""

Open = Callable[..., Awaitable[Page]]
"""Opens a path (`/`) as another visitor; options are those of a Playwright context."""


@pytest_asyncio.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for the whole run."""
    expect.set_options(timeout=LIMIT)
    async with async_playwright() as playwright:
        try:
            running = await playwright.chromium.launch(executable_path=browser.find(), args=browser.ARGUMENTS)
        except Error as error:
            pytest.fail(f"{browser.MISSING}\n{error}")
        yield running
        await running.close()


@pytest_asyncio.fixture
async def opened(chromium: Browser, stack: Stack) -> AsyncIterator[Open]:
    """Opens pages of `stack`, each as another visitor; none may log an error or a warning."""
    async with opening(chromium, stack) as open_page:
        yield open_page


@pytest_asyncio.fixture
async def hasty_opened(chromium: Browser, hasty_stack: Stack) -> AsyncIterator[Open]:
    """Opens pages of `hasty_stack`."""
    async with opening(chromium, hasty_stack) as open_page:
        yield open_page


@pytest.fixture(params=[{}, pytest.param(PHONE, marks=pytest.mark.prove)], ids=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a browser on a desktop, and of one on a phone."""
    options: dict[str, Any] = request.param
    return options


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture as a camera makes it: large, with the place where it was taken."""
    where = Image.Exif()
    where[0x010E] = "at home, second floor"
    path = tmp_path / "lamp.jpg"
    Image.linear_gradient("L").convert("RGB").resize((2400, 1800)).save(path, exif=where)
    return path


@asynccontextmanager
async def opening(chromium: Browser, stack: Stack, *others: str) -> AsyncIterator[Open]:
    """Opens pages. Fails at the end if one logged an error or sent a request to another host, except for `others`."""
    problems: list[tuple[str, str]] = []
    failed: list[tuple[str, str]] = []
    documents: set[str] = set()

    def note_request(request: Request) -> None:
        if request.is_navigation_request():
            documents.add(request.url)
        if not request.url.startswith((stack.url, "data:", *others)):
            failed.append((request.url, "is on another host"))

    def note_message(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            problems.append((message.location["url"], message.text))

    async with AsyncExitStack() as exits:

        async def open_page(path: str = "/", **options: Any) -> Page:
            context = await chromium.new_context(**{"base_url": stack.url, **options})
            exits.push_async_callback(context.close)
            page = await context.new_page()
            page.set_default_timeout(LIMIT)
            page.on("pageerror", lambda error: failed.append((page.url, str(error))))
            page.on("console", note_message)
            page.on("request", note_request)
            await page.goto(path)
            return page

        yield open_page
    # A test may be about a document that is refused; and a stream that breaks is opened again.
    left = [c for c in problems if c[0] not in documents and "/live" not in c[0]]
    assert not [*failed, *left], [*failed, *left]


async def signed_up(page: Page, name: str) -> None:
    """Sign up, and wait for the next page."""
    await page.goto("/signup")
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("E-mail").fill(person(name).email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await expect(page.locator("nav .menu summary")).to_have_text(name)


async def signed_in(page: Page, somebody: Person) -> None:
    """Give the page the session of somebody."""
    token = somebody.http.headers["Authorization"].removeprefix("Bearer ")
    host = urlsplit(page.url).hostname or ""
    await page.context.add_cookies([{"name": "session", "value": token, "domain": host, "path": "/"}])


async def live(page: Page) -> None:
    """Wait until the page receives live updates."""
    await page.wait_for_selector("html[data-live=on]", state="attached")


def headline(page: Page, words: str) -> Locator:
    """The main heading of the page, if it has these words."""
    return page.get_by_role("heading", level=1, name=words, exact=True)


async def refused(page: Page, label: str, words: str) -> None:
    """Check that the field shows its error, also to a screen reader."""
    field = page.get_by_label(label)
    await expect(page.get_by_text(words)).to_be_visible()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_accessible_description(re.compile(re.escape(words)))


TOO_WIDE = """[...document.querySelectorAll("main *, header *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth).map((one) => one.outerHTML.slice(0, 80))"""
"""What reaches beyond the window."""


async def accessible(page: Page) -> None:
    """Check that axe finds nothing, in light and dark mode, and that the page is no wider than its window.

    Nor than a window of 320 pixels, which is a desktop's at 400 % (WCAG 2.2, 1.4.10).

    A page that loads itself again meanwhile is checked from the beginning.
    """
    for _ in range(5):
        try:
            return await _accessible(page)
        except Error as error:
            if not any(words in str(error) for words in ("Execution context was destroyed", "axe is not defined")):
                raise
            await page.wait_for_load_state()
    raise AssertionError(f"{page.url} loads itself again and again")


async def _accessible(page: Page) -> None:
    await page.wait_for_function("() => document.getAnimations().length === 0")
    await page.evaluate(AXE.read_text())
    for scheme in ("dark", "light"):
        await page.emulate_media(color_scheme=scheme)
        violations = await page.evaluate(
            "axe.run({iframes: false}).then(found => found.violations.map(v => [v.id, v.nodes[0].html]))"
        )
        assert violations == [], f"{page.url}: {violations}"
    size = page.viewport_size
    assert size
    for width in (320, size["width"]):
        await page.set_viewport_size({"width": width, "height": size["height"]})
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{page.url}: {wide} pixels in a window of {width}: {await page.evaluate(TOO_WIDE)}"


async def comes_to_say(page: Page, path: str, words: str) -> None:
    """Load a page until it says these words: what they are about may reach its service a moment later."""

    async def said() -> bool:
        await page.goto(path)
        return words in await page.locator("main").inner_text()

    await eventually(said, why=f"{path} does not say {words!r}")


async def listed(page: Page, title: str, quantity: int = 5, pictures: tuple[Path, ...] = ()) -> str:
    """Put an item on sale; return the path of its page."""
    await page.goto("/sell")
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Price of one").fill("12.50")
    await page.get_by_label("Currency").select_option("EUR")
    await page.get_by_label("How many").fill(str(quantity))
    await page.get_by_label("Pictures").set_input_files(pictures)
    await page.get_by_role("button", name="Put it on sale").click()
    await page.wait_for_url(re.compile(r"/items/\w+\?note=listed"))
    return page.url.partition("?")[0]


async def bought(page: Page, item: str, quantity: int = 1) -> None:
    """Place an order; orders may know the item only a moment after it is listed."""
    for _ in range(20):
        await page.goto(item)
        await page.get_by_label("Quantity").fill(str(quantity))
        await page.get_by_role("button", name="Hold it and pay").click()
        await page.wait_for_load_state()
        if "/orders/" in page.url:
            return
    raise AssertionError(await page.locator("main").inner_text())


async def paid(page: Page, card: str = "Visa") -> None:
    """Pay the order on the page with a test card."""
    await page.get_by_label(card).check()
    await page.get_by_role("button", name=re.compile("^Pay ")).click()
