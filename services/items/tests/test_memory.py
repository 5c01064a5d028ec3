"""Two replicas answer from memory, and never what is older than `MOST_AGE`."""

import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import nats
import pytest
import pytest_asyncio

from common.bus.provision import provision
from common.events import StockChanged
from common.http.app import create_app
from common.mongo.client import AWAY, Database
from infra.servers.nats import NatsServer
from items.consumers import consumers
from items.favourites.routes import router
from items.main import start
from items.memory import ENTRY_BYTES, LARGEST_PAGE, MOST_AGE, MOST_PAGES, ItemMemory, Versions
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

from .conftest import Shop

LONG = 600.0
"""Seconds that an answer may live in tests of what drops it earlier."""


@dataclass
class Replicas:
    """Two processes of items, as far as a test can tell: each has connections and a memory of its own."""

    one: Shop
    other: Shop
    bus: NatsServer
    db: Database

    async def rename(self, item_id: str, title: str) -> None:
        """Change an item in the database, of which nobody hears."""
        await self.db.items.update_one({"_id": item_id}, {"$set": {"title": title}})

    async def remembered(self, item_id: str) -> bool:
        """Whether the other replica answers from memory: it does not see what nobody hears of."""
        before = (await self.other.item(item_id))["title"]
        await self.rename(item_id, before + "!")
        return bool((await self.other.item(item_id))["title"] == before)

    def freeze(self, number: signal.Signals = signal.SIGSTOP) -> None:
        """Let the bus hang: connections stay open, and nothing comes."""
        self.bus.send(number)


@pytest_asyncio.fixture
async def replicas(
    db: Database,
    mongo_url: str,
    nats_server: Callable[[], NatsServer],
    tokens: Tokens,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Replicas]:
    bus, seller = nats_server(), person("Ada")
    async with AsyncExitStack() as exits:
        await bus.start()
        exits.push_async_callback(bus.stop)
        await provision(bus.url, consumers.durables)
        monkeypatch.setenv("MONGO_URL", mongo_url)
        monkeypatch.setenv("NATS_URL", bus.url)
        monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)
        monkeypatch.setattr("items.store.EFFECT_TIMEOUT", 0.05)  # There is no orders that could follow an edit.
        client = await nats.connect(bus.url)
        exits.push_async_callback(client.close)
        events = Events(client.jetstream(timeout=10))
        one, other = [
            Shop(
                await exits.enter_async_context(running(create_app("items", router, start, away=AWAY))),
                db,
                events,
                tokens,
                seller,
            )
            for _ in range(2)
        ]
        exits.callback(bus.send, signal.SIGCONT)  # What hangs could not be stopped.
        yield Replicas(one, other, bus, db)


@pytest.fixture
def long_lived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers live so long that only news can drop one within the test."""
    monkeypatch.setattr("items.memory.MOST_AGE", LONG)


async def remembers_page(replicas: Replicas, item_id: str, **params: Any) -> bool:
    """Whether the other replica answers with this page from memory."""
    before = await replicas.other.titles(**params)
    await replicas.rename(item_id, f"Lamp {time.monotonic_ns()}")
    return await replicas.other.titles(**params) == before


async def shown(shop: Shop, item_id: str, **expected: Any) -> None:
    """Wait until a replica shows this to everybody."""

    async def shows() -> bool:
        item = await shop.item(item_id)
        assert {name: item[name] for name in expected} == expected
        return True

    await eventually(shows)


@pytest.mark.usefixtures("long_lived")
async def test_a_change_on_one_replica_shows_on_the_other(replicas: Replicas) -> None:
    item = await replicas.one.offer()
    await eventually(lambda: replicas.remembered(item["id"]))

    for change in ({"price": 999}, {"title": "A lamp of glass"}):
        await replicas.one.call("PATCH", f"/{item['id']}", replicas.one.seller, json=change)
        await shown(replicas.other, item["id"], **change)
    await replicas.one.call("DELETE", f"/{item['id']}", replicas.one.seller)
    await shown(replicas.other, item["id"], status="withdrawn")


@pytest.mark.usefixtures("long_lived")
async def test_both_replicas_show_what_is_left_whoever_of_them_is_told(replicas: Replicas) -> None:
    item = await replicas.one.offer()

    for version in range(1, 6):
        await eventually(lambda: replicas.remembered(item["id"]))
        await replicas.one.item(item["id"])
        stock = StockChanged(item_id=item["id"], stock_version=version, quantity=5, available=5 - version)
        await replicas.one.events.deliver(stock)
        for shop in (replicas.one, replicas.other):
            await shown(shop, item["id"], available=5 - version)


@pytest.mark.usefixtures("long_lived")
async def test_a_page_on_one_replica_follows_what_happens_on_the_other(replicas: Replicas) -> None:
    item = await replicas.one.offer()

    async def page() -> Any:
        await eventually(lambda: remembers_page(replicas, item["id"]))
        return (await replicas.other.call("GET")).json()["items"]

    async def follows(count: int, **expected: Any) -> None:
        async def shows() -> bool:
            items = (await replicas.other.call("GET")).json()["items"]
            assert (len(items), *(items[-1][name] for name in expected)) == (count, *expected.values())
            return True

        await eventually(shows)

    assert len(await page()) == 1
    await replicas.one.call("PATCH", f"/{item['id']}", replicas.one.seller, json={"price": 999})
    await follows(1, price=999)
    await page()
    await replicas.one.events.deliver(StockChanged(item_id=item["id"], stock_version=1, quantity=5, available=3))
    await follows(1, available=3)
    await page()
    other = await replicas.one.offer()
    await follows(2, price=999)
    await page()
    await replicas.one.call("DELETE", f"/{other['id']}", replicas.one.seller)
    await follows(1, available=3)


@pytest.mark.usefixtures("long_lived")
async def test_pages_of_people_and_of_what_is_left_are_not_remembered(replicas: Replicas) -> None:
    item, buyer = await replicas.one.offer(), person()
    await eventually(lambda: remembers_page(replicas, item["id"]))
    await eventually(lambda: remembers_page(replicas, item["id"], limit=7))

    assert not await remembers_page(replicas, item["id"], user=buyer)
    assert not await remembers_page(replicas, item["id"], available=True)
    assert not await remembers_page(replicas, item["id"], cursor="f" * 12 + "7fff9" + "f" * 15)


@pytest.mark.usefixtures("long_lived")
async def test_a_seller_sees_on_every_replica_at_once_what_they_saved(replicas: Replicas) -> None:
    item = await replicas.one.offer()
    await eventually(lambda: replicas.remembered(item["id"]))
    replicas.freeze()  # No news reach the other replica.

    await replicas.one.call("PATCH", f"/{item['id']}", replicas.one.seller, json={"price": 999})

    seen = await replicas.other.call("GET", f"/{item['id']}", replicas.other.seller)
    assert seen.json()["price"] == 999
    assert (await replicas.one.item(item["id"]))["price"] == 999  # The replica that wrote shows it to everybody.


async def test_a_draft_is_never_remembered(replicas: Replicas) -> None:
    draft = await replicas.one.offer(draft=True)
    path = f"/{draft['id']}"
    for viewer, status in ((replicas.other.seller, 200), (None, 404), (person(), 404), (replicas.other.seller, 200)):
        assert (await replicas.other.call("GET", path, viewer)).status_code == status

    await replicas.one.call("POST", f"{path}/publish", replicas.one.seller)

    await shown(replicas.other, draft["id"], status="listed")


async def test_without_news_nothing_is_shown_for_longer_than_promised(replicas: Replicas) -> None:
    item = await replicas.one.offer()
    await eventually(lambda: replicas.remembered(item["id"]))
    await eventually(lambda: remembers_page(replicas, item["id"]))
    replicas.freeze()

    await replicas.one.call("DELETE", f"/{item['id']}", replicas.one.seller)

    async def withdrawn() -> bool:
        status = (await replicas.other.item(item["id"]))["status"]
        return bool(status == "withdrawn" and not await replicas.other.titles())

    await eventually(withdrawn, seconds=2 * MOST_AGE)


async def test_what_no_event_tells_shows_once_the_answers_are_too_old(replicas: Replicas) -> None:
    item = await replicas.one.offer()
    await eventually(lambda: replicas.remembered(item["id"]))
    await eventually(lambda: remembers_page(replicas, item["id"]))

    await replicas.rename(item["id"], "A lamp of glass")

    async def renamed() -> bool:
        shown = [(await replicas.other.item(item["id"]))["title"], *await replicas.other.titles()]
        return shown == 2 * ["A lamp of glass"]

    await eventually(renamed, seconds=2 * MOST_AGE)


async def test_while_the_bus_hangs_or_is_away_answers_come_from_the_database(replicas: Replicas) -> None:
    item = await replicas.one.offer()

    async def forgotten() -> bool:
        return not any([await replicas.remembered(item["id"]) for _ in range(5)])

    async def remembered() -> bool:
        return await replicas.remembered(item["id"])

    await eventually(remembered, seconds=60)
    replicas.freeze()
    await eventually(forgotten, seconds=60)
    replicas.freeze(signal.SIGCONT)
    await eventually(remembered, seconds=60)
    await replicas.bus.kill()
    await eventually(forgotten, seconds=60)
    await replicas.bus.start()
    await eventually(remembered, seconds=60)


class Sure(ItemMemory):
    """A memory that is sure to have heard everything."""

    def news_age(self) -> float:
        return 0.0


def keep(memory: ItemMemory, body: bytes = b"{}", **different: Any) -> bytes | None:
    """Keep the answer made from a document, and return what somebody gets then."""
    document = {"_id": "i1", "seller_id": "s1", "version": 1, "stock_version": 0} | different
    memory.keep(document, body, time.monotonic())
    return memory.answer(str(document["_id"]), None)


def test_what_was_read_before_its_news_came_is_not_kept() -> None:
    memory = Sure()
    memory.changed("i1", Versions(item=2))
    memory.receive(StockChanged(item_id="i1", stock_version=7, quantity=5, available=0))

    assert keep(memory, version=1, stock_version=7) is None
    assert keep(memory, version=2, stock_version=6) is None
    assert keep(memory, version=2, stock_version=7) == b"{}"


def keep_page(memory: ItemMemory, asked_at: float, *, body: bytes = b"[]", wanted: str = "newest") -> bytes | None:
    """Keep a page with one item, and return what somebody gets then."""
    document = {"_id": "i1", "seller_id": "s1", "version": 1, "stock_version": 1}
    memory.keep_page(wanted, [document], body, asked_at)
    return memory.page(wanted)


def test_a_page_that_was_read_before_its_news_came_is_not_kept() -> None:
    memory, before = Sure(), time.monotonic()
    memory.changed("i2", Versions(item=1))
    assert keep_page(memory, before) is None
    assert keep_page(memory, time.monotonic()) == b"[]"

    memory.changed("i2", Versions(stock=9))
    assert memory.page("newest") == b"[]"
    memory.changed("i1", Versions(stock=2))
    assert memory.page("newest") is None
    assert keep_page(memory, time.monotonic()) is None


def test_there_is_room_for_so_many_pages() -> None:
    memory = Sure()
    assert keep_page(memory, time.monotonic(), body=b" " * (LARGEST_PAGE + 1)) is None
    for number in range(2 * MOST_PAGES):
        assert keep_page(memory, time.monotonic(), wanted=str(number))

    assert sum(memory.page(str(number)) is not None for number in range(2 * MOST_PAGES)) == MOST_PAGES


def test_old_news_drop_nothing() -> None:
    memory = Sure()
    assert keep(memory, version=3, stock_version=2)

    memory.changed("i1", Versions(item=3, stock=1))

    assert memory.answer("i1", None) == b"{}"
    assert memory.answer("i1", "s1") is None


def test_a_name_that_changes_is_dropped_with_all_that_has_it() -> None:
    memory = Sure()
    for item_id, seller_id in (("i1", "s1"), ("i2", "s2"), ("i3", "s1")):
        keep(memory, _id=item_id, seller_id=seller_id)

    memory.forget_seller("s1")

    assert [memory.answer(item_id, None) for item_id in ("i1", "i2", "i3")] == [None, b"{}", None]


def test_memory_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("items.memory.MOST_BYTES", 10 * (ENTRY_BYTES + 100))
    memory = Sure()
    for number in range(20):
        assert keep(memory, b" " * 100, _id=str(number))
        assert memory.answer("0", None)  # What is asked for stays.

    assert [memory.answer(str(number), None) is None for number in range(20)].count(False) == 10
