"""How items are found: words with and without mistakes, facts, orders and counts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.clock import now
from common.event_times import UNENDED
from common.events import Category, ItemKind, StockChanged, UserErased, UserRegistered
from common.ids import new_id
from common.mongo.client import Database
from items.catalogue_store import CatalogueStore
from items.search import Sort, Wanted, key_of, near, searched, words_of
from items.store import ItemStore
from tests.support.clock import Clock
from tests.support.sessions import person

from .conftest import Shop

pytestmark = pytest.mark.usefixtures("answered_by")

FACETS = timedelta(seconds=10)
"""More than the age that counts may have."""

EVENT: dict[str, Any] = {"kind": "event", "starts_at": "2090-05-01T18:00:00Z"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Two seats, row 4", ["two", "seats", "row", "4"]),
        ("MÜNCHEN", ["munchen", "muenchen"]),
        ("Mu\u0308nchen", ["munchen", "muenchen"]),  # the umlaut as two characters
        ("Große Straße", ["grosse", "strasse"]),
        ("Smørrebrød à Łódź", ["smorrebrod", "smoerrebroed", "a", "lodz"]),
        ("rock_n'roll", ["rock", "n", "roll"]),
        ("東京 2027", ["東京", "2027"]),
        ("?! _", []),
    ],
)
def test_words_are_compared_without_case_and_marks(text: str, words: list[str]) -> None:
    assert sorted(words_of(text)) == sorted(words)


def test_a_search_and_an_item_have_so_many_words_and_no_more() -> None:
    assert len(searched(" ".join(map(str, range(99))))) == 8
    assert len(words_of(" ".join(map(str, range(999))))) == 300
    assert searched("x" * 200) == ("x" * 40,)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("vivladi", ["vivaldi"]),
        ("concrt", ["concert", "concerts"]),
        ("philarmonie", ["philharmonie"]),
        ("conc", []),  # it begins two
        ("jaz", []),  # it begins one
        ("jzz", []),  # too short for a mistake
        ("opera", []),
    ],
)
def test_a_word_with_a_small_mistake_stands_for_those_that_are_near(word: str, meant: list[str]) -> None:
    known = ["concert", "concerts", "jazz", "philharmonie", "vivaldi"]
    assert set(meant) >= set(near(word, known)) >= set(meant[:1])


def test_a_city_is_one_however_it_is_typed() -> None:
    assert key_of("Köln") == key_of("  KÖLN ") == key_of("Ko\u0308ln") == key_of("Koeln") == "koln"
    assert key_of("New  York") == "new york" != key_of("York")


async def test_a_search_finds_places_tags_and_sellers_with_umlauts_and_mistakes(shop: Shop) -> None:
    await shop.events.deliver(UserRegistered(user_id=shop.seller.id, name="Jürgen Weiß"))
    await shop.offer(title="Vivaldi by candlelight", venue="Gasteig", city="München", tags=["Strings"], **EVENT)
    await shop.offer(person("Grace"), title="A brass lamp", description="It stood in Zürich.")

    well = ("vival", "candle vival", "münchen", "Munchen", "muenchen", "gaste", "STRINGS", "jurgen", "juergen weiss")
    for found in well:
        assert await shop.titles(q=found) == ["Vivaldi by candlelight"], found
    for mistaken in ("vivladi", "candlelihgt", "munchne", "jurgne", "juegren"):
        assert await shop.titles(q=mistaken) == ["Vivaldi by candlelight"], mistaken
    assert await shop.titles(q="zurich lamp") == ["A brass lamp"]
    for nothing in ("zurich vivaldi", ".*", "^a"):
        assert await shop.titles(q=nothing) != ["Vivaldi by candlelight"], nothing


async def test_who_is_erased_is_found_by_no_name(shop: Shop) -> None:
    await shop.events.deliver(UserRegistered(user_id=shop.seller.id, name="Thoralf"))
    item = await shop.offer()
    assert await shop.titles(q="thoralf") == [item["title"]]

    await shop.events.deliver(UserErased(user_id=shop.seller.id, account_version=2))

    assert "thoralf" not in str(await shop.db.items.find({}, {"pending": 0}).to_list()).casefold()


async def test_facts_narrow_a_list(shop: Shop) -> None:
    day = datetime(2090, 5, 1, tzinfo=UTC)
    for n, city in enumerate(("Berlin", "Köln", "Berlin")):
        starts_at = (day + timedelta(days=n, hours=18)).isoformat()
        details: dict[str, Any] = {**EVENT, "starts_at": starts_at, "city": city, "category": "music"}
        await shop.offer(title=f"Concert {n}", price=1000 * (n + 1), **details)
    lamp = await shop.offer(title="Lamp", category="home", price=1500, currency="USD")
    await shop.events.deliver(StockChanged(item_id=lamp["id"], stock_version=1, quantity=5, available=0))

    async def found(**params: Any) -> list[str]:
        return sorted(title[-1] for title in await shop.titles(**params))

    assert await found(city="BERLIN") == ["0", "2"]
    assert await found(city="koln") == ["1"]
    assert await found(category="music", price_min=2000) == ["1", "2"]
    assert await found(price_min=1000, price_max=1500) == ["0", "p"]
    assert await found(price_max=1500, currency="EUR") == ["0"]
    assert await found(kind="thing") == ["p"]
    assert await found(available="true") == ["0", "1", "2"]
    assert await found(**{"from": "2090-05-02", "to": "2090-05-02"}) == ["1"]
    assert await found(**{"from": "2090-05-01T18:00:00Z", "to": "2090-05-02T18:00:00Z"}) == ["0"]
    assert await found(q="concert", city="Berlin", **{"from": "2090-05-02"}) == ["2"]
    for ever in ("0001-01-01T00:00:00+23:59", "0001-01-01"):
        assert await found(q="concert", **{"from": ever}) == ["0", "1", "2"]
    for ever in ("9999-12-31T23:59:59-23:59", "9999-12-31"):
        assert await found(q="concert", to=ever) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("sort", "titles"),
    [
        ("newest", ["E", "D", "C", "B", "A"]),
        ("price", ["C", "A", "E", "D", "B"]),
        ("-price", ["D", "B", "E", "A", "C"]),
        ("soonest", ["B", "E", "D", "A"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_every_order_has_pages_without_gap_or_repetition(
    shop: Shop, sort: str, titles: list[str], limit: int
) -> None:
    for title, price, day in (("A", 2, 9), ("B", 4, 1), ("C", 1, None), ("D", 4, 2), ("E", 3, 2)):
        event: dict[str, Any] = {"kind": "event", "starts_at": f"2090-05-0{day}T18:00:00.123Z"} if day else {}
        await shop.offer(title=title, price=price, **event)
    await shop.offer(title="Over", price=2, kind="event", starts_at="2020-05-01T18:00:00Z")

    seen: list[str] = []
    params: dict[str, Any] = {"sort": sort, "limit": limit}
    while True:
        page = (await shop.call("GET", params=params)).json()
        seen += [item["title"] for item in page["items"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]

    assert [title for title in seen if title != "Over"] == titles
    assert len(seen) == len(set(seen))
    assert "Over" not in seen


async def pages_of(shop: Shop, limit: int, **params: Any) -> list[str]:
    """The titles of a whole list, page by page."""
    seen: list[str] = []
    asked: dict[str, Any] = {**params, "limit": limit}
    while True:
        answer = await shop.call("GET", params=asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        seen += [item["title"] for item in page["items"]]
        if page["next"] is None:
            return seen
        asked["cursor"] = page["next"]


@pytest.mark.parametrize("limit", [1, 2, 9])
async def test_prices_are_compared_in_one_currency_only(shop: Shop, limit: int) -> None:
    for title, price, currency in (("A", 4500, "EUR"), ("B", 5000, "JPY"), ("C", 4700, "EUR"), ("D", 100, "JPY")):
        await shop.offer(title=title, price=price, currency=currency)
    await shop.offer(title="E", price=4500)

    assert await pages_of(shop, limit, sort="price") == ["E", "A", "C", "D", "B"]
    assert await pages_of(shop, limit, sort="-price") == ["C", "E", "A", "B", "D"]
    assert await pages_of(shop, limit, sort="price", currency="JPY") == ["D", "B"]
    refused = await shop.call("GET", params={"sort": "price", "cursor": f"4500~{new_id()}"})
    assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")


async def test_what_is_paused_is_not_available(shop: Shop) -> None:
    paused = await shop.offer(title="Paused")
    await shop.offer(title="On sale")
    await shop.call("POST", f"/{paused['id']}/pause", shop.seller)

    assert await shop.titles(available="true") == ["On sale"]
    assert await shop.titles(user=shop.seller, available="true", seller_id=shop.seller.id) == ["On sale"]
    assert await shop.titles() == ["On sale", "Paused"]


async def test_an_event_that_began_before_the_first_day_and_still_runs_is_found(shop: Shop) -> None:
    exhibition: dict[str, Any] = {"starts_at": "2090-04-01T08:00:00Z", "ends_at": "2090-06-01T18:00:00Z"}
    await shop.offer(title="Exhibition", kind="event", **exhibition)
    await shop.offer(title="The week before", kind="event", starts_at="2090-04-25T18:00:00Z")
    await shop.offer(title="On Saturday", **EVENT)
    weekend: dict[str, Any] = {"from": "2090-05-01", "to": "2090-05-03"}

    for sort in ("newest", "soonest", "price"):
        found = await shop.titles(sort=sort, **weekend)
        assert sorted(found) == ["Exhibition", "On Saturday"], sort
    assert await shop.titles(**weekend | {"from": "2090-06-01T18:00:00Z", "to": "2090-07-01"}) == []
    assert await shop.titles(to="2090-03-31") == []


async def test_an_event_that_is_over_is_in_the_list_of_its_seller_alone(shop: Shop) -> None:
    clock = Clock(now())
    begins = clock.now + timedelta(hours=1)
    times: dict[str, Any] = {"ends_at": (begins + timedelta(hours=2)).isoformat()}
    for title, more in (("Ended", times), ("Unended", {})):
        await shop.offer(title=title, kind="event", starts_at=begins.isoformat(), category="music", city="Ulm", **more)
    await shop.offer(title="A lamp", category="music")

    async def seen(**params: Any) -> tuple[set[str], int, int]:
        page = (await shop.call("GET", user=shop.seller, params=params)).json()
        titles = {item["title"] for item in page["items"]}
        return titles, page["total"], page["facets"]["category"].get("music", 0)

    with clock.shown():
        clock.advance(timedelta(hours=3) - FACETS)
        assert await seen() == ({"Ended", "Unended", "A lamp"}, 3, 3)  # Both are under way.
        clock.advance(2 * FACETS)
        assert await seen() == ({"Unended", "A lamp"}, 2, 2)
        assert await seen(q="ulm") == ({"Unended"}, 1, 1)
        clock.advance(UNENDED)
        for sort in ("newest", "price", "soonest", "relevance"):
            assert "Unended" not in await shop.titles(sort=sort)
        assert await seen(seller_id=shop.seller.id) == ({"Ended", "Unended", "A lamp"}, 3, 3)
        over = await shop.db.items.find_one({"title": "Ended"})
        assert over
        assert (await shop.item(over["_id"]))["over_at"] == times["ends_at"].replace("+00:00", "Z")


async def test_what_fits_better_comes_first(shop: Shop) -> None:
    await shop.offer(title="Jazz night")
    await shop.offer(title="Jazzy evening")
    await shop.offer(title="A lamp", description="As in every jazz bar.")

    assert await shop.titles(q="jazz") == ["A lamp", "Jazzy evening", "Jazz night"]
    best = (await shop.call("GET", params={"q": "jazz", "sort": "relevance", "limit": 2})).json()
    assert [item["title"] for item in best["items"]] == ["Jazz night", "Jazzy evening"]
    assert await shop.titles(q="jazz", sort="relevance", limit=2, cursor=best["next"]) == ["A lamp"]


async def test_a_list_says_how_many_there_are_and_would_be(shop: Shop) -> None:
    for city, category in (("Berlin", "music"), ("berlin", "film"), ("Köln", "music")):
        await shop.offer(title="Evening", city=city, category=category, **EVENT)
    await shop.offer(title="Lamp")

    async def counts(**params: Any) -> tuple[int, Any]:
        page = (await shop.call("GET", params=params)).json()
        return page["total"], page["facets"]

    total, facets = await counts(limit=1)
    assert total == 4
    assert facets == {
        "category": {"music": 2, "film": 1},
        "city": {"Berlin": 2, "Köln": 1},
        "kind": {"event": 3, "thing": 1},
    }
    total, facets = await counts(category="music", q="even")
    assert (total, facets["category"], facets["city"]) == (2, {"music": 2, "film": 1}, {"Berlin": 1, "Köln": 1})
    assert await counts(q="?!") == (0, {"category": {}, "city": {}, "kind": {}})


async def test_a_list_says_where_counting_stopped(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("items.catalogue_store.MOST_FOUND", 2)
    for number in range(3):
        await shop.offer(title=f"Evening {number}")

    for words, expected in (({"q": "evening"}, (2, True)), ({"q": "2"}, (1, False)), ({}, (3, False))):
        page = (await shop.call("GET", params=words)).json()
        assert (page["total"], page["total_is_bound"]) == expected


async def test_what_is_still_to_come_is_counted_once_for_many_requests(db: Database) -> None:
    catalogue, noon = CatalogueStore(db), datetime(2090, 5, 1, 12, tzinfo=UTC)

    first, soon, later = [
        await catalogue.facets(Wanted(sort=Sort.SOONEST, starts_from=noon + timedelta(seconds=seconds)))
        for seconds in (0.001, 4.999, 5)
    ]

    assert first is soon
    assert first is not later


async def test_the_first_search_of_a_process_counts_what_it_shows(shop: Shop) -> None:
    """The page and its counts ask at once which words there are; one of them does the reading."""
    await shop.offer(title="Vivaldi by candlelight")

    page = (await shop.call("GET", params={"q": "vivladi"})).json()

    assert ([item["title"] for item in page["items"]], page["total"]) == (["Vivaldi by candlelight"], 1)


async def test_a_wrong_wish_is_named(shop: Shop) -> None:
    wrong = {"category": "cars", "sort": "best", "price_min": "-1", "from": "soon", "to": "2090-02-30", "kind": "x"}
    for name, value in wrong.items():
        answer = await shop.call("GET", params={name: value})
        assert answer.status_code == 422, name
        assert {error["field"].partition(".")[0] for error in answer.json()["errors"]} == {name}
    newest = f"{(await shop.offer())['id']}"
    for sort, cursor in (("price", newest), ("newest", f"12~{newest}"), ("price", f"x~{newest}")):
        answer = await shop.call("GET", params={"sort": sort, "cursor": cursor})
        assert answer.status_code == 422, sort
        assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]


@pytest.mark.parametrize("number", ["0.5", "86400", "1767225600000", "-1", "1e3"])
async def test_a_number_is_no_day(shop: Shop, number: str) -> None:
    for name in ("from", "to"):
        answer = await shop.call("GET", params={name: number})
        assert answer.status_code == 422, answer.text
        assert {error["field"].partition(".")[0] for error in answer.json()["errors"]} == {name}


async def test_tags_are_few_short_and_each_one_once(shop: Shop) -> None:
    item = await shop.offer(tags=["jazz", "jazz", "late"], category="music")
    assert (item["tags"], item["category"]) == (["jazz", "late"], "music")
    changed = await shop.call("PATCH", f"/{item['id']}", shop.seller, json={"tags": [], "category": None})
    assert (changed.json()["tags"], changed.json()["category"]) == ([], None)
    for tags in (["a", "b", "c", "d", "e", "f"], ["x" * 31], [""], "jazz"):
        answer = await shop.call("PATCH", f"/{item['id']}", shop.seller, json={"tags": tags})
        assert answer.status_code == 422, tags


async def test_a_ranking_reads_few_items_however_many_have_the_word(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB keeps what was good for the first words of a search for all later ones: see docs/decisions/search.md."""
    for name, number in (("MOST_RANKED", 20), ("FEWEST_RANKED", 10), ("MOST_LOOKED_AT", 100)):
        monkeypatch.setattr(f"items.catalogue_store.{name}", number)
    every = {"mostly": 2, "often": 10, "seldom": 200, "once": 2000}
    rows: list[dict[str, Any]] = [{"_id": f"{n:04}", "status": "listed", "seller_words": []} for n in range(2000)]
    for n, row in enumerate(rows):
        row["words"] = row["names"] = [word for word, distance in every.items() if n % distance == 0]
    await db.items.insert_many(rows)
    await ItemStore(db, None).prepare()  # type: ignore[arg-type]  # nothing is published
    catalogue = CatalogueStore(db)
    await catalogue.prepare()
    await db.command("profile", 2)

    async def read(word: str) -> int:
        await catalogue.page(Wanted(words=(word,), sort=Sort.RELEVANCE), 5)
        last = await db["system.profile"].find({"ns": f"{db.name}.items"}).sort("$natural", -1).limit(1).to_list()
        return int(last[0]["docsExamined"])

    most = {"mostly": 40, "often": 100, "seldom": 10, "once": 1}
    for word in ("once", "once", *most, *reversed(most)):
        assert await read(word) <= most[word], word


async def test_counting_a_list_opens_no_item_and_a_page_about_as_many_as_it_shows(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What facets need is in the index of the list: see docs/decisions/search.md."""
    monkeypatch.setattr("items.catalogue_store.KNOWN_AGE", 3_600.0)
    rows = [
        {
            "_id": f"{n:04}",
            "status": "listed" if n % 3 else "paused",
            "city": ("Köln", "Graz")[n % 2],
            "city_key": ("koln", "graz")[n % 2],
            "category": ("music", "film", "art")[n // 2 % 3],
            "kind": "event",
            "price": n,
            "starts_at": datetime(2090, 1, 1, tzinfo=UTC) + timedelta(hours=n),
            **({"over_at": datetime(2090, 1, 1, tzinfo=UTC) + timedelta(hours=n + 6)} if n % 2 else {}),
            "words": ["often", *(word for word, distance in (("fifth", 5), ("twelfth", 12)) if n % distance == 0)],
        }
        for n in range(1200)
    ]
    await db.items.insert_many(rows)
    await ItemStore(db, None).prepare()  # type: ignore[arg-type]  # nothing is published
    catalogue = CatalogueStore(db)
    await catalogue.prepare()
    await catalogue.page(Wanted(words=("often",)), 1)  # It learns the words.

    async def opened(work: Any) -> int:
        began = datetime.now(UTC)
        await db.command("profile", 2)
        await work
        await db.command("profile", 0)
        read = db["system.profile"].find({"ns": f"{db.name}.items", "ts": {"$gte": began}})
        return sum([query["docsExamined"] async for query in read])

    in_city = Wanted(city="Köln", category=Category.MUSIC, sort=Sort.PRICE)
    for wanted in (
        Wanted(),
        Wanted(city="Köln"),
        Wanted(category=Category.MUSIC),
        in_city,
        Wanted(kind=ItemKind.EVENT),
        Wanted(not_over_by=now()),
        replace(in_city, not_over_by=now()),
    ):
        assert await opened(catalogue.facets(wanted)) == 0, wanted
    counts = await catalogue.facets(in_city)
    assert counts.total == 200
    assert counts.facets == {
        "category": {"art": 200, "film": 200, "music": 200},
        "city": {"Graz": 200, "Köln": 200},
        "kind": {"event": 200},
    }
    assert await opened(catalogue.page(in_city, 5)) <= 205
    for word in ("fifth", "twelfth"):
        for city in (None, "Köln"):
            for sort in (Sort.SOONEST, Sort.NEWEST):
                wanted = Wanted(city=city, words=(word,), sort=sort)
                assert await opened(catalogue.page(wanted, 2)) <= 60, wanted
