"""The items that people look at, answered from memory.

MongoDB stays the only source: what changes an item drops it from here, and it is read again. Nothing is decided by it.
"""

import math
import time
from collections.abc import AsyncIterator, Hashable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple, Protocol

from cachetools import TLRUCache, TTLCache
from prometheus_client import Counter, Gauge

from common.bus.connection import Bus
from common.bus.listener import Listener
from common.events import Event, ItemChanged, ItemListed, ItemState, ItemWithdrawn, StockChanged
from common.mongo.client import Document

MOST_AGE = 5.0
"""Seconds since MongoDB was asked for what is answered from memory, at most, whatever fails."""

MOST_BYTES = 32 * 1024 * 1024
"""What the answers in memory may take in all. Those that were not asked for longest go first."""

ENTRY_BYTES = 1_000
"""What one of them takes beside its body, about."""

MOST_PAGES, LARGEST_PAGE = 100, 256 * 1024
"""Pages in memory at most, and the bytes of the largest one that is kept."""

MOST_CHANGES = 20_000
"""Items whose newest change is remembered."""

LISTENED: tuple[tuple[type[Event], ...], ...] = ((ItemListed, ItemChanged, ItemWithdrawn), (StockChanged,))
"""The events that change what is shown of an item, by stream."""

ANSWERED = Counter("souk_items_answered_total", "Answers with an item or a page, by where from", ["kind", "source"])
ITEM_REMEMBERED, ITEM_READ = (ANSWERED.labels("item", source) for source in ("memory", "database"))
PAGE_REMEMBERED, PAGE_READ = (ANSWERED.labels("page", source) for source in ("memory", "database"))
NEWS_AGE = Gauge("souk_items_news_age_seconds", "Time since it was sure that no change of an item was missed")


class Versions(NamedTuple):
    """Which state of an item it is: its own version, and that of its stock."""

    item: int = 0
    stock: int = 0


class Follower(Protocol):
    """Something else that has to know of changes."""

    def item_changed(self, item_id: str) -> None:
        """An item was listed or changed."""

    def stock_changed(self, event: StockChanged) -> None:
        """An item has other units."""

    def seller_named(self) -> None:
        """Some seller's name has changed."""


class KeptPage(NamedTuple):
    """A page, and until when it may be given (monotonic)."""

    body: bytes
    items: Mapping[str, Versions]
    until: float


class Kept(NamedTuple):
    """An answer, and until when it may be given (monotonic)."""

    body: bytes
    seller_id: str
    versions: Versions
    until: float


class ItemMemory:
    """Answers with one item, and first pages. Sellers get neither, so that they see what they did. Drafts never come.

    News of a change drop an answer (every replica hears them), and so does what this process writes. Each is dropped
    `MOST_AGE` seconds after it was read, so none is older, also if news are lost or late. While it is not sure that
    all news have come, for longer than that, nothing is answered from memory.
    """

    def __init__(self) -> None:
        self._kept: TLRUCache[str, Kept] = TLRUCache(
            MOST_BYTES, ttu=lambda _, kept, __: kept.until, getsizeof=lambda kept: len(kept.body) + ENTRY_BYTES
        )
        self._changed: TTLCache[str, Versions] = TTLCache(MOST_CHANGES, MOST_AGE)
        self._pages: dict[Hashable, KeptPage] = {}
        self._lists_changed_at = -math.inf
        self._news: Sequence[Listener] = ()
        self.followers: list[Follower] = []

    @asynccontextmanager
    async def following(self, bus: Bus) -> AsyncIterator[None]:
        """Inside, it hears of changes. Outside, it answers nothing."""
        async with AsyncExitStack() as exits:
            self._news = [await exits.enter_async_context(bus.listening(self.receive, *events)) for events in LISTENED]
            NEWS_AGE.set_function(self.news_age)
            yield
        self._news = ()

    def news_age(self) -> float:
        """Seconds since it was sure that every change had been heard of."""
        return time.monotonic() - min((listener.complete_at for listener in self._news), default=-math.inf)

    def answer(self, item_id: str, viewer_id: str | None) -> bytes | None:
        """The body of the answer, if it is in memory and good for this viewer."""
        try:
            kept = self._kept[item_id]
        except KeyError:
            kept = None
        if kept is None or kept.seller_id == viewer_id or self.news_age() >= MOST_AGE:
            ITEM_READ.inc()
            return None
        ITEM_REMEMBERED.inc()
        return kept.body

    def keep(self, document: Document, body: bytes, asked_at: float) -> None:
        """Keep the answer made from a document that was asked for at this time (monotonic), unless it is old already.

        MongoDB may still give the old stock when the news of the new one have come.
        """
        versions = _versions(document)
        if document.get("published", True) and not _older(versions, self._changed.get(document["_id"])):
            kept = Kept(body, document["seller_id"], versions, asked_at + MOST_AGE)
            self._kept[document["_id"]] = kept

    def page(self, wanted: Hashable) -> bytes | None:
        """The body of a first page, if it is in memory. It is for those who are not signed in."""
        kept = self._pages.get(wanted)
        if kept is None or kept.until <= time.monotonic() or self.news_age() >= MOST_AGE:
            PAGE_READ.inc()
            return None
        PAGE_REMEMBERED.inc()
        return kept.body

    def keep_page(self, wanted: Hashable, documents: Sequence[Document], body: bytes, asked_at: float) -> None:
        """Keep a page with these documents, as `keep` does."""
        items = {document["_id"]: _versions(document) for document in documents}
        old = any(_older(versions, self._changed.get(item_id)) for item_id, versions in items.items())
        if old or asked_at <= self._lists_changed_at or len(body) > LARGEST_PAGE:
            return
        self._pages.pop(wanted, None)
        if len(self._pages) >= MOST_PAGES:
            del self._pages[next(iter(self._pages))]  # It would be the next to become too old.
        self._pages[wanted] = KeptPage(body, items, asked_at + MOST_AGE)

    def receive(self, event: Event) -> None:
        """Drop what an event has changed."""
        match event:
            case ItemState():
                self.changed(event.item_id, Versions(item=event.item_version))
            case StockChanged():
                self.changed(event.item_id, Versions(stock=event.stock_version))
                for follower in self.followers:
                    follower.stock_changed(event)

    def changed(self, item_id: str, versions: Versions) -> None:
        """Drop the answer with an item that is older than this, and take none that is.

        Another version of the item may change any page, another stock only those that have the item. What comes back on
        sale may take its place among what is not sold out `MOST_AGE` seconds later.
        """
        before = self._changed.get(item_id) or Versions()
        self._changed[item_id] = Versions(*map(max, before, versions))
        if (kept := self._kept.get(item_id)) and _older(kept.versions, versions):
            del self._kept[item_id]
        if versions.item:
            self.lists_changed()
            for follower in self.followers:
                follower.item_changed(item_id)
            return
        for wanted, page in list(self._pages.items()):
            if item_id in page.items and _older(page.items[item_id], versions):
                del self._pages[wanted]

    def lists_changed(self) -> None:
        """Drop all pages, and take none that was asked for before."""
        self._lists_changed_at = time.monotonic()
        self._pages.clear()

    def forget_seller(self, seller_id: str) -> None:
        """Drop the answers with what somebody sells: their name has changed, which is no version of an item."""
        self.lists_changed()
        for follower in self.followers:
            follower.seller_named()
        for item_id in list(self._kept):
            if (kept := self._kept.get(item_id)) and kept.seller_id == seller_id:
                del self._kept[item_id]


def _versions(document: Document) -> Versions:
    return Versions(document["version"], document.get("stock_version", 0))


def _older(one: Versions, other: Versions | None) -> bool:
    """Whether one state of an item lacks something that the other has."""
    return other is not None and (one.item < other.item or one.stock < other.stock)
