"""What once went wrong on the pages, in Chromium: each of these was found by using them."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import Page, Response, expect

from infra.local.stack.stack import Stack
from tests.support.browsing import Open, accessible, headline, live, paid, signed_in, signed_up
from tests.support.people import People, Person
from tests.support.shopping import becomes, in_effect, ok, pay, place, sell
from tests.support.stacks import away
from tests.support.waiting import eventually

pytestmark = pytest.mark.prove

LAST = 10_000
"""Milliseconds after which a page that says that something is away has loaded itself again, at the latest."""


def drawn(width: int, height: int) -> bytes:
    """A picture of this size."""
    file = BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, "PNG")
    return file.getvalue()


async def pictured(seller: Person, item: str, *pictures: bytes) -> None:
    """Add pictures to an item."""
    for picture in pictures:
        answer = await seller.http.post(
            f"/api/items/{item}/pictures", content=picture, headers={"Content-Type": "image/png"}
        )
        ok(answer, 201)


async def opened_as(opened: Open, somebody: Person, path: str) -> Page:
    """A page of somebody who is signed in."""
    page = await opened("/signin")
    await signed_in(page, somebody)
    await page.goto(path)
    return page


def polled(page: Page) -> Callable[[Response], bool]:
    """Whether a response is the page itself, read again by its script."""
    return lambda answer: answer.url == page.url and answer.request.resource_type in {"xhr", "fetch"}


async def test_who_signs_in_with_a_recovery_code_or_signs_up_first_buys_as_many_as_they_had_typed(
    opened: Open, people: People
) -> None:
    item = await sell(await people.new("Sella"), 9)
    page = await opened()
    await signed_up(page, "Ada")
    await page.goto("/account")
    email = await page.locator("main").get_by_text("@souk.test").first.inner_text()
    await page.goto("/my/security")
    await page.get_by_role("button", name="Make recovery codes").click()
    code = await page.locator(".codes code").first.inner_text()

    begun = await opened(f"/items/{item}")
    await begun.get_by_label("Quantity").fill("3")
    await begun.get_by_role("button", name="Hold it and pay").click()
    await begun.get_by_role("link", name="Use a recovery code").click()
    await begun.get_by_role("link", name="Back to the sign-in").click()
    await begun.get_by_role("link", name="Use a recovery code").click()
    await begun.get_by_label("E-mail").fill(next(word for word in email.split() if "@" in word).strip(".,"))
    await begun.get_by_label("Recovery code").fill(code)
    await begun.get_by_role("main").get_by_role("button", name="Sign in").click()
    await expect(headline(begun, "We hold it for you")).to_be_visible()
    await expect(begun.locator(".lines")).to_contain_text("3 × €45.00")

    other = await opened(f"/items/{item}")
    await other.get_by_label("Quantity").fill("2")
    await other.get_by_role("button", name="Hold it and pay").click()
    await other.get_by_role("banner").get_by_role("link", name="Sign up").click()
    await other.get_by_label("Name").fill("Bo")
    await other.get_by_label("E-mail").fill(f"bo-{item}@souk.test")
    await other.get_by_label("Password").fill("quincunx lamp")
    await other.get_by_role("main").get_by_role("button", name="Sign up").click()
    await expect(other.locator(".lines")).to_contain_text("2 × €45.00")


async def test_a_price_that_has_changed_is_asked_and_not_charged(opened: Open, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    item = await sell(seller, 3)
    page = await opened("/signin")
    await signed_in(page, buyer)
    await page.route("**/live?*", lambda route: route.abort())  # This page does not hear of the change.
    await page.goto(f"/items/{item}")
    ok(await seller.http.patch(f"/api/items/{item}", json={"price": 5000}))
    await eventually(lambda: in_effect(seller, item))

    await page.get_by_role("button", name="Hold it and pay").click()
    await expect(page.get_by_role("alert")).to_contain_text("One now costs €50.00. Nothing has been ordered yet")
    await accessible(page)
    assert ok(await buyer.http.get("/api/orders"))["items"] == []

    await page.get_by_role("button", name="Hold it and pay").click()
    await expect(page.locator(".lines .total")).to_contain_text("€50.00")


async def test_pictures_of_any_shape_fit_and_show_what_their_seller_chose(opened: Open, people: People) -> None:
    seller = await people.new("Sella")
    item = await sell(seller, 3, "A picture of every shape")
    await pictured(seller, item, drawn(300, 1500), drawn(1500, 300))
    page = await opened_as(opened, seller, f"/items/{item}/edit")
    picture = page.get_by_alt_text("Picture 1", exact=True)
    await picture.click(position={"x": 40, "y": 1})  # It is cropped: its visible part begins below its middle.
    await expect(page.get_by_label("From the left, in percent").first).to_have_value("25")
    top = int(await page.get_by_label("From the top, in percent").first.input_value())
    assert 40 <= top <= 48
    await page.get_by_label("From the top, in percent").first.fill("100")
    await accessible(page)
    await page.get_by_role("button", name="Keep this point").first.click()
    await expect(page.get_by_role("status").first).to_have_text("The pictures are saved.")
    await expect(picture).to_have_css("object-position", "25% 100%")

    await page.goto("/?q=every+shape")
    face = page.locator(".card .face").first
    await expect(face.locator("img")).to_have_css("object-fit", "cover")
    await expect(face.locator("img")).to_have_css("object-position", "25% 100%")
    assert "960w" in (await face.locator("img").get_attribute("srcset") or "")
    assert await face.bounding_box() == await face.locator("img").bounding_box()

    await page.goto(f"/items/{item}")
    first, second = await page.locator(".stage img").all()
    await expect(first).to_be_in_viewport(ratio=0.9)
    await page.get_by_role("link", name="Picture 2").click()
    await expect(second).to_be_in_viewport(ratio=0.9)
    await expect(first).not_to_be_in_viewport(ratio=0.1)


async def test_a_page_that_says_that_something_is_away_loads_itself_again(
    opened: Open, people: People, stack: Stack
) -> None:
    item = await sell(await people.new("Sella"), 3)
    page = await opened("/signin")  # Nothing of items is on its way there.
    async with away(stack, "items"):
        await page.goto(f"/items/{item}")
        await expect(headline(page, "Part of Souk is unavailable")).to_be_visible()

    await expect(page.get_by_role("button", name="Hold it and pay")).to_be_visible(timeout=3 * LAST)


async def test_an_order_shows_without_payments_and_says_so_and_a_receipt_without_items(
    opened: Open, people: People, stack: Stack
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    held, bought = [(await place(buyer, await sell(seller, 3)))["id"] for _ in range(2)]
    ok(await buyer.http.get(f"/api/orders/{bought}"))
    await pay(buyer, bought)
    page = await opened_as(opened, buyer, f"/orders/{bought}")
    await expect(headline(page, "It is yours")).to_be_visible()
    await expect(page.locator(".countdown")).to_have_count(0)
    await expect(page.get_by_role("button", name="Cancel this order")).to_have_count(0)

    async with away(stack, "payments"):
        await page.goto(f"/orders/{held}")
        await expect(page.locator("#fresh")).to_contain_text("A seat at the opera")
        await expect(page.locator("#fresh")).to_contain_text("We can't reach our payment desk for a moment.")

    async with away(stack, "items"):
        await page.goto(f"/orders/{bought}/receipt")
        await expect(headline(page, "Receipt")).to_be_visible()
        await expect(page.locator(".lines .total")).to_contain_text("€45.00")


async def test_while_a_payment_is_processed_nothing_counts_down_and_a_poll_leaves_the_page_as_it_is(
    opened: Open, people: People
) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    order = (await place(buyer, await sell(seller, 3)))["id"]
    page = await opened_as(opened, buyer, f"/orders/{order}")
    await expect(page.locator(".countdown")).to_be_visible()
    await paid(page, "Late")  # The bank does not answer before the hold is over.
    await expect(page.locator("#fresh")).to_contain_text("Your payment is being processed")
    await expect(page.locator(".countdown")).to_have_count(0)

    link = page.locator("#fresh").get_by_role("link", name="A seat at the opera")
    await link.focus()
    await link.evaluate("link => link.marked = true")
    for _ in range(2):
        async with page.expect_response(polled(page)):
            pass
    await expect(link).to_be_focused()
    assert await link.evaluate("link => link.marked"), "the poll has replaced what is the same"


async def test_chosen_pictures_survive_an_error_in_the_form(opened: Open, people: People, photo: Path) -> None:
    page = await opened_as(opened, await people.new("Sella"), "/sell")
    await page.get_by_label("Title").fill("A lamp")
    await page.get_by_label("Currency").select_option("EUR")
    await page.get_by_label("Price of one").fill("cheap")
    await page.get_by_label("How many").fill("2")
    await page.get_by_label("Pictures").set_input_files(photo)
    await page.get_by_role("button", name="Put it on sale").click()
    await expect(page.get_by_text("Enter an amount like 12.50.")).to_be_visible()

    await page.get_by_label("Price of one").fill("12.50")
    await page.get_by_role("button", name="Put it on sale").click()

    await expect(page.locator(".gallery img")).to_be_visible()


async def test_live_news_leave_a_pressed_button_alone_and_bring_what_the_seller_writes(
    opened: Open, people: People
) -> None:
    seller, buyer, other = [await people.new(name) for name in ("Sella", "Bo", "Flo")]
    item = await sell(seller, 5)
    page = await opened_as(opened, buyer, f"/items/{item}")
    await live(page)
    await page.get_by_label("Quantity").fill("2")

    ok(await seller.http.patch(f"/api/items/{item}", json={"title": "A seat in a box", "description": "Row **1**"}))
    await expect(headline(page, "A seat in a box")).to_be_visible()
    await expect(page.locator(".prose strong")).to_have_text("1")
    await expect(page.get_by_label("Quantity")).to_have_value("2")

    # The answer takes long: the browser would wait for it, and so would this test.
    await page.evaluate("document.addEventListener('submit', event => event.preventDefault())")
    button = page.locator(f"#buy-{item}")
    await button.click()
    await expect(button).to_be_disabled()
    await place(other, item, 1)
    await expect(page.locator(".offer .stock")).to_have_text("4 left")
    await expect(button).to_be_disabled()


async def test_menus_close(opened: Open, people: People) -> None:
    await sell(await people.new("Sella"), 3)
    page = await opened("/")
    for menu in (page.locator(".looks"), page.locator(".sorting")):
        summary = menu.locator("summary")
        await summary.click()
        await expect(menu).to_have_attribute("open", "")
        await page.keyboard.press("Escape")
        await expect(menu).not_to_have_attribute("open", "")
        await expect(summary).to_be_focused()
        await summary.click()
        await page.locator("footer").click()
        await expect(menu).not_to_have_attribute("open", "")


async def test_a_buyer_holds_it_again_and_finds_each_order_under_its_tab(opened: Open, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    item = await sell(seller, 5)
    order = (await place(buyer, item, 2))["id"]
    page = await opened_as(opened, buyer, f"/orders/{order}")
    await page.get_by_role("button", name="Cancel this order").click()
    await page.get_by_role("button", name="Hold it again").click()
    await expect(headline(page, "We hold it for you")).to_be_visible()
    await expect(page.locator(".lines")).to_contain_text("2 × €45.00")
    again = await page.locator(".lines .number").inner_text()
    assert not page.url.endswith(order)

    await page.goto("/my/orders")
    await expect(page.locator(".row")).to_have_count(2)
    tabs = page.get_by_role("navigation", name="My orders")
    await tabs.get_by_role("link", name="To be paid").click()
    await expect(page.locator(".row")).to_have_count(1)
    await expect(page.locator(".row")).to_contain_text(again)
    await tabs.get_by_role("link", name="Past").click()
    await expect(page.locator(".row")).to_have_count(1)
    await expect(page.locator(".row")).not_to_contain_text(again)
    await tabs.get_by_role("link", name="Upcoming").click()
    await expect(page.get_by_text("There is no order here.")).to_be_visible()
    await accessible(page)


async def test_a_seller_chooses_among_sales_and_takes_them_along(opened: Open, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    lamp, chair = await sell(seller, 5, "A lamp"), await sell(seller, 5, "A chair")
    bought, _ = await place(buyer, lamp, 2), await place(buyer, chair)
    await pay(buyer, bought["id"])
    await becomes(buyer, bought["id"], "paid")
    page = await opened_as(opened, seller, "/my/sales")
    await expect(page.locator(".row")).to_have_count(2)

    await page.get_by_label("Status").select_option("Paid")
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator(".row")).to_have_count(1)
    await expect(page.locator(".row")).to_contain_text("A lamp")
    number = await page.locator(".row .number").inner_text()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="As a file (CSV)").click()
    lines = (await (await download.value).path()).read_text("utf-8-sig").splitlines()
    assert [line.split(",")[0] for line in lines] == ["Order", number]

    await page.get_by_role("link", name="Show all").click()
    await page.get_by_label("Order number").fill(number.lower())
    await page.get_by_role("button", name="Show", exact=True).click()
    await expect(page.locator(".row")).to_have_count(1)
    await accessible(page)
