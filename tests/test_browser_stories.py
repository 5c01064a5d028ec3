"""What people live through on the site: in a real Chromium, against the real stack, at a desk and in the hand."""

import re
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.async_api import Locator, Page, expect

from infra.local.stack import Stack
from tests.browsing import (
    PHONE,
    Open,
    accessible,
    bought,
    headline,
    listed,
    live,
    paid,
    refused,
    signed_in,
    signed_up,
)
from tests.conftest import People, Person
from tests.shopping import Json, becomes, leaves, ok, pay, place, sell

FREE = "Your payment came after the hold was over. The item was still free, so it is yours."
GONE = "Your payment came after the hold was over. The item was gone, so we sent your money back."

REMEMBER_THE_COUNTDOWN = """() => {
    window.said = [];
    const note = () => {
        const text = document.querySelector('.countdown')?.textContent;
        if (text && text !== window.said.at(-1)) window.said.push(text);
    };
    new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""

FOCUS_IS_SEEN = """() => {
    const focused = document.activeElement, box = focused.getBoundingClientRect();
    if (focused === document.body) return true;
    if (box.bottom <= 0 || box.top >= innerHeight) return false;
    for (let e = focused; e !== document.body; e = e.parentElement) {
        const {outlineStyle, outlineWidth} = getComputedStyle(e);
        if (outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2) return true;
    }
    return false;
}"""


@pytest.fixture(params=[{}, PHONE], ids=["desktop", "phone"])
def size(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The options of a browser at a desk, and of one in the hand."""
    options: dict[str, Any] = request.param
    return options


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture as a camera makes it: large, and it says where it was taken."""
    where = Image.Exif()
    where[0x010E] = "at home, second floor"
    path = tmp_path / "lamp.jpg"
    Image.linear_gradient("L").convert("RGB").resize((2400, 1800)).save(path, exif=where)
    return path


async def seen(picture: Locator) -> None:
    """The picture is loaded and shown."""
    await expect(picture).to_be_visible()
    await expect(picture).to_have_js_property("complete", True)
    assert await picture.evaluate("image => image.naturalWidth") > 0


async def everywhere(opened: Open, somebody: Person, path: str) -> list[Page]:
    """The same page of the same person at a desk and in the hand."""
    pages = [await opened("/signin"), await opened("/signin", **PHONE)]
    for page in pages:
        await signed_in(page, somebody)
        await page.goto(path)
        await live(page)
    return pages


async def tell(pages: list[Page], words: str, *, seconds: float = 15) -> None:
    """Wait until every page says so."""
    for page in pages:
        await expect(page.locator("#fresh")).to_contain_text(words, timeout=seconds * 1000)


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
    await expect(card.locator(".stock")).to_have_text("Only 5 left")
    await expect(seller).to_have_title(f"{title} · Souk")
    shared = await seller.locator("meta[property='og:image']").get_attribute("content") or ""
    picture = Image.open(BytesIO(await (await watcher.request.get(shared)).body()))
    assert not picture.getexif()
    assert max(picture.size) <= 1600

    await signed_up(buyer, "Bo")
    await bought(buyer, item, 2)
    await expect(card.locator(".stock")).to_have_text("Only 3 left")
    await paid(buyer)
    await expect(headline(buyer, "It is yours")).to_be_visible()

    await buyer.locator(".menu summary").click()
    await buyer.locator(".menu").get_by_role("link", name="My orders").click()
    await expect(buyer.locator(".row", has_text=title)).to_contain_text("Paid")
    await seller.goto("/my/items")
    await expect(seller.locator(".row", has_text=title)).to_contain_text("2 of 5 sold or held")


async def test_the_countdown_ends_on_the_page(hasty_opened: Open, hasty_people: People) -> None:
    seller, buyer = await hasty_people.new("Sella"), await hasty_people.new("Bo")
    item = await sell(seller, 1)
    watcher = await hasty_opened(f"/items/{item}")
    await live(watcher)
    placed = await place(buyer, item)
    pages = await everywhere(hasty_opened, buyer, f"/orders/{placed['id']}")
    for page in pages:
        await page.evaluate(REMEMBER_THE_COUNTDOWN)
    await expect(watcher.locator(".offer .stock")).to_have_text("Sold out")

    await tell(pages, "The time to pay was up, so it went back on sale. Nothing was charged.")

    for page in pages:
        said = await page.evaluate("window.said")  # It would be gone after a reload.
        assert said[-2:] == ["0:01", "The time is up."]
        await expect(headline(page, "The hold is over")).to_be_visible()
        await expect(page.locator("#announce")).to_contain_text("The hold is over")
        await expect(page.get_by_role("button", name="Pay")).to_have_count(0)
        await accessible(page)
    await expect(watcher.locator(".offer .stock")).to_have_text("Only 1 left")


async def test_late_money_for_what_is_still_free(hasty_opened: Open, hasty_people: People) -> None:
    seller, buyer = await hasty_people.new("Sella"), await hasty_people.new("Bo")
    placed = await place(buyer, await sell(seller, 1))
    pages = await everywhere(hasty_opened, buyer, f"/orders/{placed['id']}")

    await paid(pages[0], "Late")
    await tell(pages[:1], "Your payment is being processed")
    await tell(pages, "A payment is still on its way.")
    await tell(pages, FREE)

    for page in pages:
        await expect(headline(page, "It is yours")).to_be_visible()
        await accessible(page)


async def test_late_money_for_what_is_gone(hasty_opened: Open, hasty_people: People) -> None:
    seller, buyer, faster = [await hasty_people.new(name) for name in ("Sella", "Bo", "Flo")]
    item = await sell(seller, 1)
    placed = await place(buyer, item)
    pages = await everywhere(hasty_opened, buyer, f"/orders/{placed['id']}")

    await paid(pages[1], "Late")
    await tell(pages, "A payment is still on its way.")
    await pay(faster, (await place(faster, item))["id"])
    await tell(pages, GONE)

    for page in pages:
        await expect(headline(page, "Too late, and your money is back")).to_be_visible()
        await accessible(page)


async def test_a_refund_shows_on_the_buyers_page(opened: Open, people: People) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    placed = await place(buyer, await sell(seller, 1))
    await pay(buyer, placed["id"])
    await becomes(buyer, placed["id"], "paid")
    pages = await everywhere(opened, buyer, f"/orders/{placed['id']}")
    [sales, sales_in_the_hand] = await everywhere(opened, seller, "/my/sales")

    await sales_in_the_hand.get_by_text("Refund", exact=False).first.click()
    await accessible(sales_in_the_hand)
    await sales_in_the_hand.get_by_role("button", name="Send €45.00 back to Bo").click()

    await tell(pages, "The seller has refunded this order in full.")
    await expect(sales.locator(".row .status")).to_have_text("Refunded")


async def test_sign_up_and_sign_in_say_what_is_wrong(opened: Open, people: People, size: dict[str, Any]) -> None:
    taken = (await people.signed_up()).user.email
    page = await opened("/signup", **size)
    await page.get_by_label("E-mail").fill("nobody")
    await page.get_by_label("Password").fill("short")
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await refused(page, "Name", "Tell us a name of 1 to 100 characters.")
    await refused(page, "E-mail", "This is no e-mail address that we can use.")
    await refused(page, "Password", "Use 8 to 128 characters.")
    await expect(page.get_by_label("E-mail")).to_have_value("nobody")
    await accessible(page)

    await page.get_by_label("Name").fill("Bo")
    await page.get_by_label("E-mail").fill(taken)
    await page.get_by_label("Password").fill("long enough")
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await refused(page, "E-mail", "Somebody has signed up with this address already.")
    await expect(page.get_by_label("Name")).to_have_value("Bo")

    await page.goto("/signin")
    await page.get_by_label("E-mail").fill(taken)
    await page.get_by_label("Password").fill("not this one")
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_have_text("No account has this address and this password.")
    await expect(page.get_by_label("E-mail")).to_have_value(taken)
    await accessible(page)


async def test_selling_and_editing_say_what_is_wrong(opened: Open, people: People, size: dict[str, Any]) -> None:
    page = await opened("/signin", **size)
    await signed_in(page, await people.new("Sella"))
    await page.goto("/sell")
    await page.get_by_label("Description").fill("It shines.\nStill.")
    await page.get_by_label("Price of one").fill("cheap")
    await page.get_by_label("Currency").select_option("EUR")
    await page.get_by_label("How many").fill("0")
    await page.get_by_role("button", name="Put it on sale").click()
    await refused(page, "Title", "Give it a title of 1 to 200 characters.")
    await refused(page, "Price of one", "Write an amount like 12.50.")
    await refused(page, "How many", "Choose a whole number from 1 to 100,000.")
    await expect(page.get_by_label("Description")).to_have_value("It shines.\nStill.")
    await expect(page.get_by_label("Price of one")).to_have_value("cheap")
    await accessible(page)

    await page.get_by_label("Title").fill("A lamp")
    await page.get_by_label("Price of one").fill("12.345")
    await page.get_by_label("How many").fill("3")
    await page.get_by_role("button", name="Put it on sale").click()
    await refused(page, "Price of one", "EUR has 2 decimals.")
    await page.get_by_label("Price of one").fill("12.34")
    await page.get_by_role("button", name="Put it on sale").click()

    await page.get_by_role("link", name="Edit it").click()
    await page.get_by_label("Price of one").fill("0")
    await page.get_by_role("button", name="Save").click()
    await refused(page, "Price of one", "Choose a price above zero.")
    await accessible(page)
    await page.get_by_label("Price of one").fill("13")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status").first).to_have_text("Saved.")


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    """No picture at all."""
    path = tmp_path / "letter.pdf"
    path.write_bytes(b"%PDF-1.4")
    return path


@pytest.fixture
def torn(photo: Path) -> Path:
    """The beginning of a picture."""
    path = photo.with_name("torn.jpg")
    path.write_bytes(photo.read_bytes()[:200])
    return path


@pytest.fixture
def huge(photo: Path) -> Path:
    """A picture of more than 5 MB."""
    path = photo.with_name("huge.jpg")
    path.write_bytes(photo.read_bytes() + bytes(5 * 1024 * 1024))
    return path


async def test_only_pictures_are_taken(
    opened: Open, people: People, photo: Path, letter: Path, torn: Path, huge: Path, size: dict[str, Any]
) -> None:
    page = await opened("/signin", **size)
    await signed_in(page, await people.new("Sella"))
    await page.goto(f"{await listed(page, 'A lamp')}/edit")
    for file, words in (
        (letter, "This is no JPEG, PNG or WebP picture."),
        (torn, "This picture can't be read."),
        (huge, "A picture may have up to 5 MB."),
    ):
        await page.get_by_label("Add pictures").set_input_files(file)
        await page.get_by_role("button", name="Upload").click()
        await expect(page.get_by_role("alert")).to_contain_text(words)
        await expect(page.get_by_label("Add pictures")).to_have_accessible_description(re.compile(re.escape(words)))
    await accessible(page)

    await page.get_by_label("Add pictures").set_input_files([photo] * 6)
    await page.get_by_role("button", name="Upload").click()
    await expect(page.get_by_role("status").first).to_have_text("The pictures are saved.")
    await expect(page.locator(".thumbs img")).to_have_count(6)
    await accessible(page)
    await page.get_by_label("Add pictures").set_input_files(photo)
    await page.get_by_role("button", name="Upload").click()
    await expect(page.get_by_role("alert")).to_have_text("An item may have up to six pictures.")
    await page.get_by_role("button", name="Remove picture 2").click()
    await expect(page.locator(".thumbs img")).to_have_count(5)


async def test_buying_says_what_is_wrong(opened: Open, people: People, size: dict[str, Any]) -> None:
    seller, faster = await people.new("Sella"), await people.new("Flo")
    item = await sell(seller, 13)
    page = await opened("/signin", **size)
    await signed_in(page, await people.new("Bo"))
    await page.route("**/live?*", lambda route: route.abort())  # This page is the last to hear of anything.
    await page.goto(f"/items/{item}")

    async def order(quantity: str, words: str) -> None:
        await page.get_by_label("Quantity").fill(quantity)
        await page.get_by_role("button", name="Hold it and pay").click()
        await expect(page.get_by_role("alert")).to_contain_text(words)
        await refused(page, "Quantity", words)
        await expect(page.get_by_label("Quantity")).to_have_value(quantity)

    await order("0", "Choose a whole number, 1 or more.")
    await order("11", "That is more than one person may hold of an item.")
    await place(faster, item, 10)
    await place(await people.new("Fay"), item, 2)
    await leaves(seller, item, 1)
    await order("2", "Only 1 is left by now.")
    await accessible(page)
    await place(await people.new("Finn"), item)
    await leaves(seller, item, 0)
    await order("1", "Somebody was faster: it is sold out.")
    await expect(page.locator(".offer").get_by_role("button", name="Sold out")).to_be_disabled()
    await accessible(page)


async def test_a_form_of_another_session_changes_nothing(opened: Open, people: People) -> None:
    seller = await people.new("Sella")
    item = await sell(seller, 3)
    page = await opened("/signin")
    await signed_in(page, await people.new("Bo"))
    await page.goto(f"/items/{item}")
    await signed_in(page, await people.new("Flo"))

    await page.get_by_role("button", name="Hold it and pay").click()

    await expect(headline(page, "This page was open for too long")).to_be_visible()
    await accessible(page)
    assert ok(await seller.http.get("/api/orders/sales"))["items"] == []


async def test_the_buying_journey_in_the_hand(opened: Open, people: People) -> None:
    await sell(await people.new("Sella"), 5, title="Ferry to the outer islands")
    page = await opened(**PHONE)
    await page.get_by_label("Search the market").tap()
    await page.keyboard.type("outer islands")
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Ferry to the outer islands").tap()
    await page.get_by_role("button", name="Hold it and pay").tap()

    await expect(page.get_by_text("Sign in, and we go on where you were.")).to_be_visible()
    await page.get_by_role("main").get_by_role("link", name="Sign up").tap()
    await page.get_by_label("Name").fill("Bo")
    await page.get_by_label("E-mail").fill((await people.new("Bo")).user.email)
    await page.get_by_label("Password").fill("long enough")
    await page.get_by_role("main").get_by_role("button", name="Sign up").tap()

    await expect(headline(page, "Ferry to the outer islands")).to_be_visible()
    await page.get_by_label("Quantity").fill("2")
    await page.get_by_role("button", name="Hold it and pay").tap()
    await expect(page.locator(".countdown")).to_have_text(re.compile(r"^14:\d\d$"))
    await page.get_by_label("Visa").tap()
    await page.get_by_role("button", name="Pay €90.00").tap()
    await expect(headline(page, "It is yours")).to_be_visible()


async def test_the_buying_journey_without_scripts(opened: Open, people: People) -> None:
    await sell(await people.new("Sella"), 5, title="Night train to the coast")
    page = await opened(java_script_enabled=False)
    await page.get_by_label("Search the market").fill("night coast")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name="Night train to the coast").click()
    await signed_in(page, await people.new("Bo"))
    await page.reload()

    await page.get_by_role("button", name="Hold it and pay").click()
    await expect(page.get_by_text("Pay by")).to_be_visible()
    await paid(page, "Declined")
    await expect(headline(page, "The card was declined")).to_be_visible()
    await paid(page, "Slow")
    await expect(headline(page, "Your payment is being processed")).to_be_visible()
    await expect(headline(page, "It is yours")).to_be_visible(timeout=10_000)  # The page looks again by itself.

    await page.locator(".menu summary").click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("link", name="Sign in")).to_be_visible()


async def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus; everything on the way shows that it has it."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        assert await page.evaluate(FOCUS_IS_SEEN), await page.evaluate("document.activeElement.outerHTML")
        if await target.evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not lead to {target} on {page.url}")


async def test_the_buying_journey_by_keyboard_alone(opened: Open, people: People) -> None:
    await sell(await people.new("Sella"), 5, title="Balloon over the vineyards")
    page = await opened()
    keys = page.keyboard
    await tab_to(page, page.get_by_role("link", name="Skip to the content"))
    await keys.press("Enter")
    await expect(page.locator("main")).to_be_focused()

    await page.goto("/signup")
    for label, text in (("Name", "Bo"), ("E-mail", (await people.new("Bo")).user.email), ("Password", "long enough")):
        await tab_to(page, page.get_by_label(label))
        await keys.type(text)
    await keys.press("Enter")
    await expect(page.locator(".menu summary")).to_have_text("Bo")

    await tab_to(page, page.get_by_label("Search the market"))
    await keys.type("balloon vineyards")
    await keys.press("Enter")
    await expect(page.get_by_role("heading", name="Results for")).to_be_visible()
    await tab_to(page, page.get_by_role("link", name="Balloon over the vineyards"))
    await keys.press("Enter")
    await expect(headline(page, "Balloon over the vineyards")).to_be_visible()

    await tab_to(page, page.get_by_label("Quantity"))
    await keys.press("ArrowUp")
    await tab_to(page, page.get_by_role("button", name="Hold it and pay"))
    await keys.press("Enter")
    await expect(headline(page, "We hold it for you")).to_be_visible()
    await tab_to(page, page.get_by_label("Visa"))
    await keys.press("ArrowDown")
    await expect(page.get_by_label("Slow")).to_be_checked()
    await tab_to(page, page.get_by_role("button", name="Pay €90.00"))
    await keys.press("Enter")
    await expect(headline(page, "It is yours")).to_be_visible()

    await tab_to(page, page.locator(".menu summary"))
    await keys.press("Enter")
    await keys.press("Escape")
    await expect(page.locator(".menu summary")).to_be_focused()
    await keys.press("Enter")
    await tab_to(page, page.locator(".menu").get_by_role("link", name="My orders"))
    await keys.press("Enter")
    await expect(page.locator(".row", has_text="Balloon over the vineyards")).to_contain_text("Paid")


async def test_every_state_is_accessible(opened: Open, people: People, size: dict[str, Any]) -> None:
    seller, buyer = await people.new("Sella"), await people.new("Bo")
    item = await sell(seller, 6)
    orders: dict[str, Json] = {}
    for name in ("waiting", "declined", "processing", "cancelled", "paid", "refunded"):
        orders[name] = await place(buyer, item)
    declined = {"order_id": orders["declined"]["id"], "payment_method": "pm_card_declined"}
    ok(await buyer.http.post("/api/payments", json=declined), 402)
    await pay(buyer, orders["processing"]["id"], "pm_card_late")
    ok(await buyer.http.delete(f"/api/orders/{orders['cancelled']['id']}"))
    for name in ("paid", "refunded"):
        await pay(buyer, orders[name]["id"])
        await becomes(buyer, orders[name]["id"], "paid")
    ok(await seller.http.post(f"/api/orders/{orders['refunded']['id']}/refund"), 202)
    await becomes(buyer, orders["refunded"]["id"], "refunded")
    withdrawn = await sell(seller, 1)
    ok(await seller.http.delete(f"/api/items/{withdrawn}"))

    page = await opened("/signin", **size)
    await signed_in(page, buyer)
    for path in (*(f"/orders/{order['id']}" for order in orders.values()), "/my/orders", f"/items/{item}"):
        await page.goto(path)
        await accessible(page)
    await page.locator(".menu summary").click()
    await accessible(page)
    await signed_in(page, seller)
    for path in ("/my/sales", "/my/items", f"/items/{withdrawn}", f"/items/{withdrawn}/edit", f"/items/{item}/edit"):
        await page.goto(path)
        await accessible(page)


async def test_a_service_that_is_away_is_a_clear_page(opened: Open, stack: Stack) -> None:
    pages = [await opened(), await opened(**PHONE)]
    await stack.kill("items")
    for page in pages:
        await page.goto("/")

    for page in pages:
        await expect(headline(page, "A part of Souk is away for a moment")).to_be_visible()
        await accessible(page)
    await stack.ready()
    await pages[0].get_by_role("link", name="To the market").click()
    await expect(headline(pages[0], "Hold it. Pay it. It’s yours.")).to_be_visible()  # noqa: RUF001 - as it is typeset
