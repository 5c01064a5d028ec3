"""`python -m tests.web.screenshots`: take the pictures in README.assets, from a seeded Souk of its own."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import httpx
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from playwright.async_api import Browser, Page, async_playwright

from infra.local.commands.api import Api, body_of
from infra.local.commands.catalogue import SELLERS
from infra.local.commands.seed import seed
from infra.local.commands.trade import PASSWORD
from infra.local.stack.stack import Stack
from tests.support import browser
from tests.support.browsing import live, opening
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually
from tests.web.test_traces import opened_trace, paid

FOLDER = Path(__file__).parents[2] / "README.assets"
SIZES: Mapping[str, Any] = {
    "desktop": {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 2},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True},
}
WIDTHS = {"desktop": 1280, "phone": 585}
"""The width of the files in pixels."""

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SALES = (("Mira", 2, "refunded"), ("Jonas", 1, "paid"), ("Samira", 4, "paid"), ("Aiko", 2, ""), ("Tom", 3, "paid"))
"""Buyer, quantity and final status of orders on the seller's items. An empty status: not paid yet."""

Json = dict[str, Any]
Pictures = dict[tuple[str, str, str], Image.Image]
"""By page, size and scheme."""


async def story(stack: Stack, client: httpx.AsyncClient) -> tuple[str, str]:
    """Make an order that is paid after its hold, when its unit is sold. Return an operator's session and its page.

    The card is authorized and released: nothing is charged.
    """
    town = Town(stack, client)
    seller, slow, fast = town.session("Mira"), town.session("Noor"), town.session("Tom")
    offer = {"title": "A night in the lighthouse", "description": "", "price": 12000, "currency": "EUR", "quantity": 1}
    item = await town.send("POST", "/api/items", seller, json=offer)
    orders = []
    for buyer, card in ((slow, "pm_card_late"), (fast, "pm_card_visa")):
        order = await town.send("POST", "/api/orders", buyer, json={"item_id": item["id"]})
        payment = {"order_id": order["id"], "payment_method": card}
        await town.send("POST", "/api/payments", buyer, json=payment)
        await town.becomes(f"/api/orders/{order['id']}", buyer, "expired" if card == "pm_card_late" else "paid")
        orders.append(order["id"])
    operator, path = town.session("Ola", "operator"), f"/api/audit/orders/{orders[0]}"

    async def released() -> bool:
        answer = await client.get(path, headers={"Authorization": f"Bearer {operator}"})
        return answer.is_success and answer.json()["states"][-1]["payments"][0]["status"] == "released"

    await eventually(released, 30)
    return operator, f"/operator/orders/{orders[0]}"


async def trace(stack: Stack, chromium: Browser) -> str:
    """Pay an order in a browser. Return the page with its trace."""
    async with opening(chromium, stack) as open_page, AsyncExitStack() as exits:
        page = await opened_trace(stack, await paid(stack, open_page, exits), open_page)
        return page.url.removeprefix(stack.url)


class Town:
    """A seeded stack with some orders."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        self._stack = stack
        self._client = client
        self._tokens = Tokens(stack.keys.private_key)

    def session(self, name: str, *roles: str) -> str:
        """The session of a new user."""
        return self._tokens.token(person(name, *roles))

    async def pages(self) -> dict[str, tuple[str, str]]:
        """Seed the stack and place orders. Return session and path of each page, by its name."""
        await seed(self._stack)
        seller, seller_id, *_ = await Api(self._client).sign_in(SELLERS[0].name, SELLERS[0].email, PASSWORD)
        items = (await self.send("GET", "/api/items", "", params={"seller_id": seller_id, "limit": 50}))["items"]
        for item, (name, quantity, end) in zip(items[1:], SALES, strict=False):
            await self._sell(seller, item["id"], name, quantity, end)
        buyer = self.session("Noor")
        hold = {"item_id": items[0]["id"], "quantity": 2}
        order = await self.send("POST", "/api/orders", buyer, json=hold)
        concert = next(item["id"] for item in items if item["kind"] == "event")
        return {
            "front": ("", "/"),
            "item": (buyer, f"/items/{items[0]['id']}"),
            "order": (buyer, f"/orders/{order['id']}"),
            "tickets": await self._ticketed(concert),
            "sales": (seller, "/my/sales"),
        }

    async def _ticketed(self, concert: str) -> tuple[str, str]:
        """The page of an order that is paid and has its tickets."""
        buyer = self.session("Lena")
        order = await self.send("POST", "/api/orders", buyer, json={"item_id": concert, "quantity": 1})
        payment = {"order_id": order["id"], "payment_method": "pm_card_visa"}
        await self.send("POST", "/api/payments", buyer, json=payment)

        async def issued() -> bool:
            headers = {"Authorization": f"Bearer {buyer}"}
            answer = await self._client.get("/api/tickets", params={"order_id": order["id"]}, headers=headers)
            return bool(answer.is_success and answer.json())

        await eventually(issued, 60)
        return buyer, f"/orders/{order['id']}"

    async def _sell(self, seller: str, item_id: str, name: str, quantity: int, end: str) -> None:
        buyer = self.session(name)
        order = await self.send("POST", "/api/orders", buyer, json={"item_id": item_id, "quantity": quantity})
        path = f"/api/orders/{order['id']}"
        if end:
            payment = {"order_id": order["id"], "payment_method": "pm_card_visa"}
            await self.send("POST", "/api/payments", buyer, json=payment)
            await self.becomes(path, buyer, "paid")
        if end == "refunded":
            await self.send("POST", f"{path}/refund", seller)
            await self.becomes(path, buyer, end)

    async def becomes(self, path: str, session: str, status: str) -> None:
        """Wait until the order at this path has this status."""

        async def reached() -> bool:
            return bool((await self.send("GET", path, session))["status"] == status)

        await eventually(reached)

    async def send(self, method: str, path: str, session: str, **request: Any) -> Json:
        """Send a request, and return the body of its answer. Raises if it is refused."""
        headers = {"Authorization": f"Bearer {session}"} if session else {}
        return body_of(await self._client.request(method, path, headers=headers, **request))


async def settle(page: Page) -> None:
    """Wait until the page is live, if it can be, and everything in its window is loaded and has stopped moving."""
    if await page.locator("[data-item], [data-order]").count():
        await live(page)
    await page.evaluate("document.fonts.ready.then(() => null)")
    await page.evaluate(
        "Promise.all([...document.images].filter(i => i.getBoundingClientRect().top < innerHeight)"
        ".map(i => i.decode()))"
    )
    await page.wait_for_function("() => document.getAnimations().length === 0")


async def take(chromium: Browser, url: str, pages: Mapping[str, tuple[str, str]]) -> Pictures:
    """A picture of every page in every size and colour scheme."""
    pictures: Pictures = {}
    for size, options in SIZES.items():
        for scheme in SCHEMES:
            for name, (session, path) in pages.items():
                context = await chromium.new_context(base_url=url, color_scheme=scheme, **options)
                if session:
                    await context.add_cookies([{"name": "session", "value": session, "url": url}])
                page = await context.new_page()
                await page.goto(path)
                await settle(page)
                pictures[name, size, scheme] = Image.open(BytesIO(await page.screenshot())).convert("RGB")
                await context.close()
    return pictures


def framed(picture: Image.Image, width: int, round_by: int) -> Image.Image:
    """The picture, `width` pixels wide, with rounded corners and a thin border."""
    small = picture.resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS)
    mask = Image.new("L", (small.width * 2, small.height * 2))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), round_by * 2, 255)
    line = Image.new("L", mask.size)
    ImageDraw.Draw(line).rounded_rectangle((0, 0, line.width - 1, line.height - 1), round_by * 2, outline=110, width=3)
    small.paste("#8a7e72", (0, 0), line.reduce(2))
    small.putalpha(mask.reduce(2))
    return small


def cover(front: Image.Image, order: Image.Image) -> Image.Image:
    """A desktop with a phone in front of it, on a transparent background."""
    canvas = Image.new("RGBA", (1660, 1000))
    for picture, at in ((framed(front, 1430, 18), (0, 0)), (framed(order, 400, 36), (1240, 120))):
        shadow = Image.new("L", canvas.size)
        shadow.paste(picture.getchannel("A"), (at[0], at[1] + 10))
        dark = Image.new("RGBA", canvas.size, "black")
        dark.putalpha(ImageChops.multiply(shadow.filter(ImageFilter.GaussianBlur(16)), Image.new("L", canvas.size, 90)))
        canvas.alpha_composite(dark)
        canvas.alpha_composite(picture, at)
    return canvas


def write(pictures: Pictures) -> None:
    """Write every picture as WebP, which GitHub shows."""
    for (name, size, scheme), picture in pictures.items():
        width = WIDTHS[size]
        small = picture.resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS)
        small.save(FOLDER / f"{name}-{size}-{scheme}.webp", quality=82, method=6)


def covers(pictures: Pictures) -> None:
    """Write the pictures of a desktop with a phone in front of it."""
    for scheme in SCHEMES:
        both = cover(pictures["front", "desktop", scheme], pictures["order", "phone", scheme])
        both.save(FOLDER / f"souk-{scheme}.webp", quality=82, method=6)


@asynccontextmanager
async def souk(hold_seconds: int, traces: bool = False) -> AsyncIterator[tuple[Stack, httpx.AsyncClient]]:
    """A new Souk, and a client of its gateway."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with (
            Stack(Path(folder), say=lambda *_: None, hold_seconds=hold_seconds, traces=traces) as stack,
            httpx.AsyncClient(base_url=stack.url, timeout=30) as client,
        ):
            yield stack, client


async def main() -> None:
    """Take all pictures."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=browser.find(), args=browser.ARGUMENTS)
        async with souk(hold_seconds=900) as (stack, client):
            pictures = await take(chromium, stack.url, await Town(stack, client).pages())
        covers(pictures)
        async with souk(hold_seconds=5) as (stack, client):
            pictures |= await take(chromium, stack.url, {"story": await story(stack, client)})
        async with souk(hold_seconds=900, traces=True) as (stack, _):
            pictures |= await take(chromium, stack.url, {"trace": ("", await trace(stack, chromium))})
        write(pictures)
        await chromium.close()
    print(f"{sum(p.stat().st_size for p in FOLDER.glob('*.webp')) / 1000:.0f} kB in {FOLDER}")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
