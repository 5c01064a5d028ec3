"""Keeps the index of this process as MongoDB has the items."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Self, TypeVar

from common.events import ItemStatus, StockChanged
from common.mongo.client import AWAY, Database, Document
from common.repeated import repeated
from items.index.engine import FIELDS, Known, SearchEngine
from items.memory import MOST_AGE, ItemMemory

T = TypeVar("T")

log = logging.getLogger(__name__)

PAGE = 250
"""Items that are read together."""

COMPARE_SECONDS = 600.0
"""Seconds between two looks whether the index lacks something that nobody told."""

PAUSE = 0.5
"""Seconds until the next attempt while MongoDB is away, and until an item without its seller's name is read again."""

NAMELESS_SECONDS = 60.0
"""For how long that is done: a name comes with the news of another service."""

FIRST_READING = 2.0
"""Seconds that a start waits for the index. What is asked before it is there, MongoDB answers."""

PATIENCE = 0.25
"""Seconds that a search waits at most for what was changed before it."""

MOST_WAITING = 50
"""Questions that wait for the index at most, about: others go to MongoDB, which refuses what is too much for it."""


class IndexFeed:
    """Reads all items once, and each again of which `ItemMemory` says that it has changed.

    MongoDB stays the only source: the index says which items are wanted, and MongoDB gives them.
    """

    def __init__(self, db: Database, memory: ItemMemory) -> None:
        self._items = db.items
        self._memory = memory
        self._engine = SearchEngine()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="search")
        self._changed: set[str] = set()
        self._stock: dict[str, StockChanged] = {}
        self._nameless: dict[str, float] = {}
        self._heard, self._taken, self._waiting = 0, 0, 0
        self._news, self._turn, self._first = asyncio.Event(), asyncio.Condition(), asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Inside, the index is read, and follows what changes."""
        self._memory.followers.append(self)
        async with repeated(self._follow, 0), repeated(self._compare, COMPARE_SECONDS):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._first.wait(), FIRST_READING)
            try:
                yield self
            finally:
                self._memory.followers.remove(self)
                self._first.clear()
                self._news.set()  # It waits no longer.
        self._thread.shutdown()

    def item_changed(self, item_id: str) -> None:
        """Read an item again, or for the first time."""
        self._changed.add(item_id)
        self._hear()

    def stock_changed(self, event: StockChanged) -> None:
        """Take the available units of an item."""
        before = self._stock.get(event.item_id)
        if before is None or before.stock_version < event.stock_version:
            self._stock[event.item_id] = event
        self._hear()

    def seller_named(self) -> None:
        """Read again the items that have no seller's name."""
        self._changed.update(self._nameless)
        self._hear()

    async def up_to_date(self) -> bool:
        """Whether the index has all that this process has heard of, misses no news and has time."""
        if not self._first.is_set() or self._memory.news_age() >= MOST_AGE or self._waiting >= MOST_WAITING:
            return False
        heard = self._heard
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE), self._turn:
                await self._turn.wait_for(lambda: self._taken >= heard)
        return self._taken >= heard

    async def ask(self, question: Callable[[SearchEngine], T]) -> T:
        """What the index answers, in its thread."""
        self._waiting += 1
        try:
            return await asyncio.wrap_future(self._thread.submit(question, self._engine))
        finally:
            self._waiting -= 1

    def _hear(self) -> None:
        self._heard += 1
        self._news.set()

    async def _follow(self, over: asyncio.Event) -> None:
        try:
            if not self._first.is_set():
                await self._read_all(over)
            await self._catch_up()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), PAUSE)
        except AWAY as error:
            log.warning("the index of items does not follow; it goes on in %s s: %s", PAUSE, error)
            await asyncio.sleep(PAUSE)
        except Exception:
            log.exception("the index of items does not follow; it goes on in %s s", PAUSE)
            await asyncio.sleep(PAUSE)

    async def _read_all(self, over: asyncio.Event) -> None:
        async for page in self._pages({"status": {"$ne": ItemStatus.WITHDRAWN}}, FIELDS):
            if over.is_set():
                return
            await self._take(page, more=True)
        await self._take(())
        self._first.set()

    async def _catch_up(self) -> None:
        """Take all that was heard of until now. If that fails, it is heard of still."""
        self._news.clear()
        now = time.monotonic()
        self._changed.update(item_id for item_id, until in self._nameless.items() if now < until)
        heard, (changed, self._changed), (stock, self._stock) = self._heard, (self._changed, set()), (self._stock, {})
        try:
            for ids in _pages_of(sorted(changed)):
                await self._take(await self._items.find({"_id": {"$in": ids}}, _shown(FIELDS)).to_list())
            if stock:
                await self.ask(lambda engine: engine.show_stock(stock.values()))
        except BaseException:
            self._changed |= changed
            self._stock = stock | self._stock
            raise
        async with self._turn:
            self._taken = heard
            self._turn.notify_all()

    async def _take(self, page: Sequence[Document], *, more: bool = False) -> None:
        until = time.monotonic() + NAMELESS_SECONDS
        for item in page:
            if item.get("seller_name"):
                self._nameless.pop(item["_id"], None)
            else:
                self._nameless.setdefault(item["_id"], until)
        await self.ask(lambda engine: engine.put(page, more=more))

    async def _compare(self, over: asyncio.Event) -> None:
        """Read again what has another version than the index, or another name: not all of that is told."""
        if not self._first.is_set():
            return
        try:
            async for page in self._pages({}, ("status", *Known._fields)):
                ids = [item["_id"] for item in page]
                known = await self.ask(partial(SearchEngine.known, ids=ids))
                self._changed.update(item["_id"] for item in page if _differs(item, known.get(item["_id"])))
                if over.is_set():
                    return
            self._hear()
        except AWAY as error:
            log.warning("the index of items was not compared; that is tried again in %s s: %s", COMPARE_SECONDS, error)
        except Exception:
            log.exception("the index of items was not compared; that is tried again in %s s", COMPARE_SECONDS)

    async def _pages(self, query: Document, fields: Sequence[str]) -> AsyncIterator[list[Document]]:
        last: Document = {}
        while page := await self._items.find({**query, **last}, _shown(fields)).sort("_id", 1).limit(PAGE).to_list():
            yield page
            last = {"_id": {"$gt": page[-1]["_id"]}}


def _differs(item: Document, known: Known | None) -> bool:
    if known is None:
        return bool(item["status"] != ItemStatus.WITHDRAWN)
    return known != Known(item["version"], item.get("stock_version", 0), item.get("seller_name"))


def _shown(fields: Sequence[str]) -> Document:
    return dict.fromkeys(fields, 1)


def _pages_of(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + PAGE] for first in range(0, len(ids), PAGE)]
