"""Two whole stories in real browsers: from an event's form to its door, and from signing up to being forgotten."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, expect

from infra.local.commands.catalogue import CONCERTS
from infra.local.commands.posters import poster
from tests.support.album import BRITISH, Album
from tests.support.browsing import LIMIT, PASSWORD, PHONE, Open, bought, comes_to_say, headline, paid
from tests.support.people import People
from tests.support.waiting import eventually
from tests.web.test_gate import scanned
from tests.web.test_passkeys import added, link_in, mailed, opened_by_name, signed_out, signed_up, with_authenticator

__all__ = ["opened_by_name"]

TITLE = "The Nightingale Choir by candlelight"
ZONE, VISITORS_ZONE = ZoneInfo("Europe/Zurich"), ZoneInfo("Europe/London")

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]


@pytest_asyncio.fixture
async def phones(chromium: Browser) -> AsyncIterator[Open]:
    """Opens pages on phones that may lose their network, of which Chromium logs errors."""
    async with AsyncExitStack() as exits:

        async def open_page(path: str = "/", **options: Any) -> Page:
            context = await chromium.new_context(**PHONE, **options)
            exits.push_async_callback(context.close)
            page = await context.new_page()
            page.set_default_timeout(LIMIT)
            await page.goto(path)
            return page

        yield open_page


def this_weekend(now: datetime) -> datetime:
    """The evening of Saturday; when that is over, the nearest moment at which one can still sell."""
    saturday = now + timedelta(days=5 - now.weekday())
    return max(saturday.replace(hour=20, minute=0), now + timedelta(minutes=20))


def posters(folder: Path) -> list[Path]:
    """Two pictures of an event, as files."""
    paths = [folder / "choir.jpg", folder / "hall.jpg"]
    for path, words in zip(paths, (TITLE, "Candlelight"), strict=True):
        path.write_bytes(poster(CONCERTS, "Nightingale", words))
    return paths


async def event_listed(page: Page, pictures: list[Path], album: Album) -> str:
    """List an event of this weekend, with pictures; return the path of its page."""
    starts = this_weekend(datetime.now(VISITORS_ZONE)).astimezone(ZONE)
    await page.goto("/sell")
    await page.get_by_label("Title").fill(TITLE)
    await page.get_by_label("An event: buyers get tickets").check()
    await page.get_by_label("Starts").fill(starts.strftime("%Y-%m-%dT%H:%M"))
    await page.get_by_label("Time zone").select_option(ZONE.key)
    await page.get_by_label("Venue").fill("Wasserkirche")
    await page.get_by_label("City").fill("Zürich")
    await page.get_by_label("Category").select_option("music")
    await page.get_by_label("Tags").fill("choir, candlelight")
    await page.get_by_label("Description").fill("Forty voices, **no microphones**, and three hundred candles.")
    await page.get_by_label("Price of one").fill("32")
    await page.get_by_label("Currency").select_option("CHF")
    await page.get_by_label("How many").fill("5")
    await page.get_by_label("Pictures").set_input_files(pictures)
    await album.add(page, "sell", only_here=True)
    await page.get_by_role("button", name="Put it on sale").click()
    await page.wait_for_url(re.compile(r"/items/\w+\?note=listed"))
    return page.url.partition("?")[0]


async def found(page: Page, album: Album) -> None:
    """Find the event by a word with a mistake, which counts once its words are known, and by place and day."""
    card = page.get_by_role("link", name=TITLE)

    async def forgiven() -> bool:
        await page.goto("/")
        await page.get_by_label("Search the market").fill("nightingael")
        await expect(page.locator("#found")).to_contain_text("nightingael")
        return bool(await card.count())

    await eventually(forgiven, 60, why="a mistake is forgiven")
    await album.add(page, "found-by-a-typo")
    await page.goto("/cities/zurich")
    await page.get_by_role("link", name="This weekend").click()
    await expect(headline(page, "On in Zürich")).to_be_visible()
    await expect(page.get_by_role("link", name="This weekend")).to_have_attribute("aria-current", "true")
    await expect(card).to_be_visible()
    await album.add(page, "found-by-city-and-weekend")
    await clicked_at_its_end(page.locator(".card", has_text=TITLE))
    await expect(headline(page, TITLE)).to_be_visible()


async def clicked_at_its_end(ticket: Locator) -> None:
    """Click on the stub of a card or a row: all of it leads to the same page."""
    box = await ticket.bounding_box()
    assert box
    await ticket.click(position={"x": box["width"] - 30, "y": box["height"] - 12})


async def test_an_event_is_listed_found_bought_given_away_and_let_in_at_two_gates(
    opened_by_name: Open, phones: Open, people: People, album: Album, tmp_path: Path
) -> None:
    opened = opened_by_name  # Where the links in mails lead.
    seller, buyer, friend = await opened(**BRITISH), await opened(**PHONE, **BRITISH), await opened(**BRITISH)
    http = await people.anybody()
    await signed_up(seller, "Sella")
    event = await event_listed(seller, posters(tmp_path), album)
    await expect(seller.get_by_role("img", name=TITLE).first).to_be_visible()
    await album.add(seller, "item-of-the-seller")

    await found(buyer, album)
    await buyer.goto("/")
    await album.add(buyer, "front")
    email = await signed_up(buyer, "Bea")
    await buyer.goto(event)
    await album.add(buyer, "item")
    await bought(buyer, event, 3)
    await album.add(buyer, "order-held")
    await paid(buyer)
    await expect(headline(buyer, "It is yours")).to_be_visible()
    await expect(buyer.locator(".tickets img")).to_have_count(3)
    await expect(buyer.get_by_role("region", name="Your tickets")).to_contain_text("Wasserkirche, Zürich")
    await album.add(buyer, "order-paid")
    await expect(buyer.locator(".tickets .number")).to_have_count(3)
    kept, copied, given = await buyer.locator(".tickets .number").all_inner_texts()

    await mailed(http, email, "Receipt")
    await buyer.goto(f"/dev/mail?to={email}")
    await buyer.get_by_role("link", name=re.compile("^Receipt")).click()
    async with buyer.expect_download() as download:
        await buyer.get_by_role("link", name="tickets.pdf").click()
    assert (await (await download.value).path()).read_bytes().startswith(b"%PDF")
    await album.add(buyer, "mail-receipt")

    await buyer.goto("/my/tickets")
    await album.add(buyer, "my-tickets")
    await clicked_at_its_end(buyer.locator(".row", has_text=given))
    await expect(buyer.locator("img.qr")).to_be_visible()
    await album.add(buyer, "ticket")
    address = await signed_up(friend, "Cleo")
    await buyer.get_by_label("Their e-mail address").fill(address)
    await buyer.get_by_role("button", name="Send the link").click()
    await expect(buyer.get_by_text(f"We have sent a link to {address}.")).to_be_visible()
    await friend.goto(link_in(await mailed(http, address, "A ticket for you")))
    await album.add(friend, "ticket-offered")
    await friend.get_by_role("button", name="Take the ticket").click()
    await expect(friend.get_by_text("The ticket is yours.")).to_be_visible()
    taken = await friend.locator(".admission .number").inner_text()
    await buyer.reload()
    await expect(buyer.get_by_text("Cleo has it now.")).to_be_visible()
    await album.add(buyer, "ticket-given-away")

    north, south = [await gate_of(seller, event, name, phones) for name in ("North", "South")]
    await album.add(seller, "door-before")
    await south.context.set_offline(True)
    await scanned(north, copied, "Come in")
    await album.add(north, "gate-good", only_here=True)
    await scanned(south, copied, "Come in")  # Nobody could tell this phone.
    await scanned(south, given, "Not valid any more")
    await scanned(south, taken, "Come in")
    await expect(south.locator(".gate-offline")).to_contain_text("Scans that wait to be sent: 3.")
    await album.add(south, "gate-offline", only_here=True)
    await scanned(north, kept, "Come in")
    await scanned(north, kept, "Used already")
    await album.add(north, "gate-bad", only_here=True)

    await south.context.set_offline(False)
    await expect(south.locator(".gate-extras li")).to_contain_text(re.compile(f"{copied}.*North"))
    await expect(south.locator(".gate-offline")).to_be_hidden()
    await album.add(south, "gate-conflict", only_here=True)
    await comes_to_say(seller, f"{event}/door", "3 of 3 tickets are in.")
    conflicts = seller.get_by_role("region", name="Let in, but should not have been").get_by_role("listitem")
    await expect(conflicts).to_have_text(re.compile(f"{copied}: North, .* and South, "))
    await expect(conflicts.locator("p")).to_have_css("display", "block")  # One sentence, not columns.
    await album.add(seller, "door")
    await the_other_pages(seller, buyer, event, album)


async def gate_of(seller: Page, event: str, name: str, phones: Open) -> Page:
    """Make a gate of an event; return its page on a phone, which has the list of tickets."""
    await seller.goto(f"{event}/door")
    await seller.get_by_label("Name of a new gate").fill(name)
    await seller.get_by_role("button", name="Make a gate").click()
    gate = await phones(await seller.locator(".gate-link").inner_text())
    await expect(headline(gate, name)).to_be_visible()
    await gate.locator("[data-gate-kept]").wait_for()
    return gate


async def the_other_pages(seller: Page, buyer: Page, event: str, album: Album) -> None:
    """Look at what else a seller and a buyer have after the evening."""
    of_seller = {
        "my-items": "/my/items",
        "my-sales": "/my/sales",
        "edit": f"{event}/edit",
        "attendees": f"{event}/attendees",
    }
    of_buyer = {"my-orders": "/my/orders", "my-favourites": "/my/favourites", "my-tickets-after": "/my/tickets"}
    for page, paths in ((seller, of_seller), (buyer, of_buyer)):
        for name, path in paths.items():
            await page.goto(path)
            await album.add(page, name)


async def test_two_people_prove_their_addresses_lose_their_passwords_take_their_data_along_and_are_forgotten(
    opened_by_name: Open, people: People, album: Album
) -> None:
    mail, unkept = await people.anybody(), Album(None)
    await asyncio.gather(
        lives_through_it(await opened_by_name(), await opened_by_name("/signin"), "Ada", mail, album),
        lives_through_it(await opened_by_name(**PHONE), await opened_by_name("/signin", **PHONE), "Bo", mail, unkept),
    )


async def lives_through_it(here: Page, there: Page, name: str, mail: httpx.AsyncClient, album: Album) -> None:
    """What one person does in two browsers, with the mails that come meanwhile."""
    await with_authenticator(here)
    await album.add(here, "front-of-a-stranger")
    email = await signed_up(here, name)
    await here.goto(link_in(await mailed(mail, email, "Welcome to Souk")))
    await album.add(here, "verify-email")
    await here.get_by_role("main").get_by_role("button", name="Confirm").click()
    await expect(here.get_by_text("Your address is confirmed.")).to_be_visible()

    await album.add(there, "signin")
    await there.get_by_role("link", name="Forgot your password?").click()
    await album.add(there, "forgot-password")
    await there.get_by_label("E-mail").fill(email)
    await there.get_by_role("button", name="Send me a link").click()
    await there.goto(link_in(await mailed(mail, email, "Choose a new password")))
    await album.add(there, "reset-password")
    password = f"another {PASSWORD}"
    await there.get_by_label("New password").fill(password)
    await there.get_by_role("main").get_by_role("button", name="Save").click()
    await signed_in(there, email, password)
    await expect(there.locator("nav .menu summary")).to_have_text(name)

    # The new password has ended the first session.
    await here.goto("/my/security")
    await signed_in(here, email, password)
    await added(here, f"{name}'s phone")
    await album.add(here, "security")
    await signed_out(here)
    await expect(here.locator("nav .menu summary")).to_have_text(name)  # With the passkey alone.

    await here.goto("/my/sessions")
    await album.add(here, "sessions")
    await here.get_by_role("button", name=re.compile(r"^End\s*:")).click()
    await expect(here.get_by_text("The session has ended.")).to_be_visible()

    async def sent_to_sign_in() -> bool:
        await there.goto("/my/orders")
        return bool(await there.get_by_role("main").get_by_role("button", name="Sign in", exact=True).count())

    await eventually(sent_to_sign_in, why="an ended session is refused everywhere in a moment")
    await here.goto("/account")
    await album.add(here, "account")
    await takes_data_along_and_goes(here, name, email, password, album)

    await there.goto("/signin")
    await signed_in(there, email, password)
    await expect(there.get_by_text("No account has this address and this password.")).to_be_visible()


async def signed_in(page: Page, email: str, password: str) -> None:
    """Send the form of the page that asks for the password."""
    await page.get_by_label("E-mail").fill(email)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("main").get_by_role("button", name="Sign in", exact=True).click()


async def takes_data_along_and_goes(page: Page, name: str, email: str, password: str, album: Album) -> None:
    """Download everything that Souk knows, and delete the account."""
    await page.goto("/my/data")
    await album.add(page, "my-data")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download my data").click()
    data = json.loads((await (await download.value).path()).read_text())
    assert (data["account"]["name"], data["account"]["email"]) == (name, email)
    assert [passkey["name"] for passkey in data["passkeys"]] == [f"{name}'s phone"]
    assert {mail["kind"] for mail in data["mails"]} >= {"password_changed"}

    await page.get_by_label("Password").fill("not this one")
    await page.get_by_role("button", name="Delete my account").click()
    await expect(page.get_by_text("This is not your password.")).to_be_visible()
    await album.add(page, "my-data-wrong-password", only_here=True)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Delete my account").click()
    await expect(page.get_by_text("Your account is deleted")).to_be_visible()
    await album.add(page, "account-deleted", only_here=True)
