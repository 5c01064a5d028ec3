"""`python -m tests.screenshots`: pictures of the main pages for README.assets, out of a seeded Souk of its own."""

import asyncio
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import httpx
from PIL import Image, ImageChops, ImageDraw, ImageFilter
from playwright.async_api import Browser, Page, async_playwright

from common.testing import Tokens, eventually, person
from infra.local import seed
from infra.local.catalogue import SELLERS
from infra.local.stack import Stack
from tests import browser
from tests.browsing import live

FOLDER = Path(__file__).parents[1] / "README.assets"
SIZES: Mapping[str, Any] = {
    "desktop": {"viewport": {"width": 1280, "height": 860}, "device_scale_factor": 2},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True},
}
WIDTHS = {"desktop": 1280, "phone": 585}
"""Pixels of the files."""

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
SALES = (("Mira", 2, "refunded"), ("Jonas", 1, "paid"), ("Samira", 4, "paid"), ("Aiko", 2, ""), ("Tom", 3, "paid"))
"""Who ordered how many of the seller's items, and what became of it; nothing yet where that is empty."""

Json = dict[str, Any]
Pictures = dict[tuple[str, str, str], Image.Image]
"""By page, size and scheme."""


class Town:
    """A seeded stack with some trade in it."""

    def __init__(self, stack: Stack, client: httpx.AsyncClient) -> None:
        self._url = stack.url
        self._client = client
        self._tokens = Tokens(stack.keys.private_key)

    async def pages(self) -> dict[str, tuple[str, str]]:
        """Seed and trade; return the session that looks and the path by the name of the page."""
        await seed.seed(self._url)
        seller, seller_id = await seed.sign_in(self._client, SELLERS[0])
        items = (await self._send("GET", "/api/items", "", params={"seller_id": seller_id, "limit": 50}))["items"]
        for item, (name, quantity, end) in zip(items[1:], SALES, strict=False):
            await self._sell(seller, item["id"], name, quantity, end)
        buyer = self._tokens.token(person("Noor"))
        hold = {"item_id": items[0]["id"], "quantity": 2}
        order = await self._send("POST", "/api/orders", buyer, json=hold)
        return {
            "front": ("", "/"),
            "item": (buyer, f"/items/{items[0]['id']}"),
            "order": (buyer, f"/orders/{order['id']}"),
            "sales": (seller, "/my/sales"),
        }

    async def _sell(self, seller: str, item_id: str, name: str, quantity: int, end: str) -> None:
        buyer = self._tokens.token(person(name))
        order = await self._send("POST", "/api/orders", buyer, json={"item_id": item_id, "quantity": quantity})
        path = f"/api/orders/{order['id']}"
        if end:
            payment = {"order_id": order["id"], "payment_method": "pm_card_visa"}
            await self._send("POST", "/api/payments", buyer, json=payment)
            await self._becomes(path, buyer, "paid")
        if end == "refunded":
            await self._send("POST", f"{path}/refund", seller)
            await self._becomes(path, buyer, end)

    async def _becomes(self, path: str, session: str, status: str) -> None:
        async def reached() -> bool:
            return bool((await self._send("GET", path, session))["status"] == status)

        await eventually(reached)

    async def _send(self, method: str, path: str, session: str, **request: Any) -> Json:
        headers = {"Authorization": f"Bearer {session}"} if session else {}
        return seed.expect(await self._client.request(method, path, headers=headers, **request))


async def settle(page: Page) -> None:
    """Wait until the page is live and everything in its window is there and still."""
    await live(page)
    await page.evaluate("document.fonts.ready.then(() => null)")
    await page.evaluate(
        "Promise.all([...document.images].filter(i => i.getBoundingClientRect().top < innerHeight)"
        ".map(i => i.decode()))"
    )
    await page.wait_for_function("document.getAnimations().length === 0")


async def take(chromium: Browser, url: str, pages: Mapping[str, tuple[str, str]]) -> Pictures:
    """A picture of every page in every size and scheme."""
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
    """The picture `width` pixels wide, with round corners and a thin line around it."""
    small = picture.resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS)
    mask = Image.new("L", (small.width * 2, small.height * 2))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), round_by * 2, 255)
    line = Image.new("L", mask.size)
    ImageDraw.Draw(line).rounded_rectangle((0, 0, line.width - 1, line.height - 1), round_by * 2, outline=110, width=3)
    small.paste("#8a7e72", (0, 0), line.reduce(2))
    small.putalpha(mask.reduce(2))
    return small


def cover(front: Image.Image, order: Image.Image) -> Image.Image:
    """A desktop with a phone before it, on nothing."""
    canvas = Image.new("RGBA", (1660, 1000))
    for picture, at in ((framed(front, 1430, 18), (0, 0)), (framed(order, 400, 36), (1240, 120))):
        shadow = Image.new("L", canvas.size)
        shadow.paste(picture.getchannel("A"), (at[0], at[1] + 10))
        dark = Image.new("RGBA", canvas.size, "black")
        dark.putalpha(ImageChops.multiply(shadow.filter(ImageFilter.GaussianBlur(16)), Image.new("L", canvas.size, 90)))
        canvas.alpha_composite(dark)
        canvas.alpha_composite(picture, at)
    return canvas


def save(pictures: Pictures) -> None:
    """Write every picture and the covers as WebP; GitHub shows it."""
    for (name, size, scheme), picture in pictures.items():
        width = WIDTHS[size]
        small = picture.resize((width, picture.height * width // picture.width), Image.Resampling.LANCZOS)
        small.save(FOLDER / f"{name}-{size}-{scheme}.webp", quality=82, method=6)
    for scheme in SCHEMES:
        both = cover(pictures["front", "desktop", scheme], pictures["order", "phone", scheme])
        both.save(FOLDER / f"souk-{scheme}.webp", quality=82, method=6)


async def main() -> None:
    """Take them all."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with (
            Stack(Path(folder), say=lambda *_: None) as stack,
            httpx.AsyncClient(base_url=stack.url, timeout=30) as client,
            async_playwright() as playwright,
        ):
            chromium = await playwright.chromium.launch(executable_path=browser.find(), args=browser.ARGUMENTS)
            save(await take(chromium, stack.url, await Town(stack, client).pages()))
            await chromium.close()
    print(f"{sum(p.stat().st_size for p in FOLDER.glob('*.webp')) / 1000:.0f} kB in {FOLDER}")  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
