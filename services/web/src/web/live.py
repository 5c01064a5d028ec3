"""Pages that change by themselves: one stream of server-sent events a page, fed by the bus.

Every replica hears every event. What is known of an item is kept once, however many pages show it, and rendered once
for each locale; a page that is slow or was away gets the newest state, not the history. Of orders a page hears that
there is something new, and asks for it with its visitor's own session.
"""

import asyncio
import json
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from common.errors import Unavailable
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
    PaymentRefunded,
    PaymentState,
    StockChanged,
)
from common.http import Provided
from web.api import Api, Item, Order, Refused, Services
from web.site import Site
from web.visitor import Here, Visitor
from web.words import Words

log = logging.getLogger(__name__)

HEARD: tuple[tuple[type[Event], ...], ...] = (
    (ItemChanged, ItemWithdrawn),
    (StockChanged, OrderPlaced, OrderCancelled, OrderPaid, OrderPaymentRejected, OrderRefundRequested),
    (PaymentFailed, PaymentRefunded),
)
"""Events by stream."""

HEARTBEAT = 15.0
"""Seconds after which a silent stream says that it is there."""

PAUSE = 0.1
"""Seconds between two messages of a stream; what happens meanwhile becomes one."""

RETRY = 2_000
"""Milliseconds after which a browser that lost the stream comes back."""

MOST_ITEMS = 100
"""Items on one page that are live."""

REMEMBERED = 20_000
"""Items whose stock is remembered: items may know it a little later than the bus tells it."""

FETCHES = 16
"""Items that are fetched at the same time."""


@dataclass
class Watcher:
    """One open page: what it shows, and what of it has changed since the last message."""

    visitor: Visitor
    items: frozenset[str]
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    changed: set[str] = field(default_factory=set)
    orders: dict[str, int | None] = field(default_factory=dict)
    """Orders with news, and the version that has it; None where an order has no newer version for it."""

    def item_changed(self, item_id: str) -> None:
        """Something about an item is new."""
        self.changed.add(item_id)
        self.wake.set()

    def order_changed(self, order_id: str, version: int | None) -> None:
        """Something about an order is new."""
        self.orders[order_id] = version
        self.wake.set()


@dataclass
class Topic:
    """What is known of an item that at least one page shows."""

    watchers: set[Watcher | int] = field(default_factory=set)
    item: Item | None = None
    fetched: asyncio.Task[None] | None = None
    rendered: dict[str, str] = field(default_factory=dict)


class Live:
    """All open pages of this process."""

    def __init__(self, services: Services, site: Site) -> None:
        self._api = Api(services)
        self._site = site
        self._topics: dict[str, Topic] = {}
        self._people: dict[str, set[Watcher]] = {}
        self._stock: OrderedDict[str, StockChanged] = OrderedDict()
        self._fetching = asyncio.Semaphore(FETCHES)
        self._open = 0
        self._closed = asyncio.Event()

    def __len__(self) -> int:
        """How many pages are open."""
        return self._open

    def close(self) -> None:
        """End every stream; browsers come back to another replica."""
        self._closed.set()

    def hear(self, event: Event) -> None:
        """Tell the pages that show what this is about."""
        match event:
            case StockChanged():
                self._heard_stock(event)
            case ItemState():
                self._heard_item(event)
            case OrderState():
                self._tell_people({event.buyer_id, event.seller_id}, event.order_id, event.order_version)
            case PaymentState():
                self._tell_people({event.buyer_id}, event.order_id, None)
