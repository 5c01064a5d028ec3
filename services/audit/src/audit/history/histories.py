"""Reads what histories need from the log, and searches it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from audit.dead_letters.store import DeadLetterStore, RetryStore
from audit.event_log.domain import Entry, ItemNotFound, OrderNotFound, PaymentNotFound
from audit.event_log.store import EventLog
from audit.history.snapshot import Snapshot
from audit.history.timeline import STOCK_CHANGING, Line, snapshots_of, timeline_of
from common.directory import Directory
from common.events import ItemChanged, ItemListed, ItemWithdrawn, StockChanged

SAME_WRITE = timedelta(seconds=1)
"""An order and its stock change in one write: their events are at most this far apart."""

MAX_MOMENTS = 200
"""Moments of a timeline at which the item's stock is looked up."""

ITEM_ENTRIES = 100
"""Newest entries of each kind that an item's history has."""

ITEM_EVENTS = (ItemListed.subject, ItemChanged.subject, ItemWithdrawn.subject)


@dataclass(frozen=True)
class History:
    """A timeline, and the snapshot after each of its lines."""

    timeline: Sequence[Line]
    snapshots: Sequence[Snapshot]


@dataclass(frozen=True)
class Hit:
    """Something that a search found. `kind` is order, item or payment; `entry` is an event about it."""

    kind: str
    id: str
    entry: Entry


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
        return [_order(entry) for entry in await self._log.orders_of("item_id", item_id, limit, cursor)]

    async def search(self, text: str, limit: int, cursor: str | None) -> list[Hit]:
        """What has this id; the orders of the buyer with this id or email; items whose title starts with this.

        Raises `Unavailable` if auth does not say whose address it is.
        """
        if "@" in text:
            buyer = await self._log.user_with_email(text) or await self._directory.user_with(text)
            return await self._bought_by(buyer, limit, cursor) if buyer else []
        if cursor is None and (hit := await self._with_id(text)):
            return [hit]
        if orders := await self._bought_by(text, limit, cursor):
            return orders
        items = await self._log.items_with_title(text, limit, cursor)
        return [Hit("item", entry.keys["item_id"], entry) for entry in items]

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

    async def _bought_by(self, buyer_id: str, limit: int, cursor: str | None) -> list[Hit]:
        return [_order(entry) for entry in await self._log.orders_of("buyer_id", buyer_id, limit, cursor)]

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


def _order(entry: Entry) -> Hit:
    return Hit("order", entry.keys["order_id"], entry)
