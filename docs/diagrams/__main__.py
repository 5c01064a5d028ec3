"""`python -m docs.diagrams`: the diagrams, in light and dark, drawn from the code into README.assets."""

import asyncio
import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright

from docs.diagrams.drawings import event_flow, header, kubernetes_flow, money_flow, queue_group
from tests.support import browser

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "README.assets"
SITE = ROOT / "services/web"
DRAWINGS = {
    "header": header,
    "kubernetes-flow": kubernetes_flow,
    "event-flow": event_flow,
    "event-flow-queue-group": queue_group,
    "money-flow": money_flow,
}


DRAWN = FOLDER / "drawn.json"
"""What each picture was drawn from, so that a test sees when one is out of date."""


def digests() -> dict[str, str]:
    """A digest of each drawing, without the styles."""
    return {name: sha256(draw().encode()).hexdigest() for name, draw in DRAWINGS.items()}


def styles() -> str:
    """The site's colours and type, then the diagrams' own shapes."""
    theme = (SITE / "assets/theme.css").read_text()
    font = (SITE / "src/web/static/bricolage.woff2").as_uri()
    return (
        theme.replace("./bricolage.woff2", font).replace("optional", "block")
        + (Path(__file__).parent / "page.css").read_text()
    )


async def main() -> None:
    """Draw them all."""
    page_file = ROOT / ".venv/diagram.html"  # beside the font, so that a page from a file may load it
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=browser.find(), args=browser.ARGUMENTS)
        for name, draw in DRAWINGS.items():
            page_file.write_text(f"<!doctype html><style>{styles()}</style>{draw()}")
            for scheme, suffix in (("light", ""), ("dark", "-dark")):
                context = await chromium.new_context(
                    color_scheme="dark" if scheme == "dark" else "light", device_scale_factor=2
                )
                page = await context.new_page()
                await page.goto(page_file.as_uri())
                await page.evaluate("document.fonts.load('700 20px Bricolage').then(() => null)")
                picture = Image.open(BytesIO(await page.locator("svg").screenshot(omit_background=True)))
                picture.quantize(256).save(FOLDER / f"{name}{suffix}.png", optimize=True)
                await context.close()
        await chromium.close()
    page_file.unlink()
    DRAWN.write_text(json.dumps(digests(), indent=1) + "\n")
    print(", ".join(f"{file.name} {file.stat().st_size / 1000:.0f} kB" for file in sorted(FOLDER.glob("*.png"))))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main())
