"""What happens is on every page that shows it at once, and on no other's."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from common.errors import Unavailable
from common.events import Currency, ItemChanged, ItemStatus, OrderPlaced, PaymentFailed, StockChanged
from services.web.tests.conftest import Visitor, Visitors
from tests.support.waiting import eventually
from web.clients.api import Api, Services
from web.live.updates import Hub, Watcher
from web.rendering.assets import Assets
from web.rendering.i18n import words_for
from web.rendering.site import Site
from web.security.csrf import Csrf

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
    """The items service, as far as a hub asks it."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.answers.wait()
        if self.away:
            raise httpx.ConnectError("away")
        return httpx.Response(200, json=ITEM)


@asynccontextmanager
async def hub_with(items: Items) -> AsyncIterator[Hub]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(items)) as http:
        services = Services(http, {"items": "http://items"})
        yield Hub(Api(services), Site.of(Assets(), Csrf("secret"), secure=False))


def watcher(*items: str, user_id: str | None = None, locale: str = "en") -> Watcher:
    return Watcher(user_id, words_for(locale), frozenset(items))


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


async def test_a_thousand_pages_ask_for_an_item_once_and_each_hears_of_it() -> None:
    items = Items()
    async with hub_with(items) as hub, AsyncExitStack() as open_pages:
        pages = [watcher("i1") for _ in range(1_000)]
        for page in pages:
            open_pages.enter_context(hub.watching(page))
        await asyncio.gather(*(hub.fetch(page.items) for page in pages))

        hub.hear(stock(7, 3))

        assert items.asked == 1
        assert all(page.changed == {"i1"} and page.wake.is_set() for page in pages)
        assert {hub.html(page.changed, page.words) for page in pages} == {hub.html(["i1"], words_for("en"))}
        assert "Only 3 left" in hub.html(["i1"], words_for("en"))
        assert "Nur noch 3" in hub.html(["i1"], words_for("de"))


async def test_older_news_never_replaces_newer() -> None:
    async with hub_with(Items()) as hub:
        with hub.watching(page := watcher("i1")):
            await hub.fetch(page.items)
            for event in (stock(9, 4), stock(8, 5), changed(5, 900), changed(4, 800), changed(2, 700)):
                hub.hear(event)

            html = hub.html(["i1"], page.words)

    assert "Only 4 left" in html
    assert "€9.00" in html


async def test_what_is_heard_while_an_item_is_fetched_is_not_lost() -> None:
    items = Items()
    items.answers.clear()
    async with hub_with(items) as hub:
        hub.hear(stock(6, 2))  # Heard before anybody watched: items may not have heard it yet.
        with hub.watching(page := watcher("i1")):
            fetching = asyncio.create_task(hub.fetch(page.items))
            await eventually(lambda: asyncio.sleep(0, items.asked))
            hub.hear(changed(4, 800))
            items.answers.set()
            await fetching

            html = hub.html(["i1"], page.words)

    assert "Only 2 left" in html
    assert "€8.00" in html


async def test_a_failed_fetch_is_tried_again() -> None:
    items = Items()
    items.away = True
    async with hub_with(items) as hub:
        with hub.watching(page := watcher("i1")):
            with pytest.raises(Unavailable):
                await hub.fetch(page.items)
            items.away = False
            await hub.fetch(page.items)

            assert "100 left" in hub.html(["i1"], page.words)


async def test_only_the_buyer_and_the_seller_hear_of_an_order() -> None:
    async with hub_with(Items()) as hub, AsyncExitStack() as open_pages:
        buyer, seller, other, nobody = (watcher(user_id=name) for name in ("b1", "s1", "x1", None))
        for page in (buyer, seller, other, nobody):
            open_pages.enter_context(hub.watching(page))

        hub.hear(
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

        hub.hear(
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


async def test_a_closed_page_leaves_nothing_behind() -> None:
    async with hub_with(Items()) as hub:
        for _ in range(3):
            with hub.watching(page := watcher("i1", "i2", user_id="b1")):
                await hub.fetch(page.items)
                assert len(hub) == 1
        assert len(hub) == 0
        assert (hub._topics, hub._people) == ({}, {})


class Stream:
    """The events of one live page, as they come."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def until(self, kind: str, words: str) -> Any:
        """The next event of a kind whose data contain some words."""
        async with asyncio.timeout(15):
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


async def test_a_stream_begins_with_the_state_of_things_and_goes_on_with_changes(visitors: Visitors) -> None:
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


async def test_another_s_order_is_no_stream(visitors: Visitors) -> None:
    other = await visitors.new("Eve")
    async with live(other, order="none") as stream:
        await stream.until("gone", "null")

    async with live(await visitors.anybody(), orders="bought") as stream:
        await stream.until("gone", "null")
