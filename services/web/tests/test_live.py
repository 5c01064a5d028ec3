"""A change is on every page that shows it at once, and on no other page."""

import asyncio
import gc
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio

from common.errors import NotFound, TooMany, Unavailable
from common.events import (
    EVENTS,
    Currency,
    ItemChanged,
    ItemStatus,
    OrderPaid,
    OrderPlaced,
    OrderState,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentState,
    StockChanged,
)
from common.ids import new_id
from services.web.tests.conftest import Visitor, Visitors
from tests.support.sessions import person
from tests.support.waiting import eventually
from web.clients.api import Api, Services
from web.live.updates import (
    LISTENED,
    MAX_FETCHES,
    MAX_PAGES_OF_ADDRESS,
    MAX_PAGES_OF_NETWORK,
    MAX_PAGES_OF_VISITOR,
    LiveUpdates,
    OpenPage,
)
from web.rendering.assets import Assets
from web.rendering.i18n import i18n_for
from web.rendering.templates import Templates

ITEM = {
    "id": "i1",
    "seller_id": "s1",
    "seller_name": "Sella",
    "title": "Lamp",
    "description": "",
    "price": 1250,
    "currency": "EUR",
    "quantity": 100,
    "available": 100,
    "status": "listed",
    "version": 3,
}


class Items:
    """The items service, as far as live updates ask it."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.none = False
        self.held = 0
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/orders/units":
            return httpx.Response(200, json=[{"item_id": "i1", "held": self.held, "sold": 100 - self.held}])
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise httpx.ConnectError("away")
        if self.none:
            return httpx.Response(404, json={"code": "item_not_found", "detail": "there is no such item"})
        return httpx.Response(200, json=ITEM)


@asynccontextmanager
async def updates_with(items: Items) -> AsyncIterator[LiveUpdates]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(items)) as http:
        services = Services(http, {"items": "http://items", "orders": "http://orders"})
        yield LiveUpdates(Api(services), Templates(Assets()))


def open_page(*items: str, user_id: str | None = None, locale: str = "en") -> OpenPage:
    return OpenPage(user_id, i18n_for(locale), frozenset(items))


def stock(version: int, available: int) -> StockChanged:
    return StockChanged(item_id="i1", stock_version=version, quantity=100, available=available)


def changed(version: int, price: int) -> ItemChanged:
    return ItemChanged(
        item_id="i1",
        item_version=version,
        seller_id="s1",
        title="Lamp",
        description="",
        price=price,
        currency=Currency.EUR,
        quantity=100,
        status=ItemStatus.LISTED,
    )


async def test_a_thousand_pages_fetch_an_item_once_and_each_gets_its_changes() -> None:
    items = Items()
    async with updates_with(items) as updates, AsyncExitStack() as open_pages:
        pages = [open_page("i1") for _ in range(1_000)]
        for page in pages:
            open_pages.enter_context(updates.open(page))
        await asyncio.gather(*(updates.fetch(page.items) for page in pages))

        updates.receive(stock(7, 3))

        assert items.asked == 1
        assert all(page.changed == {"i1"} and page.wake.is_set() for page in pages)
        assert {updates.html(page.changed, page.i18n) for page in pages} == {updates.html(["i1"], i18n_for("en"))}
        assert "Only 3 left" in updates.html(["i1"], i18n_for("en"))
        assert "Nur noch 3" in updates.html(["i1"], i18n_for("de"))


@pytest_asyncio.fixture
async def left_over() -> AsyncIterator[list[object]]:
    """Failures that nobody has looked at, of this test and not of those before it."""
    gc.collect()
    loop, found = asyncio.get_running_loop(), list[object]()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: found.append(context))
    yield found
    loop.set_exception_handler(before)


async def test_while_items_is_away_no_failure_of_a_fetch_is_left_over(left_over: list[object]) -> None:
    items = Items()
    items.away = True
    async with updates_with(items) as updates:
        page = open_page("i1", "i2", "i3")
        with updates.open(page), pytest.raises(Unavailable):
            await updates.fetch(page.items)
        await eventually(lambda: asyncio.sleep(0, items.asked == 3))
        await asyncio.sleep(0)
    gc.collect()

    assert left_over == []


async def test_a_page_that_leaves_while_items_goes_away_leaves_no_failure_over(left_over: list[object]) -> None:
    items = Items()
    items.away = True
    items.answers.clear()
    async with updates_with(items) as updates:
        page = open_page("i1", "i2")
        with updates.open(page):
            fetching = asyncio.create_task(updates.fetch(page.items))
            await eventually(lambda: asyncio.sleep(0, items.asked == 2))
            asked = [shown.fetching for shown in updates._items.values() if shown.fetching]
            fetching.cancel()
            await asyncio.wait([fetching])
        items.answers.set()
        await asyncio.wait(asked)
        del asked
    gc.collect()

    assert left_over == []


async def test_what_a_seller_writes_anew_is_on_every_page_that_shows_it() -> None:
    async with updates_with(Items()) as updates:
        page = open_page("i1")
        with updates.open(page):
            await updates.fetch(page.items)
            before = updates.html(["i1"], page.i18n)
            mark = re.search(r'data-wording="(\w+)"', before)
            assert mark

            updates.receive(changed(4, 1300))
            assert mark[0] in updates.html(["i1"], page.i18n)  # A price is no text: nobody has to read them again.
            updates.receive(changed(5, 1300).model_copy(update={"title": "A lamp", "description": "Rewired."}))

            html = updates.html(page.changed, page.i18n)
    assert ('<span id="title-i1">Lamp</span>' in before, '<span id="title-i1">A lamp</span>' in html) == (True, True)
    assert mark[0] not in html
    assert "Rewired." not in html  # It may be long, and lists do not show it.


async def test_what_is_held_is_sold_out_once_it_is_paid() -> None:
    items = Items()
    items.held = 2
    async with updates_with(items) as updates:
        with updates.open(page := open_page("i1")):
            await updates.fetch(page.items)
            updates.receive(stock(7, 0))

            async def says(words: str) -> bool:
                return words in updates.html(["i1"], page.i18n)

            await eventually(lambda: says("Reserved, may come back"))
            items.held = 0
            order: dict[str, Any] = {"order_id": "o1", "order_version": 2, "buyer_id": "b1", "seller_id": "s1"}
            order |= {"item_id": "i1", "item_title": "Lamp", "quantity": 2, "unit_price": 1250, "currency": "EUR"}
            updates.receive(OrderPaid(**order, expires_at=datetime(2026, 11, 1, tzinfo=UTC), payment_id="p1"))
            await eventually(lambda: says("Sold out"))


async def test_an_older_event_never_replaces_a_newer_one() -> None:
    async with updates_with(Items()) as updates:
        with updates.open(page := open_page("i1")):
            await updates.fetch(page.items)
            for event in (stock(9, 4), stock(8, 5), changed(5, 900), changed(4, 800), changed(2, 700)):
                updates.receive(event)

            html = updates.html(["i1"], page.i18n)

    assert "Only 4 left" in html
    assert "€9.00" in html


async def test_an_event_received_while_an_item_is_fetched_is_not_lost() -> None:
    items = Items()
    items.answers.clear()
    async with updates_with(items) as updates:
        updates.receive(stock(6, 2))  # Before any page shows the item: items may not have received it yet.
        with updates.open(page := open_page("i1")):
            fetching = asyncio.create_task(updates.fetch(page.items))
            await eventually(lambda: asyncio.sleep(0, items.asked))
            updates.receive(changed(4, 800))
            items.answers.set()
            await fetching

            html = updates.html(["i1"], page.i18n)

    assert "Only 2 left" in html
    assert "€8.00" in html


async def test_a_failed_fetch_is_tried_again() -> None:
    items = Items()
    items.away = True
    async with updates_with(items) as updates:
        with updates.open(page := open_page("i1")):
            with pytest.raises(Unavailable):
                await updates.fetch(page.items)
            items.away = False
            await updates.fetch(page.items)

            assert "100 left" in updates.html(["i1"], page.i18n)


async def test_only_pages_of_the_buyer_and_the_seller_get_changes_of_an_order() -> None:
    async with updates_with(Items()) as updates, AsyncExitStack() as open_pages:
        buyer, seller, other, nobody = (open_page(user_id=name) for name in ("b1", "s1", "x1", None))
        for page in (buyer, seller, other, nobody):
            open_pages.enter_context(updates.open(page))

        updates.receive(
            OrderPlaced(
                order_id="o1",
                order_version=1,
                buyer_id="b1",
                seller_id="s1",
                item_id="i1",
                item_title="Lamp",
                quantity=1,
                unit_price=1250,
                currency=Currency.EUR,
                expires_at=datetime(2026, 11, 1, tzinfo=UTC),
            )
        )
        assert [page.orders for page in (buyer, seller, other, nobody)] == [{"o1": 1}, {"o1": 1}, {}, {}]

        updates.receive(
            PaymentFailed(
                payment_id="p1",
                payment_version=2,
                order_id="o2",
                buyer_id="b1",
                amount=1250,
                currency=Currency.EUR,
                reason="declined",
            )
        )
        assert (buyer.orders, seller.orders) == ({"o1": 1, "o2": None}, {"o1": 1})


def test_whatever_changes_the_page_of_an_order_is_listened_to() -> None:
    changing = {event for event in EVENTS.values() if issubclass(event, OrderState | PaymentState)}

    answered_by_orders = {PaymentAuthorized, PaymentCaptured}  # with an event of its own, at once
    assert changing - {event for events in LISTENED for event in events} == answered_by_orders


async def test_a_closed_page_leaves_nothing_behind() -> None:
    async with updates_with(Items()) as updates:
        for _ in range(3):
            with updates.open(page := open_page("i1", "i2", user_id="b1")):
                await updates.fetch(page.items)
                assert len(updates) == 1
        assert len(updates) == 0
        assert (updates._items, updates._users) == ({}, {})


async def test_a_page_of_invented_items_costs_few_calls_and_ends() -> None:
    items = Items()
    items.none = True
    async with updates_with(items) as updates:
        with updates.open(page := open_page(*(f"i{number}" for number in range(100)))), pytest.raises(NotFound):
            await updates.fetch(page.items)
    assert items.asked <= MAX_FETCHES


@pytest.mark.parametrize(
    ("most", "whose"),
    [
        (MAX_PAGES_OF_VISITOR, {"visitor": "ada"}),
        (MAX_PAGES_OF_ADDRESS, {"address": "192.0.2.7"}),
        (MAX_PAGES_OF_NETWORK, {"network": "192.0.2.0/24"}),
    ],
)
async def test_a_visitor_an_address_and_a_network_open_a_bounded_number_of_pages(
    most: int, whose: dict[str, str]
) -> None:
    def another() -> OpenPage:
        return replace(open_page("i1"), **whose)  # type: ignore[arg-type]

    async with updates_with(Items()) as updates:
        with ExitStack() as pages:
            for _ in range(most):
                pages.enter_context(updates.open(another()))
            with pytest.raises(TooMany):
                pages.enter_context(updates.open(another()))
            pages.enter_context(updates.open(open_page("i1")))
        with updates.open(another()):
            assert len(updates) == 1


async def test_a_burst_of_streams_opens_as_many_as_there_is_room_for(visitors: Visitors) -> None:
    ada, nobodies = await visitors.new("Ada"), [await visitors.anybody() for _ in range(2)]  # Who take no cookies.
    async with AsyncExitStack() as streams:

        async def opened(visitor: Visitor) -> int:
            return (await streams.enter_async_context(visitor.http.stream("GET", "/live"))).status_code

        hers = await asyncio.gather(*(opened(ada) for _ in range(MAX_PAGES_OF_VISITOR + 5)))
        assert Counter(hers) == {200: MAX_PAGES_OF_VISITOR, 429: 5}
        theirs = await asyncio.gather(*(opened(nobody) for nobody in nobodies for _ in range(60)))
        assert theirs.count(200) <= MAX_PAGES_OF_ADDRESS  # Other tests may come from this address, too.
        assert theirs.count(429) >= len(theirs) - MAX_PAGES_OF_ADDRESS


class Stream:
    """The events that one live page receives."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def until(self, kind: str, words: str) -> Any:
        """The data of the next event of this kind that contain these words."""
        async with asyncio.timeout(60):
            event = ""
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == kind and words in value:
                    return json.loads(value)
        raise AssertionError(f"the stream ended without {words}")


@asynccontextmanager
async def live(visitor: Visitor, **shown: str) -> AsyncIterator[Stream]:
    async with visitor.http.stream("GET", "/live", params=shown) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Stream(answer)


async def test_a_stream_begins_with_the_current_state_and_continues_with_changes(visitors: Visitors) -> None:
    seller, buyer, watching = await visitors.new("Sella"), await visitors.new("Bo"), await visitors.anybody()
    body = {"title": "Lamp", "price": 1250, "currency": "EUR", "quantity": 50}
    item = (await seller.http.post("/api/items", json=body)).json()

    async with live(watching, item=item["id"]) as stream, live(seller, orders="sold") as sales:
        await stream.until("clock", "")
        await stream.until("news", "50 left")

        async def order() -> Any:
            answer = await buyer.http.post("/api/orders", json={"item_id": item["id"], "quantity": 8})
            return answer.json() if answer.status_code == 201 else None

        placed = await eventually(order)
        await stream.until("news", "42 left")
        await sales.until("news", placed["id"])

        async with live(buyer, order=placed["id"]) as own:
            assert (await own.until("news", placed["id"]))["orders"] == [[placed["id"], placed["version"]]]
            await buyer.http.delete(f"/api/orders/{placed['id']}")
            await own.until("news", placed["id"])
        await stream.until("news", "50 left")


async def test_there_is_no_stream_of_somebody_elses_order(visitors: Visitors) -> None:
    other = await visitors.new("Eve")
    async with live(other, order=new_id()) as stream:
        await stream.until("gone", "null")
    for order in ("sales", "none", "../items"):
        assert (await other.http.get("/live", params={"order": order})).status_code == 404, order
    for item in ("", "..", "i1"):
        assert (await other.http.get("/live", params={"item": item})).status_code == 404, item

    async with live(await visitors.anybody(), orders="bought") as stream:
        await stream.until("gone", "null")


async def test_a_session_that_begins_on_the_site_is_never_used_for_another_visitor(visitors: Visitors) -> None:
    ada, stranger = await visitors.anybody(), await visitors.anybody()
    fields = {"email": person("Ada").email, "password": "long enough", "name": "Ada"}
    await ada.send(await ada.get("/signup"), "/signup", **fields)
    assert ada.http.cookies.get("session")

    async with stranger.http.stream("GET", "/live", params={"orders": "bought"}) as answer:
        events = (line async for line in answer.aiter_lines() if line.startswith("event: "))
        assert [await anext(events), await anext(events)] == ["event: clock", "event: gone"]
