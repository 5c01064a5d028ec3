"""Reads the events about a range of orders, items or payments from the log."""

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from audit.reconciliation.record_reader import batched
from common.events import (
    EVENTS,
    BookingState,
    Event,
    ItemKind,
    ItemState,
    OrderPaid,
    OrderPaymentAccepted,
    OrderState,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentReleased,
    StockChanged,
    TicketAdmitted,
    TicketTransferred,
)
from common.mongo.client import Database
from common.mongo_records import changes_in
from common.records import Record, RecordsQuery

BATCH = 1_000
"""Events that are in memory at a time, where they are read one by one. MongoDB would send 16 MB at once."""


@dataclass(frozen=True)
class KeyRange:
    """These `ids`; or else all ids above `after`, up to `upto` (None: no end)."""

    after: str = ""
    upto: str | None = None
    ids: Sequence[str] | None = None

    def query(self) -> dict[str, Any]:
        """The condition of a query of Mongo."""
        if self.ids is not None:
            return {"$in": list(self.ids)}
        return {"$gt": self.after, **({"$lte": self.upto} if self.upto is not None else {})}


def subjects(*kinds: type[Event]) -> list[str]:
    """The subjects of these events and of their subclasses."""
    return [subject for subject, event in EVENTS.items() if issubclass(event, kinds)]


ORDERS = subjects(OrderState, PaymentFailed, PaymentReleased, PaymentRefunded)
PAYMENTS = subjects(
    OrderPaymentAccepted,
    OrderPaid,  # Restated, it says that an answer to the payment may be lost.
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentReleased,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentDisputed,
)
STOCK = subjects(ItemState, StockChanged)
ITEMS = subjects(ItemState)
TICKETS = subjects(BookingState, TicketAdmitted, TicketTransferred)


class LogReader:
    """The event log and the open dead letters."""

    def __init__(self, db: Database) -> None:
        self._events = db.events
        self._letters = db.letters

    async def of(self, key: str, keys: KeyRange, wanted: Sequence[str]) -> dict[str, list[Event]]:
        """Events with one of the subjects, by their `key`: order_id, item_id or payment_id."""
        events: dict[str, list[Event]] = {}
        async with aclosing(self.each(key, keys, wanted)) as found:
            async for value, event in found:
                events.setdefault(value, []).append(event)
        return events

    async def each(self, key: str, keys: KeyRange, wanted: Sequence[str]) -> AsyncGenerator[tuple[str, Event], None]:
        """The same one by one, by ascending `key`: of an item there may be more than fit into memory."""
        query = {key: keys.query(), "subject": {"$in": list(wanted)}}
        found = self._events.find(query, {"_id": 0, key: 1, "subject": 1, "body": 1}).sort(key, 1)
        async for document in found.batch_size(BATCH):
            try:
                event = EVENTS[document["subject"]].model_validate_json(document["body"])
            except ValidationError:
                continue  # Its readers have dead-lettered it.
            yield document[key], event

    async def entries(self, key: str, values: Iterable[str]) -> AsyncGenerator[dict[str, str], None]:
        """The subject and the ids in each entry that has one of these values of `key`: its `_id`, or an id in it."""
        shown = ("subject", "order_id", "item_id", "payment_id")
        for some in batched(sorted(set(values)), BATCH):
            async for entry in self._events.find({key: {"$in": some}}, shown):
                yield entry

    async def telling_of_events(self, items: Iterable[str]) -> dict[str, set[str]]:
        """By item, the entries that say that it is an event, to which one buys tickets."""
        found: dict[str, set[str]] = {}
        for some in batched(sorted(set(items)), BATCH):
            query = {"item_id": {"$in": some}, "subject": {"$in": ITEMS}}
            async for entry in self._events.find(query, ("item_id", "subject", "body")):
                try:
                    item = EVENTS[entry["subject"]].model_validate_json(entry["body"])
                except ValidationError:
                    continue
                if isinstance(item, ItemState) and item.kind is ItemKind.EVENT:
                    found.setdefault(entry["item_id"], set()).add(entry["_id"])
        return found

    async def changes(self, mark: str) -> list[Record]:
        """A page of what was written to the log since a mark, see `changes_in`."""
        return await changes_in(RecordsQuery(after=mark), events=self._events)

    async def open_letters(self, limit: int) -> list[dict[str, Any]]:
        """Dead letters without a decision, oldest first."""
        return (
            await self._letters.find({"state": "open"}, {"service": 1, "subject": 1, "error": 1})
            .sort("sequence", 1)
            .limit(limit)
            .to_list()
        )
