"""Every form shows an error beside its field, and keeps what was typed."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.support.browsing import PASSWORD, Open, accessible, headline, listed, refused, signed_in
from tests.support.people import People
from tests.support.shopping import leaves, ok, place, sell


async def test_sign_up_and_sign_in_say_what_is_wrong(opened: Open, people: People, size: dict[str, Any]) -> None:
    taken = (await people.signed_up()).user.email
    page = await opened("/signup", **size)
    await page.get_by_label("E-mail").fill("nobody")
    await page.get_by_label("Password").fill("short")
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await refused(page, "Name", "Enter a name of 1 to 100 characters.")
    await refused(page, "E-mail", "This is not an e-mail address that we can use.")
    await refused(page, "Password", "Use 10 to 128 characters.")
    await expect(page.get_by_label("E-mail")).to_have_value("nobody")
    await accessible(page)

    await page.get_by_label("Name").fill("Bo")
    await page.get_by_label("E-mail").fill(taken)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign up").click()
    await refused(page, "E-mail", "There is already an account with this address.")
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
    await refused(page, "Title", "Enter a title of 1 to 200 characters.")
    await refused(page, "Price of one", "Enter an amount like 12.50.")
    await refused(page, "How many", "Enter a whole number from 1 to 100,000.")
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
    await refused(page, "Price of one", "Enter a price above zero.")
    await accessible(page)
    await page.get_by_label("Price of one").fill("13")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("status").first).to_have_text("Saved.")


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    """A file that is not a picture."""
    path = tmp_path / "letter.pdf"
    path.write_bytes(b"%PDF-1.4")
    return path


@pytest.fixture
def torn(photo: Path) -> Path:
    """The first bytes of a picture."""
    path = photo.with_name("torn.jpg")
    path.write_bytes(photo.read_bytes()[:200])
    return path


@pytest.fixture
def huge(photo: Path) -> Path:
    """A picture of more than 5 MB."""
    path = photo.with_name("huge.jpg")
    path.write_bytes(photo.read_bytes() + bytes(5 * 1024 * 1024))
    return path


async def test_only_pictures_are_accepted(
    opened: Open, people: People, photo: Path, letter: Path, torn: Path, huge: Path, size: dict[str, Any]
) -> None:
    page = await opened("/signin", **size)
    await signed_in(page, await people.new("Sella"))
    await page.goto(f"{await listed(page, 'A lamp')}/edit")
    for file, words in (
        (letter, "This is not a JPEG, PNG or WebP picture."),
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
    await page.route("**/live?*", lambda route: route.abort())  # This page receives no live updates.
    await page.goto(f"/items/{item}")

    async def order(quantity: str, words: str) -> None:
        await page.get_by_label("Quantity").fill(quantity)
        await page.get_by_role("button", name="Hold it and pay").click()
        await expect(page.get_by_role("alert")).to_contain_text(words)
        await refused(page, "Quantity", words)
        await expect(page.get_by_label("Quantity")).to_have_value(quantity)

    await order("0", "Enter a whole number, 1 or more.")
    await order("11", "One person may hold 10 of this at a time.")
    await place(faster, item, 10)
    await place(await people.new("Fay"), item, 2)
    await leaves(seller, item, 1)
    await order("2", "Only 1 is left.")
    await accessible(page)
    await place(await people.new("Finn"), item)
    await leaves(seller, item, 0)
    await order("1", "Somebody was faster: all of it is reserved.")
    await expect(page.locator(".offer").get_by_role("button", name="Reserved, may come back")).to_be_disabled()
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


async def test_price_and_quantity_of_an_offer_stand_in_two_even_rows(
    opened: Open, people: People, size: dict[str, Any]
) -> None:
    page = await opened("/", **size)
    await signed_in(page, await people.new())
    await page.goto("/sell")

    boxes = [
        await page.locator(".field", has=page.get_by_label(label, exact=True)).bounding_box()
        for label in ("Price of one", "Currency", "How many", "At most, for one person (if you like)")
    ]

    price, currency, quantity, limit = [(round(box["x"]), round(box["y"] + box["height"])) for box in boxes if box]
    assert (price[1], quantity[1]) == (currency[1], limit[1]), "they end in one line"
    assert (price[0], currency[0]) == (quantity[0], limit[0]), "they begin below each other"


async def test_no_field_of_an_offer_sticks_out(opened: Open, people: People, size: dict[str, Any]) -> None:
    page = await opened("/", **size)
    await signed_in(page, await people.new())
    await page.goto("/sell")

    wider = await page.evaluate(
        """() => {
            const right = (one) => one.getBoundingClientRect().right
            return [...document.querySelectorAll(".field input, .field select, .field textarea")]
                .filter((one) => right(one) > right(one.closest(".field")) + 1)
                .map((one) => one.name)
        }"""
    )

    assert wider == []
