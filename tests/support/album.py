"""Pictures of every page that a test comes by, to look at by hand: `make album` keeps them in a folder."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from tests.support.browsing import LIMIT, PHONE, accessible

BRITISH = {"locale": "en-GB"}
"""Days are those of London."""

VISITORS: Mapping[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 860}, **BRITISH},
    "phone": {**PHONE, **BRITISH},
    "plain": {"viewport": {"width": 1280, "height": 860}, "java_script_enabled": False, **BRITISH},
}
"""Those who look at a page, by name: `plain` is without JavaScript."""


class Album:
    """Checks every page that it is shown, and keeps pictures of it if there is a folder for them."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def add(self, page: Page, name: str, *, only_here: bool = False) -> None:
        """Check a page with axe; keep it as others see it who have the same cookies, in each size and colour scheme.

        `only_here` is for what stands in this one window, such as the answer to a form.
        """
        await accessible(page)
        if self._folder is None:
            return
        if only_here:
            await self._keep(page, name, "here")
            return
        for visitor, options in VISITORS.items():
            await self._visit(page, name, visitor, options)

    async def _visit(self, page: Page, name: str, visitor: str, options: dict[str, Any]) -> None:
        browser, state = page.context.browser, await page.context.storage_state()
        assert browser is not None
        context = await browser.new_context(storage_state=state, **options)
        try:
            other = await context.new_page()
            other.set_default_timeout(LIMIT)
            await other.goto(page.url)
            await self._keep(other, name, visitor, ("light",) if visitor == "plain" else ("light", "dark"))
        finally:
            await context.close()

    async def _keep(self, page: Page, name: str, visitor: str, schemes: tuple[Any, ...] = ("light", "dark")) -> None:
        assert self._folder is not None
        for scheme in schemes:
            await page.emulate_media(color_scheme=scheme)
            await page.wait_for_load_state("load")
            await page.screenshot(
                path=self._folder / f"{name}-{visitor}-{scheme}.png", full_page=True, animations="disabled"
            )


@pytest.fixture
def album() -> Album:
    """Keeps pictures in the folder that the variable SHOTS names, if it names one."""
    folder = Path(os.environ["SHOTS"]) if os.environ.get("SHOTS") else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    return Album(folder)
