"""Every open page of this process, and what each has to be told.

What is known of an item is kept once, however many pages show it, and rendered once for each locale. A page that is
slow gets the newest state, not the history. Of orders, a page hears only that there is something new.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from common.events import (
    Event,
    ItemChanged,
    ItemState,
    ItemWithdrawn,
    OrderCancelled,
    OrderPaid,
    OrderPaymentRejected,
    OrderPlaced,
    OrderRefundRequested,
    OrderState,
    PaymentFailed,
    PaymentProcessing,
    PaymentRefunded,
    PaymentState,
    StockChanged,
)
from web.clients.api import Api, Item, Refused
from web.rendering.i18n import Words
from web.rendering.site import Site

HEARD: tuple[tuple[type[Event], ...], ...] = (
    (ItemChanged, ItemWithdrawn),
    (StockChanged, OrderPlaced, OrderCancelled, OrderPaid, OrderPaymentRejected, OrderRefundRequested),
    (PaymentProcessing, PaymentFailed, PaymentRefunded),
)
"""The events that pages want to hear of, by stream."""

REMEMBERED = 20_000
"""Items whose stock is remembered: items itself learns of it a little later than we do."""

FETCHES = 16
"""Items that are fetched at the same time."""


@dataclass(eq=False)
class Watcher:
    """One open page: what it shows, and what of it has changed since it was last told."""

    user_id: str | None
    words: Words
    items: frozenset[str]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    changed: set[str] = field(default_factory=set)
    orders: dict[str, int | None] = field(default_factory=dict)
    """The user's orders with news, and the version that has it; None where the news has no version."""

    def tell_item(self, item_id: str) -> None:
        """Something about an item is new."""
        self.changed.add(item_id)
        self.wake.set()

    def tell_order(self, order_id: str, version: int | None) -> None:
        """Something about an order is new."""
        self.orders[order_id] = version
        self.wake.set()


@dataclass
class Topic:
    """An item that at least one page shows: as it was fetched, and what its seller said since."""

    watchers: set[Watcher] = field(default_factory=set)
    fetching: "asyncio.Task[None] | None" = None
    fetched: Item | None = None
    state: ItemState | None = None
    rendered: dict[str, str] = field(default_factory=dict)


class Hub:
    """Hears what happens and wakes the pages that show it."""

    def __init__(self, api: Api, site: Site) -> None:
        """`api` fetches what everybody may see."""
        self._api = api
        self._site = site
        self._watchers: set[Watcher] = set()
        self._topics: dict[str, Topic] = {}
        self._people: dict[str, set[Watcher]] = {}
        self._stock: OrderedDict[str, StockChanged] = OrderedDict()
        self._places = asyncio.Semaphore(FETCHES)
        self.closed = False

    def __len__(self) -> int:
        """How many pages are open."""
        return len(self._watchers)

    def close(self) -> None:
        """Every stream ends now; the browsers come back to another replica."""
        self.closed = True
        for watcher in self._watchers:
            watcher.wake.set()

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Tell this page, as long as it is open."""
        self._watchers.add(watcher)
        for item_id in watcher.items:
            self._topics.setdefault(item_id, Topic()).watchers.add(watcher)
        if watcher.user_id:
            self._people.setdefault(watcher.user_id, set()).add(watcher)
        try:
            yield
        finally:
            self._forget(watcher)

    async def fetch(self, item_ids: Iterable[str]) -> None:
        """Return once the state of these items is known. Raises `Unavailable`."""
        tasks = []
        for item_id in item_ids:
            topic = self._topics[item_id]
            if topic.fetching is None or (topic.fetching.done() and topic.fetching.exception()):
                topic.fetching = asyncio.create_task(self._fetch(item_id, topic))
            tasks.append(topic.fetching)
        for task in tasks:
            await asyncio.shield(task)

    def html(self, item_ids: Iterable[str], words: Words) -> str:
        """The parts of these items that change, for this locale."""
        return "".join(self._html(item_id, words) for item_id in item_ids)

    def hear(self, event: Event) -> None:
        """Take in what happened and wake whom it concerns."""
        match event:
            case StockChanged():
                self._hear_stock(event)
            case ItemState():
                self._hear_item(event)
            case OrderState():
                self._tell({event.buyer_id, event.seller_id}, event.order_id, event.order_version)
            case PaymentState():
                self._tell({event.buyer_id}, event.order_id, None)

    def _hear_stock(self, event: StockChanged) -> None:
        known = self._stock.get(event.item_id)
        if known and known.stock_version >= event.stock_version:
            return
        self._stock[event.item_id] = event
        self._stock.move_to_end(event.item_id)
        if len(self._stock) > REMEMBERED:
            self._stock.popitem(last=False)
        self._changed(event.item_id)

    def _hear_item(self, event: ItemState) -> None:
        topic = self._topics.get(event.item_id)
        if topic and (topic.state is None or topic.state.item_version < event.item_version):
            topic.state = event
            self._changed(event.item_id)

    def _changed(self, item_id: str) -> None:
        if topic := self._topics.get(item_id):
            topic.rendered.clear()
            for watcher in topic.watchers:
                watcher.tell_item(item_id)

    def _tell(self, user_ids: set[str], order_id: str, version: int | None) -> None:
        for user_id in user_ids:
            for watcher in self._people.get(user_id, ()):
                watcher.tell_order(order_id, version)

    async def _fetch(self, item_id: str, topic: Topic) -> None:
        async with self._places:
            try:
                topic.fetched = await self._api.item(item_id)
            except Refused:
                topic.fetched = None  # There is no such item; a page that shows one is not ours.

    def _html(self, item_id: str, words: Words) -> str:
        topic = self._topics[item_id]
        if words.tag not in topic.rendered:
            item = self._item(topic)
            html = self._site.render(words.language, "live.html", {"item": item, "words": words}) if item else ""
            topic.rendered[words.tag] = html
        return topic.rendered[words.tag]

    def _item(self, topic: Topic) -> Item | None:
        """The newest that is known from all sides."""
        item, state = topic.fetched, topic.state
        if item and state and state.item_version > item.version:
            item = item.model_copy(update=state.model_dump(include={"price", "currency", "quantity", "status"}))
        if item and (stock := self._stock.get(item.id)):
            item = item.model_copy(update={"available": stock.available})
        return item

    def _forget(self, watcher: Watcher) -> None:
        self._watchers.discard(watcher)
        for item_id in watcher.items:
            topic = self._topics[item_id]
            topic.watchers.discard(watcher)
            if not topic.watchers:
                del self._topics[item_id]
        if watcher.user_id and (own := self._people.get(watcher.user_id)):
            own.discard(watcher)
            if not own:
                del self._people[watcher.user_id]
