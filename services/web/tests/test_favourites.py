"""Visitors keep items with a heart, and find them again: without scripts, and also if they sign in only then."""

from services.web.tests.conftest import LAMP, Visitors, listed
from tests.support.sessions import person

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
