"""Reads what histories need from the log, and searches it."""

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import timedelta

from audit.dead_letters.store import DeadLetterStore, RetryStore
from audit.event_log.domain import Entry, ItemNotFound, OrderNotFound, PaymentNotFound
from audit.event_log.store import EventLog
from audit.history.snapshot import OrderThen, Snapshot
from audit.history.timeline import STOCK_CHANGING, Line, snapshots_of, timeline_of
from common.directory import Directory
from common.errors import Unavailable
from common.events import ItemChanged, ItemListed, ItemWithdrawn, StockChanged
from common.order_numbers import as_typed, end_of_id

SAME_WRITE = timedelta(seconds=1)
"""An order and its stock change in one write: their events are at most this far apart."""

MAX_MOMENTS = 200
"""Moments of a timeline at which the item's stock is looked up."""

ITEM_ENTRIES = 100
"""Newest entries of each kind that an item's history has."""

SHORTEST_NAME = 2
"""Characters of a name that people are looked up by."""

ITEM_EVENTS = (ItemListed.subject, ItemChanged.subject, ItemWithdrawn.subject)


@dataclass(frozen=True)
class History:
    """A timeline, and the snapshot after each of its lines."""

    timeline: Sequence[Line]
    snapshots: Sequence[Snapshot]


@dataclass(frozen=True)
class Hit:
    """Something that a search found. `kind` is order, item or payment; `entry` is an event about it.

    Of an order also what it is now, and how its buyer is called, if auth says so.
    """

    kind: str
    id: str
    entry: Entry
    order: OrderThen | None = None
    buyer_name: str | None = None


class Histories:
    """Finds orders, items and payments, and their histories."""

    def __init__(self, log: EventLog, retries: RetryStore, letters: DeadLetterStore, directory: Directory) -> None:
        self._directory = directory
        self._log = log
        self._retries = retries
        self._letters = letters

    async def order(self, order_id: str) -> History:
        """The history of an order across all services. Raises `OrderNotFound`."""
        entries = await self._log.about("order_id", order_id)
        if not entries:
            raise OrderNotFound("no event is about this order")
        item_id = next((entry.keys["item_id"] for entry in entries if "item_id" in entry.keys), None)
        if item_id is None:
            return await self._history(entries)
        entries += await self._stock_changed_by(entries, item_id)
        timeline = await self._timeline(entries)
        return History(timeline, snapshots_of(timeline, await self._stock_during(timeline, item_id)))

    async def payment(self, payment_id: str) -> History:
        """The history of a payment. Raises `PaymentNotFound`."""
        entries = await self._log.about("payment_id", payment_id)
        if not entries:
            raise PaymentNotFound("no event is about this payment")
        return await self._history(entries)

    async def item(self, item_id: str) -> History:
        """The newest changes of an item by its seller, and of its stock. Raises `ItemNotFound`."""
        offered, moved = await asyncio.gather(
            self._log.newest_of_item(item_id, ITEM_EVENTS, ITEM_ENTRIES),
            self._log.newest_of_item(item_id, [StockChanged.subject], ITEM_ENTRIES),
        )
        if not offered:
            raise ItemNotFound("no event is about this item")
        return await self._history([*offered, *moved])

    async def orders_of_item(self, item_id: str, limit: int, cursor: str | None) -> list[Hit]:
        """The orders of an item, newest first, older than the order `cursor`."""
        return await self._orders(await self._log.orders_among([], [item_id], limit, cursor))

    async def search(self, text: str, limit: int, cursor: str | None) -> list[Hit]:
        """What has this id or number; else, newest first, the items with these words or parts of words in a title that
        they have or had, and their orders, and those of buyers and sellers with this id, address or name.

        Raises `Unavailable` if auth does not say whose address it is.
        """
        if cursor is None and (hit := await self._exactly(text)):
            return await self._orders([hit.entry]) if hit.kind == "order" else [hit]
        people = await self._people(text)
        titled = [] if "@" in text else await self._log.items_titled(text.split())
        orders = await self._orders(await self._log.orders_among(people, titled, limit, cursor))
        newest = sorted((item for item in titled if cursor is None or item < cursor), reverse=True)[:limit]
        offered = await asyncio.gather(*(self._log.newest_of_item(item, ITEM_EVENTS, 1) for item in newest))
        items = [Hit("item", item, found[0]) for item, found in zip(newest, offered, strict=True) if found]
        return sorted([*orders, *items], key=lambda hit: hit.id, reverse=True)[:limit]

    async def _people(self, text: str) -> list[str]:
        if "@" in text:
            owner = await self._log.user_with_email(text) or await self._directory.user_with(text)
            return [owner] if owner else []
        try:
            return [text, *(await self._directory.named(text) if len(text) >= SHORTEST_NAME else ())]
        except Unavailable:  # What is found without names is better than nothing.
            return [text]

    async def _exactly(self, text: str) -> Hit | None:
        if hit := await self._with_id(text):
            return hit
        typed = as_typed(text) or as_typed(f"{text}-1")
        order_id = await self._log.order_ending_with(end_of_id(typed[0])) if typed else None
        return await self._with_id(order_id) if order_id else None

    async def _orders(self, placed: Sequence[Entry]) -> list[Hit]:
        """What there is to say about these orders now, and how their buyers are called."""
        about: dict[str, list[Entry]] = {entry.keys["order_id"]: [] for entry in placed}
        for entry in await self._log.about_any(list(about)):
            about[entry.keys["order_id"]].append(entry)
        now = {order_id: snapshots_of(timeline_of(entries))[-1].order for order_id, entries in about.items()}
        names = await self._names({order.buyer_id for order in now.values() if order})
        hits = [Hit("order", entry.keys["order_id"], entry, now[entry.keys["order_id"]]) for entry in placed]
        return [replace(hit, buyer_name=names.get(hit.order.buyer_id) if hit.order else None) for hit in hits]

    async def _names(self, user_ids: Set[str]) -> dict[str, str]:
        try:
            return await self._directory.names(user_ids)
        except Unavailable:
            return {}

    async def _with_id(self, text: str) -> Hit | None:
        placed, paid, offered = await asyncio.gather(
            self._log.about("order_id", text, 1),
            self._log.about("payment_id", text, 1),
            self._log.newest_of_item(text, ITEM_EVENTS, 1),
        )
        for kind, found in (("order", placed), ("payment", paid), ("item", offered)):
            if found:
                return Hit(kind, text, found[0])
        return None

    async def _history(self, entries: Sequence[Entry]) -> History:
        timeline = await self._timeline(entries)
        return History(timeline, snapshots_of(timeline))

    async def _timeline(self, entries: Sequence[Entry]) -> list[Line]:
        ids = [entry.id for entry in entries]
        return timeline_of(entries, *await asyncio.gather(self._retries.about(ids), self._letters.about(ids)))

    async def _stock_changed_by(self, entries: Sequence[Entry], item_id: str) -> list[Entry]:
        """The stock changes of the item that the order made: in one write with its events, or caused by one."""
        moving = [entry.time for entry in entries if entry.subject in STOCK_CHANGING]
        with_it = await asyncio.gather(*(self._log.stock_after(item_id, time, SAME_WRITE) for time in moving))
        caused = await self._log.stock_caused_by(item_id, [entry.id for entry in entries])
        return list({entry.id: entry for entry in (*with_it, *caused) if entry}.values())

    async def _stock_during(self, timeline: Sequence[Line], item_id: str) -> list[Entry]:
        moments = sorted({line.time for line in timeline})[:MAX_MOMENTS]
        found = await asyncio.gather(*(self._log.stock_at(item_id, moment) for moment in moments))
        return list({entry.id: entry for entry in found if entry}.values())
