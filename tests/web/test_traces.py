"""`make dev TRACES=1`: a paid order as one tree of spans over its services, in a browser without JavaScript."""

import re
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from infra.local.stack.stack import Stack
from tests.support.browsing import Open, opening, signed_in
from tests.support.people import People
from tests.support.shopping import becomes, place, sell
from tests.support.waiting import eventually

TOLD = {"web", "payments", "orders", "tickets", "notifications", "expiration", "audit"}
"""Who takes part when an order is paid: web, payments and orders, and those who read what became of it."""


async def paid(stack: Stack, open_page: Open, exits: AsyncExitStack) -> str:
    """Pay an order on its page; return its id."""
    people = People(stack, exits)
    seller, buyer = await people.new("Mira"), await people.new("Tom")
    placed = await place(buyer, await sell(seller, 3, "A lamp from the night market"))
    page = await open_page()
    await signed_in(page, buyer)
    await page.goto(f"/orders/{placed['id']}")
    await page.get_by_role("button", name=re.compile("^Pay ")).click()
    await becomes(buyer, placed["id"], "paid")
    return str(placed["id"])


async def opened_trace(stack: Stack, order_id: str, open_page: Open) -> Page:
    """The page of the trace in which an order was paid, once every service has sent its spans, parents as well."""

    async def whole() -> str | None:
        async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
            found = (await client.get("/dev/traces", params={"q": order_id})).text
            for trace in re.findall(r'href="(/dev/traces/[0-9a-f]{32})', found):
                shown = (await client.get(trace)).text
                legend = shown.partition('class="legend"')[2].partition("</div>")[0]
                if set(re.findall(">([a-z]+)<", legend)) >= TOLD and shown.count('--depth: 0"') == 1:
                    return str(trace)
        return None

    path = await eventually(whole, 60, why=f"no trace of order {order_id} has all services below one request")
    return await open_page(f"{path}?q={order_id}", java_script_enabled=False)


@pytest.mark.prove
@pytest.mark.servers
async def test_a_paid_order_is_one_tree_from_the_browser_to_every_reader(chromium: Browser, tmp_path: Path) -> None:
    async with (
        AsyncExitStack() as exits,
        Stack(tmp_path / "souk", traces=True) as stack,
        opening(chromium, stack) as open_page,
    ):
        order_id = await paid(stack, open_page, exits)
        page = await opened_trace(stack, order_id, open_page)
        rows = page.locator(".rows > li summary")
        await expect(rows.first).to_contain_text("web")
        top = await rows.evaluate_all("rows => rows.filter(r => r.style.getPropertyValue('--depth') == 0).length")
        assert top == 1, "every other span stands below the browser's request"
        for name in ("POST /api/payments", "provider capture", "process payments.captured", "process orders.paid"):
            await expect(rows.filter(has_text=name).first).to_be_visible()
        captured = rows.filter(has_text="orders process payments.captured").first
        await captured.click()
        await expect(page.locator("details[open] dd", has_text=order_id)).to_be_visible()
