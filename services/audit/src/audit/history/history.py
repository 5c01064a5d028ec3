"""Gathers what a story needs from the log."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from audit.event_log.domain import Entry, ItemNotFound, OrderNotFound, PaymentNotFound
from audit.event_log.store import EventLog, LetterStore
from audit.history.snapshot import Picture
from audit.history.timeline import MOVES_STOCK, Line, pictures, tell
from common.events import ItemChanged, ItemListed, ItemWithdrawn, StockChanged

SAME_WRITE = timedelta(seconds=1)
"""An order's stock changes in one write with it: the news of both are this close, however many share the write."""

MOST_MOMENTS = 200
"""Moments of a story at which the item's stock is looked up."""

NEWEST = 100
"""Entries of an item's own story."""

ITEM_EVENTS = (ItemListed.subject, ItemChanged.subject, ItemWithdrawn.subject)


@dataclass(frozen=True)
class Tale:
    """A story, and how things stood after each of its lines."""

    story: Sequence[Line]
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Hit:
    """Something that a search found. `label` is for people; `of` is the entry that tells of it."""

    kind: str
    id: str
    of: Entry


class Stories:
    """Finds orders, items and payments, and tells their stories."""

    def __init__(self, log: EventLog, letters: LetterStore) -> None:
        self._log = log
        self._letters = letters

    async def order(self, order_id: str) -> Tale:
        """The whole story of an order, across all services. Raises `OrderNotFound`."""
        entries = await self._log.about("order_id", order_id)
        if not entries:
            raise OrderNotFound("no event tells of such an order")
        item_id = next((entry.keys["item_id"] for entry in entries if "item_id" in entry.keys), None)
        if item_id is None:
            return Tale(story := await self._told(entries), pictures(story))
        entries += await self._stock_moved_by(entries, item_id)
        story = await self._told(entries)
        return Tale(story, pictures(story, await self._stock_during(story, item_id)))

    async def payment(self, payment_id: str) -> Tale:
        """The story of a payment. Raises `PaymentNotFound`."""
        entries = await self._log.about("payment_id", payment_id)
        if not entries:
            raise PaymentNotFound("no event tells of such a payment")
        return Tale(story := await self._told(entries), pictures(story))

    async def item(self, item_id: str) -> Tale:
        """What became of an item lately: the seller's changes and its stock's. Raises `ItemNotFound`."""
        offered, moved = await asyncio.gather(
            self._log.newest_of_item(item_id, ITEM_EVENTS, NEWEST),
            self._log.newest_of_item(item_id, [StockChanged.subject], NEWEST),
        )
        if not offered:
            raise ItemNotFound("no event tells of such an item")
        return Tale(story := await self._told([*offered, *moved]), pictures(story))

    async def orders_of_item(self, item_id: str, limit: int, cursor: str | None) -> list[Hit]:
        """The orders of an item, newest first, older than the order `cursor`."""
        return [_order(entry) for entry in await self._log.orders_of("item_id", item_id, limit, cursor)]

    async def search(self, text: str, limit: int, cursor: str | None) -> list[Hit]:
        """What has this id; the orders of the buyer with this id or address; items whose title begins so."""
        if "@" in text:
            buyer = await self._log.user_with(text)
            return await self._bought_by(buyer, limit, cursor) if buyer else []
        if cursor is None and (hit := await self._with_id(text)):
            return [hit]
        if orders := await self._bought_by(text, limit, cursor):
            return orders
        items = await self._log.items_titled(text, limit, cursor)
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

    async def _told(self, entries: Iterable[Entry]) -> list[Line]:
        kept = list(entries)
        ids = [entry.id for entry in kept]
        return tell(kept, *await asyncio.gather(self._log.retries_about(ids), self._letters.about(ids)))

    async def _stock_moved_by(self, entries: Sequence[Entry], item_id: str) -> list[Entry]:
        """The stock changes of the item that the order made: in one write with its events, or because of one."""
        moving = [entry.time for entry in entries if entry.subject in MOVES_STOCK]
        with_it = await asyncio.gather(*(self._log.stock_after(item_id, time, SAME_WRITE) for time in moving))
        because = await self._log.stock_because_of(item_id, [entry.id for entry in entries])
        return list({entry.id: entry for entry in (*with_it, *because) if entry}.values())

    async def _stock_during(self, story: Sequence[Line], item_id: str) -> list[Entry]:
        moments = sorted({line.time for line in story})[:MOST_MOMENTS]
        found = await asyncio.gather(*(self._log.stock_at(item_id, moment) for moment in moments))
        return list({entry.id: entry for entry in found if entry}.values())


def _order(entry: Entry) -> Hit:
    return Hit("order", entry.keys["order_id"], entry)
