"""Orders from the first click to the refund: in Chromium, on a desktop and on a phone, against the real services."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Locator, Page, expect

from infra.local.stack.stack import Stack
from tests.support.browsing import PHONE, Open, accessible, bought, headline, listed, live, paid, signed_in, signed_up
from tests.support.late_money import bank_waiting
from tests.support.people import People, Person
from tests.support.shopping import becomes, money, pay, place, sell

FREE = "Your payment came after the hold was over. The item was still free, so it is yours."
GONE = "Your payment came after the hold was over. The item was gone, so nothing was charged."
SENT_BACK = "Your payment came after the hold was over. The item was gone, so we sent your money back."

RECORD_THE_COUNTDOWN = """() => {
    window.shown = [];
    const note = () => {
        const text = document.querySelector('.countdown')?.textContent;
        if (text && text !== window.shown.at(-1)) window.shown.push(text);
    };
    new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


async def seen(picture: Locator) -> None:
    """Check that the picture is loaded and visible."""
    await expect(picture).to_be_visible()
    await expect(picture).to_have_js_property("complete", True)
    assert await picture.evaluate("image => image.naturalWidth") > 0


async def desktop_and_phone(opened: Open, somebody: Person) -> list[Page]:
    """Two windows of the same person, on a desktop and on a phone."""
    pages = [await opened("/signin"), await opened("/signin", **PHONE)]
    for page in pages:
        await signed_in(page, somebody)
    return pages


async def on_desktop_and_phone(opened: Open, somebody: Person, path: str) -> list[Page]:
    """The same page of the same person, on a desktop and on a phone."""
    pages = await desktop_and_phone(opened, somebody)
    await visited(pages, path)
    return pages


async def visited(pages: list[Page], path: str) -> None:
    """Open a page in every window. A hold that lasts seconds begins once the windows are there."""
    for page in pages:
        await page.goto(path)
        await live(page)


async def show(pages: list[Page], words: str) -> None:
    """Wait until every page shows these words."""
    for page in pages:
        await expect(page.locator("#fresh")).to_contain_text(words)


async def test_sold_with_a_picture_found_bought_and_paid(opened: Open, photo: Path, size: dict[str, Any]) -> None:
    title = f"A night in the lighthouse, {'on foot' if size else 'by boat'}"
    seller, buyer, watcher = await opened(**size), await opened(**size), await opened(**size)
    await signed_up(seller, "Sella")
    item = await listed(seller, title, pictures=(photo,))
    await seen(seller.locator(".gallery img"))

    await watcher.goto("/")
    card = watcher.locator(".card", has=watcher.get_by_role("link", name=title, exact=True))
    await seen(card.locator("img"))
    await live(watcher)
    await expect(card.locator(".stock")).to_have_text("5 left")
    await expect(seller).to_have_title(f"{title} · Souk")
    shared = await seller.locator("meta[property='og:image']").get_attribute("content") or ""
    picture = Image.open(BytesIO(await (await watcher.request.get(shared)).body()))
    assert not picture.getexif()
    assert max(picture.size) <= 1600

    await signed_up(buyer, "Bo")
    await bought(buyer, item, 2)
    await expect(card.locator(".stock")).to_have_text("3 left")
    await paid(buyer)
    await expect(headline(buyer, "It is yours")).to_be_visible()

    await buyer.locator("nav .menu summary").click()
    await buyer.locator("nav .menu").get_by_role("link", name="My orders").click()
    await expect(buyer.locator(".row", has_text=title)).to_contain_text("Paid")
    await seller.goto("/my/items")
    await expect(seller.locator(".row", has_text=title)).to_contain_text("2 sold, 0 held, 3 free")


@pytest.mark.prove
async def test_the_countdown_ends_on_the_page(hasty_opened: Open, hasty_people: People) -> None:
    seller, buyer = await hasty_people.new("Sella"), await hasty_people.new("Bo")
    item = await sell(seller, 1)
    watcher = await hasty_opened(f"/items/{item}")
    await live(watcher)
    pages = await desktop_and_phone(hasty_opened, buyer)
    placed = await place(buyer, item)
    await visited(pages, f"/orders/{placed['id']}")
    for page in pages:
        await page.evaluate(RECORD_THE_COUNTDOWN)
    await expect(watcher.locator(".offer .stock")).to_have_text("Reserved, may come back")

    await show(pages, "The time to pay was up, so it went back on sale. Nothing was charged.")

    for page in pages:
        shown = await page.evaluate("window.shown")  # A reload would have removed it.
        seconds = [text for text in shown if text != "The time is up."]  # The end itself may come before its tick.
        assert seconds == sorted(seconds, reverse=True)
        assert seconds[-1] == "0:01"
        await expect(headline(page, "The hold is over")).to_be_visible()
        await expect(page.locator("#announce")).to_contain_text("The hold is over")
        await expect(page.get_by_role("button", name="Pay")).to_have_count(0)
        await accessible(page)
    await expect(watcher.locator(".offer .stock")).to_have_text("Available")


@pytest.mark.prove
async def test_late_money_for_what_is_still_free(hasty_stack: Stack, hasty_opened: Open, hasty_people: People) -> None:
    seller, buyer = await hasty_people.new("Sella"), await hasty_people.new("Bo")
    pages = await desktop_and_phone(hasty_opened, buyer)
    placed = await place(buyer, await sell(seller, 1))
    await visited(pages[:1], f"/orders/{placed['id']}")

    await paid(pages[0], "Late")
    await show(pages[:1], "Your payment is being processed")
    [payment] = await money(buyer, placed["id"], "processing")
    async with bank_waiting(hasty_stack, payment):
        await visited(pages[1:], f"/orders/{placed['id']}")
        await show(pages, "A payment is still on its way.")
    await show(pages, FREE)

    for page in pages:
        await expect(headline(page, "It is yours")).to_be_visible()
        await accessible(page)


@pytest.mark.prove
@pytest.mark.parametrize(
    ("method", "headed", "words"),
    [
        pytest.param("Late", "Too late, and nothing was charged", GONE, id="card"),
        pytest.param("arrives after the hold is over", "Too late, and your money is back", SENT_BACK, id="bank"),
    ],
)
async def test_late_money_for_what_is_gone(
    hasty_stack: Stack, hasty_opened: Open, hasty_people: People, method: str, headed: str, words: str
) -> None:
    seller, buyer, faster = [await hasty_people.new(name) for name in ("Sella", "Bo", "Flo")]
    item = await sell(seller, 1)
    pages = await desktop_and_phone(hasty_opened, buyer)
    placed = await place(buyer, item)
    await visited(pages[1:], f"/orders/{placed['id']}")

    await paid(pages[1], method)
    [payment] = await money(buyer, placed["id"], "processing")
    async with bank_waiting(hasty_stack, payment):
        await visited(pages[:1], f"/orders/{placed['id']}")
        await show(pages, "A payment is still on its way.")
        await pay(faster, (await place(faster, item))["id"])
    await show(pages, words)

    for page in pages:
        await expect(headline(page, headed)).to_be_visible()
        await accessible(page)


@pytest.mark.prove
async def test_a_bank_that_agrees_and_does_not_pay(opened: Open, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    item = await sell(seller, 1)
    placed = await place(buyer, item)
    pages = await on_desktop_and_phone(opened, buyer, f"/orders/{placed['id']}")

    await paid(pages[0], "Refused")
    await show(pages, "Your bank agreed at first, but then did not pay. What we held for you is back on sale.")

    for page in pages:
        await expect(headline(page, "Your payment did not go through")).to_be_visible()
        await expect(page.locator("#fresh")).to_contain_text("capture refused. Nothing was charged.")
        await expect(page.get_by_role("button", name="Cancel this order")).to_have_count(0)
        await accessible(page)
    await place(buyer, item)


@pytest.mark.prove
async def test_a_refund_shows_on_the_buyers_page(opened: Open, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    placed = await place(buyer, await sell(seller, 1))
    await pay(buyer, placed["id"])
    await becomes(buyer, placed["id"], "paid")
    pages = await on_desktop_and_phone(opened, buyer, f"/orders/{placed['id']}")
    [sales, sales_on_phone] = await on_desktop_and_phone(opened, seller, "/my/sales")

    await sales_on_phone.locator("summary", has_text="Refund").first.click()
    await accessible(sales_on_phone)
    await sales_on_phone.get_by_role("button", name="Send €45.00 back to Bo").click()

    await show(pages, "The seller has refunded this order in full.")
    await expect(sales.locator(".row .status")).to_have_text("Refunded")
