"""The open pages of this process, and what has changed on each.

The state of an item is kept once, however many pages show it, and rendered once for each locale. A slow page gets the
newest state, not the history. A page with orders is notified only that an order has changed.
"""

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from common.errors import NotFound, TooMany
from common.events import (
    Event,
    ItemChanged,
    ItemState,
    ItemWithdrawn,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderPlaced,
    OrderRefundRequested,
    OrderState,
    PaymentDisputed,
    PaymentFailed,
    PaymentPartlyRefunded,
    PaymentProcessing,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundRetried,
    PaymentReleased,
    PaymentState,
    SessionEnded,
    StockChanged,
)
from web.clients.api import Api, Refused
from web.clients.models import TEXTS, Item, Units
from web.rendering.i18n import I18n
from web.rendering.templates import Templates

LISTENED: tuple[tuple[type[Event], ...], ...] = (
    (ItemChanged, ItemWithdrawn),
    (
        StockChanged,
        OrderPlaced,
        OrderCancelled,
        OrderPaymentAccepted,
        OrderPaid,
        OrderPaymentRejected,
        OrderRefundRequested,
    ),
    (
        PaymentProcessing,
        PaymentFailed,
        PaymentReleased,
        PaymentPartlyRefunded,
        PaymentRefunded,
        PaymentRefundFailed,
        PaymentRefundRetried,
        PaymentDisputed,
    ),
)
"""The events that change pages, by stream."""

OFFERED = {"price", "currency", "quantity", "status", "sale_starts_at", "sale_ends_at", *TEXTS}
"""What an event says about an item that pages show."""

MAX_STOCKS = 20_000
"""Items whose stock is remembered without an open page: the items service learns of a change a little later."""

MAX_FETCHES = 16
"""Items that are fetched at the same time."""

MAX_UNKNOWN = 3
"""Items of one page that need not exist. A page with more is none of ours, and each costs a call to items."""

MAX_PAGES_OF_VISITOR = 20
MAX_PAGES_OF_ADDRESS = 100
MAX_PAGES_OF_NETWORK = 1_000
"""Pages that are open at once in this process. One more does not change by itself, until another is closed."""

RETRY_SECONDS = 30


@dataclass(eq=False)
class OpenPage:
    """An open page: what it shows, and what of it has changed since its last message."""

    user_id: str | None
    i18n: I18n
    items: frozenset[str]
    visitor: str = ""
    """The signed-in user, else the visit."""
    address: str = ""
    """Where somebody comes from who is not signed in: whoever counts as another visit is one address."""
    network: str = ""
    session_id: str | None = None
    expires_at: float = math.inf
    """When the access token expires that it was opened with (Unix seconds): then the browser opens another stream."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    changed: set[str] = field(default_factory=set)
    """The items that have changed."""
    orders: dict[str, int | None] = field(default_factory=dict)
    """The user's orders that have changed, with their new version. None if the event has no version of the order."""

    def end(self) -> None:
        """End the stream: its session is over."""
        self.expires_at = 0
        self.wake.set()

    def item_changed(self, item_id: str) -> None:
        """Note that an item has changed."""
        self.changed.add(item_id)
        self.wake.set()

    def order_changed(self, order_id: str, version: int | None) -> None:
        """Note that an order has changed."""
        self.orders[order_id] = version
        self.wake.set()


@dataclass
class ShownItem:
    """An item that at least one page shows: as it was fetched, and the newest event about it."""

    pages: set[OpenPage] = field(default_factory=set)
    fetching: "asyncio.Task[None] | None" = None
    fetched: Item | None = None
    state: ItemState | None = None
    rendered: dict[str, str] = field(default_factory=dict)
    """Its HTML by locale."""
    units: Units | None = None
    counting: "asyncio.Task[None] | None" = None
    stale: bool = False
    """Whether its units may have changed since they were asked for."""


class LiveUpdates:
    """Receives events and wakes the pages that they change."""

    def __init__(self, api: Api, templates: Templates) -> None:
        """`api` fetches items: without a session, since everybody may see them."""
        self._api = api
        self._templates = templates
        self._pages: set[OpenPage] = set()
        self._items: dict[str, ShownItem] = {}
        self._users: dict[str, set[OpenPage]] = {}
        self._by_visitor: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        self._by_network: Counter[str] = Counter()
        self._stocks: OrderedDict[str, StockChanged] = OrderedDict()
        self._fetches = asyncio.Semaphore(MAX_FETCHES)
        self.closed = False

    def __len__(self) -> int:
        """The number of open pages."""
        return len(self._pages)

    def close(self) -> None:
        """End all streams. The browsers reconnect to another replica."""
        self.closed = True
        for page in self._pages:
            page.wake.set()

    def _counts(self, page: OpenPage) -> list[tuple[Counter[str], str, int]]:
        """What counts this page, and how many it may count."""
        return [
            (self._by_visitor, page.visitor, MAX_PAGES_OF_VISITOR),
            (self._by_address, page.address, MAX_PAGES_OF_ADDRESS),
            (self._by_network, page.network, MAX_PAGES_OF_NETWORK),
        ]

    @contextmanager
    def open(self, page: OpenPage) -> Iterator[None]:
        """Keep a page up to date. Raises `TooMany` if this visitor, their address or network has as many as it may."""
        for open_pages, key, most in self._counts(page):
            if key and open_pages[key] >= most:
                raise TooMany("too many pages are open; close one, or reload this one later", RETRY_SECONDS)
        self._pages.add(page)
        for open_pages, key, _ in self._counts(page):
            open_pages[key] += 1
        for item_id in page.items:
            self._items.setdefault(item_id, ShownItem()).pages.add(page)
        if page.user_id:
            self._users.setdefault(page.user_id, set()).add(page)
        try:
            yield
        finally:
            self._remove(page)

    async def fetch(self, item_ids: Collection[str]) -> None:
        """Fetch those of the items that are not known yet.

        Raises `Unavailable`, or `NotFound` once more than `MAX_UNKNOWN` of them do not exist.
        """
        unknown, ids = 0, list(item_ids)
        for first in range(0, len(ids), MAX_FETCHES):
            some = ids[first : first + MAX_FETCHES]
            # All at once: what fails beside the first failure is looked at, too, and not logged as if nobody cared.
            await asyncio.gather(*(asyncio.shield(self._fetching(item_id)) for item_id in some))
            unknown += sum(self._items[item_id].fetched is None for item_id in some)
            if unknown > MAX_UNKNOWN:
                raise NotFound("these items do not exist")

    def _fetching(self, item_id: str) -> "asyncio.Task[None]":
        shown = self._items[item_id]
        if shown.fetching is None or (shown.fetching.done() and shown.fetching.exception()):
            shown.fetching = _asking(self._fetch(item_id, shown))
        return shown.fetching

    def html(self, item_ids: Iterable[str], i18n: I18n) -> str:
        """The elements of these items that can change, for a locale."""
        return "".join(self._html(item_id, i18n) for item_id in item_ids)

    def receive(self, event: Event) -> None:
        """Keep what an event says and wake the pages that it changes."""
        match event:
            case SessionEnded():
                for page in self._pages:
                    if page.session_id == event.session_id:
                        page.end()
            case StockChanged():
                self._receive_stock(event)
            case ItemState():
                self._receive_item(event)
            case OrderState():
                self._order_changed({event.buyer_id, event.seller_id}, event.order_id, event.order_version)
                if isinstance(event, OrderPaid):
                    self._count(event.item_id)
            case PaymentState():
                self._order_changed({event.buyer_id}, event.order_id, None)

    def _receive_stock(self, event: StockChanged) -> None:
        known = self._stocks.get(event.item_id)
        if known and known.stock_version >= event.stock_version:
            return
        self._stocks[event.item_id] = event
        self._stocks.move_to_end(event.item_id)
        if len(self._stocks) > MAX_STOCKS:
            self._stocks.popitem(last=False)
        self._item_changed(event.item_id)
        self._count(event.item_id)

    def _receive_item(self, event: ItemState) -> None:
        shown = self._items.get(event.item_id)
        if shown and (shown.state is None or shown.state.item_version < event.item_version):
            shown.state = event
            self._item_changed(event.item_id)

    def _item_changed(self, item_id: str) -> None:
        if shown := self._items.get(item_id):
            shown.rendered.clear()
            for page in shown.pages:
                page.item_changed(item_id)

    def _order_changed(self, user_ids: set[str], order_id: str, version: int | None) -> None:
        for user_id in user_ids:
            for page in self._users.get(user_id, ()):
                page.order_changed(order_id, version)

    async def _fetch(self, item_id: str, shown: ShownItem) -> None:
        async with self._fetches:
            try:
                shown.fetched = await self._api.item(item_id)
            except Refused:
                shown.fetched = None  # There is no such item: none of our pages shows it.
        if counting := self._count(item_id):
            await counting

    def _count(self, item_id: str) -> "asyncio.Task[None] | None":
        """Ask how many units are held of an item of which none is free: paying changes no stock."""
        shown = self._items.get(item_id)
        if shown is None or (item := self._newest(shown)) is None or item.available:
            return None
        shown.stale = True
        if shown.counting is None or shown.counting.done():
            shown.counting = _asking(self._ask_for_units(item, shown))
        return shown.counting

    async def _ask_for_units(self, item: Item, shown: ShownItem) -> None:
        while shown.stale:
            shown.stale = False
            async with self._fetches:
                [counted] = await self._api.with_units([item])
            if counted.units != shown.units:
                shown.units = counted.units
                self._item_changed(item.id)

    def _html(self, item_id: str, i18n: I18n) -> str:
        shown = self._items[item_id]
        if i18n.tag not in shown.rendered:
            item = self._newest(shown)
            shown.rendered[i18n.tag] = self._templates.render(i18n, "live.html", {"item": item}) if item else ""
        return shown.rendered[i18n.tag]

    def _newest(self, shown: ShownItem) -> Item | None:
        """The newest state of an item, from what was fetched and received."""
        item, state = shown.fetched, shown.state
        if item and state and state.item_version > item.version:
            item = item.model_copy(update=state.model_dump(include=OFFERED))
        if item and (stock := self._stocks.get(item.id)):
            item = item.model_copy(update={"available": stock.available})
        if item:
            item = item.model_copy(update={"units": shown.units})
        return item

    def _remove(self, page: OpenPage) -> None:
        self._pages.discard(page)
        for open_pages, key, _ in self._counts(page):
            open_pages[key] -= 1
            if not open_pages[key]:
                del open_pages[key]
        for item_id in page.items:
            shown = self._items[item_id]
            shown.pages.discard(page)
            if not shown.pages:
                del self._items[item_id]
        if page.user_id and (own := self._users.get(page.user_id)):
            own.discard(page)
            if not own:
                del self._users[page.user_id]


def _asking(work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
    """A task whose failure is not logged if nobody waits any more: the pages that asked may be gone."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
