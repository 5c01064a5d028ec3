"""Visitors keep items with a heart, and find them again: without scripts, and also if they sign in only then."""

import re

import httpx

from infra.local.stack.stack import Stack
from services.web.tests.conftest import LAMP, Page, Visitor, Visitors, listed
from tests.support.scraping import scraped
from tests.support.sessions import person
from tests.support.waiting import eventually

PRESSED = 'aria-pressed="true"'


async def test_a_heart_keeps_an_item_and_lets_it_go(visitors: Visitors) -> None:
    item = await listed(await visitors.new("Sella"))
    ada = await visitors.new("Ada", language="de")
    assert "Noch nichts" in (await ada.get("/my/favourites")).text

    page = await ada.send(await ada.get(item), f"{item}/favourite")
    assert (page.path, PRESSED in page.answer.text) == (item, True)
    page = await ada.get("/my/favourites")
    assert LAMP["title"] in page.text
    page = await ada.send(page, f"{item}/favourite")

    assert (page.path, LAMP["title"] in page.text) == ("/my/favourites", False)
    assert PRESSED not in (await ada.get(item)).answer.text
    eve = await visitors.new("Eve")
    assert (await ada.http.post(f"{item}/favourite", data={"keep": "yes"})).status_code == 403
    assert (await eve.get("/my/favourites")).path == "/my/favourites"


async def test_who_signs_in_for_a_heart_keeps_the_item_and_is_where_they_were(visitors: Visitors) -> None:
    item = await listed(await visitors.new("Sella"))
    bo, email = await visitors.anybody(), person("bo").email
    page = await bo.send(await bo.get(item), f"{item}/favourite")
    assert page.path == "/signin"
    wish = page.form("/signin").fields["next"]

    eve = await visitors.new("Eve")
    for visitor, words in (
        (eve, wish),
        (bo, wish.replace("wish", "purchase")),
    ):  # Somebody else's link, or another use.
        page = await visitor.get(words)
        assert (page.status, PRESSED in page.answer.text) == (200, False)
    page = await bo.get(f"/signup?next={wish.replace('?', '%3F').replace('=', '%3D')}")
    page = await bo.send(page, "/signup", name="Bo", email=email, password="long enough")

    assert (page.path, page.answer.url.query, PRESSED in page.answer.text) == (item, b"", True)


def heart(page: Page, item: str) -> tuple[str, str]:
    """What the heart on the card of an item would send as `keep`, and whether it is pressed."""
    button = rf'<button [^>]*formaction="{item}/favourite"[^>]* value="(\w+)" aria-pressed="(\w+)"'
    [(keep, pressed)] = re.findall(button, page.answer.text)
    return keep, pressed


async def press(visitor: Visitor, page: Page, item: str) -> Page:
    """Press the heart on the card of an item, as a browser without scripts does."""
    fields = page.form("/my/favourites").fields | {"keep": heart(page, item)[0]}
    return Page(await visitor.http.post(f"{item}/favourite", data=fields))


async def test_the_heart_on_a_card_keeps_an_item_and_leads_back_to_it(visitors: Visitors) -> None:
    seller = await visitors.new("Sella")
    assert seller.user
    item, shop = await listed(seller), f"/sellers/{seller.user.id}"
    ada = await visitors.new("Ada")

    page = await press(ada, await ada.get(shop), item)
    assert (page.path, page.answer.url.fragment) == (shop, f"item-{item.rpartition('/')[2]}")
    assert heart(page, item) == ("no", "true")
    assert heart(await press(ada, page, item), item) == ("yes", "false")
    assert f"{item}/favourite" not in (await seller.get(shop)).answer.text, "nobody keeps what they sell"


async def test_who_signs_in_for_the_heart_on_a_card_keeps_the_item(visitors: Visitors) -> None:
    item = await listed(await visitors.new("Sella"), title="Zylinderhut, handmade")
    bo, email = await visitors.anybody(), person("bo").email
    page = await press(bo, await bo.get("/?q=zylinderhut&sort=newest"), item)
    assert page.path == "/signin"

    page = await bo.get(f"/signup?next={page.form('/signin').fields['next'].replace('?', '%3F').replace('=', '%3D')}")
    page = await bo.send(page, "/signup", name="Bo", email=email, password="long enough")
    assert (page.path, PRESSED in page.answer.text) == (item, True)
    assert heart(await bo.get("/?q=zylinderhut&sort=newest"), item) == ("no", "true")


async def test_a_list_asks_once_for_all_its_hearts_and_never_for_a_stranger(stack: Stack, visitors: Visitors) -> None:
    seller, ada, anybody = await visitors.new("Sella"), await visitors.new("Ada"), await visitors.anybody()
    assert seller.user
    for _ in range(3):
        await listed(seller)
    [items] = [program for program in stack.services if program.name == "items"]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{items.port}") as probe:

        async def asked() -> float:
            found = await scraped(probe)
            route = 'souk_http_request_seconds_count{method="GET",route="/api/items/favourites",status="200"}'
            return found.get(route, 0)

        before = await asked()
        for visitor in (anybody, ada):
            assert (await visitor.get(f"/sellers/{seller.user.id}")).answer.text.count('/favourite"') == 3

        async def counted() -> bool:
            return await asked() > before

        await eventually(counted)
        assert await asked() == before + 1
