"""How visitors find things: words, filters, and the pages of a category, a city and a seller."""

import re
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from common.events import Category, Currency, ItemKind
from services.web.tests.conftest import Visitors, listed, ordered, shows
from web.clients.api import PAGE_SIZE
from web.clients.models import FoundItems
from web.pages.browsing import count
from web.pages.search import Search, Sort, weekend
from web.rendering.i18n import i18n_for

WEDNESDAY = date(2026, 12, 2)


@pytest.mark.parametrize(("day", "first"), [(0, 4), (2, 4), (4, 4), (5, 5), (6, 6)])
def test_a_weekend_begins_on_friday_and_what_is_over_of_it_is_left_out(day: int, first: int) -> None:
    monday = WEDNESDAY - timedelta(days=2)
    assert weekend(monday + timedelta(days=day)) == (monday + timedelta(days=first), monday + timedelta(days=6))


def test_an_address_says_the_whole_search() -> None:
    search = Search(
        q="jazz & blues",
        category=Category.MUSIC,
        city="Frankfurt a/M",
        kind=ItemKind.EVENT,
        since=WEDNESDAY,
        until=WEDNESDAY,
        price_min="10,50",
        price_max="20",
        currency=Currency.EUR,
        available=True,
        chosen_sort=Sort.PRICE_DOWN,
    )
    assert Search.of(dict(parse_qsl(urlsplit(search.address()).query))) == search


def test_a_list_says_how_many_there_are_or_that_there_may_be_more() -> None:
    english = i18n_for("en")
    for bound, expected in ((False, "1,000 offers"), (True, "1,000 or more")):
        assert count(FoundItems(items=[], next=None, total=1000, total_is_bound=bound), english) == expected


def test_a_category_and_a_city_alone_have_pages_of_their_own() -> None:
    assert Search().address() == "/"
    assert Search(category=Category.MUSIC).address("x") == "/categories/music?cursor=x"
    assert Search(city="Frankfurt a/M").address() == "/cities/Frankfurt%20a%2FM"
    assert Search(city="Ulm", category=Category.MUSIC).address() == "/?category=music&city=Ulm"


@pytest.mark.parametrize(
    "query",
    [
        "category=nonsense&kind=x&sort=y&currency=zz",
        "from=yesterday&to=9999-12-31",
        "from=0001-01-01&to=2098-12-31",
        "available=maybe&city=%20",
        "price_min=999999999999&sort=relevance",
    ],
)
async def test_what_an_address_cannot_mean_counts_as_nothing(visitors: Visitors, query: str) -> None:
    page = await (await visitors.anybody()).get(f"/?{query}")
    assert page.status == 200, page.text


async def test_an_event_is_found_by_words_with_a_mistake_by_category_city_day_and_price(visitors: Visitors) -> None:
    seller, anybody = await visitors.new(), await visitors.anybody()
    assert seller.user
    start = datetime.now(UTC).replace(hour=12, minute=0) + timedelta(days=30)
    day = start.date()
    event = {
        "kind": "event",
        "starts_at": f"{start:%Y-%m-%dT%H:%M}",
        "timezone": "Europe/Berlin",
        "city": "Überlingen",
        "category": "comedy",
        "tags": "swing, brass",
    }
    item = await listed(seller, title="Zanzibar Stompers", **event)
    title = "Zanzibar Stompers"
    found = (
        "/?q=stompers+zanz",
        "/?q=ueberlingen",
        "/?q=brass",
        "/categories/comedy",
        "/cities/uberlingen",
        f"/?from={day}&to={day}&city=Überlingen",
        "/?category=comedy&price_min=12&price_max=12.50&currency=EUR",
    )
    for path in found:
        page = await shows(anybody, path, title)
        assert "1 offer" in page.text or "offers" in page.text
    for path in (
        "/?category=music&q=zanzibar",
        f"/?q=zanzibar&from={day + timedelta(days=1)}",
        f"/?q=zanzibar&to={day - timedelta(days=1)}",
        "/?q=zanzibar&price_min=12.51&currency=EUR",
        "/?q=zanzibar&price_min=1",  # In pounds, for a visitor from Britain.
        "/?q=zanzibar&currency=GBP",
        "/?q=zanzibar&kind=thing",
    ):
        page = await anybody.get(path)
        assert title not in page.text, path
        assert "Nothing found." in page.text
        assert '<a href="/?q=zanzibar">Without the filters</a>' in page.answer.text, path
    nothing = await anybody.get("/?q=xylophonist")
    assert '<a href="/">Everything on sale</a>' in nothing.answer.text
    page = await anybody.get(item)
    assert "#swing" in page.text
    html = (await anybody.http.get(item)).text
    assert 'href="/categories/comedy"' in html
    assert f'href="/sellers/{seller.user.id}"' in html
    await shows(anybody, f"/sellers/{seller.user.id}", title)
    form = (await seller.get(f"{item}/edit")).form(f"{item}/edit").fields
    assert form["tags"] == "swing, brass"


async def test_nobody_has_a_page_who_sells_nothing(visitors: Visitors) -> None:
    somebody = await visitors.new()
    assert somebody.user
    assert (await somebody.get(f"/sellers/{somebody.user.id}")).status == 404
    assert (await somebody.get("/categories/nonsense")).status == 404


async def test_what_is_sold_out_does_not_lead_and_can_be_left_out(visitors: Visitors) -> None:
    seller, buyer = await visitors.new(), await visitors.new("Bo")
    await listed(seller, title="Xylograph, the older one")
    newer = await listed(seller, title="Xylograph, the newer one", quantity="1")
    await ordered(buyer, newer, "1")

    page = await shows(buyer, "/?q=xylograph", "Reserved, may come back")

    assert page.text.index("the older one") < page.text.index("the newer one")
    page = await buyer.get("/?q=xylograph&sort=newest&available=true")
    assert ("older" in page.text, "newer one" in page.text) == (True, False)


async def test_a_page_does_not_begin_with_what_cannot_be_had_while_older_pages_have_something(
    visitors: Visitors,
) -> None:
    seller = await visitors.new()
    lamp = {"title": "Zeppelin, the oldest one", "price": 1250, "currency": "EUR", "quantity": 1}
    assert (await seller.http.post("/api/items", json=lamp)).status_code == 201
    for number in range(PAGE_SIZE):
        made = (await seller.http.post("/api/items", json={**lamp, "title": f"Zeppelin {number}"})).json()
        assert (await seller.http.post(f"/api/items/{made['id']}/pause")).status_code == 200
    visitor = await visitors.anybody()

    page = await visitor.get("/?q=zeppelin&sort=newest")
    after = await visitor.get(re.findall(r'rel="next" href="([^"]+)"', page.answer.text)[0].replace("&amp;", "&"))

    titles = re.findall(r">(Zeppelin[^<]*)<", page.answer.text)
    assert (titles[0], len(titles)) == ("Zeppelin, the oldest one", PAGE_SIZE)
    assert re.findall(r">(Zeppelin[^<]*)<", after.answer.text) == ["Zeppelin 0"]


async def test_a_wrong_price_is_said_beside_its_field(visitors: Visitors) -> None:
    page = await (await visitors.anybody()).get("/?price_min=cheap")
    assert (page.status, set(page.errors)) == (200, {"price_min"})


@pytest.mark.parametrize(
    ("typed", "field"),
    [({"tags": "a,b,c,d,e,f"}, "tags"), ({"tags": "x" * 31}, "tags"), ({"category": "x"}, "category")],
)
async def test_the_sell_form_says_which_label_is_wrong(visitors: Visitors, typed: dict[str, str], field: str) -> None:
    seller = await visitors.new()
    lamp = {"title": "Lamp", "price": "12.50", "currency": "EUR", "quantity": "5"}
    page = await seller.send(await seller.get("/sell"), "/sell", **lamp, **typed)
    assert (page.status, set(page.errors)) == (422, {field})
