"""Reads the log as the reconciliation needs it: what was told of the orders, items or payments of a range."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from common.events import (
    EVENTS,
    Event,
    ItemState,
    OrderState,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    StockChanged,
)
from common.mongo.client import Database


@dataclass(frozen=True)
class Span:
    """Which keys: these `ids`, or all above `after` up to `upto` (None: all that follow)."""

    after: str = ""
    upto: str | None = None
    ids: Sequence[str] | None = None

    def query(self) -> dict[str, Any]:
        """As Mongo wants it."""
        if self.ids is not None:
            return {"$in": list(self.ids)}
        return {"$gt": self.after, **({"$lte": self.upto} if self.upto is not None else {})}


def subjects(*kinds: type[Event]) -> list[str]:
    """The subjects of these events and of all that are made of them."""
    return [subject for subject, event in EVENTS.items() if issubclass(event, kinds)]


ORDERS = subjects(OrderState, PaymentRefunded)
PAYMENTS = subjects(PaymentCaptured, PaymentFailed, PaymentRefunded)
STOCK = subjects(ItemState, StockChanged)
ITEMS = subjects(ItemState)


class Told:
    """The log of events that audit keeps."""

    def __init__(self, db: Database) -> None:
        self._events = db.events
        self._letters = db.letters

    async def of(self, key: str, span: Span, wanted: Sequence[str]) -> dict[str, list[Event]]:
        """Events with one of the subjects, by what they say under `key` (order_id, item_id, payment_id)."""
        query = {key: span.query(), "subject": {"$in": list(wanted)}}
        told: dict[str, list[Event]] = {}
        async for document in self._events.find(query, {"_id": 0, key: 1, "subject": 1, "body": 1}):
            try:
                event = EVENTS[document["subject"]].model_validate_json(document["body"])
            except ValidationError:
                continue  # No reader could read it either: it is a dead letter.
            told.setdefault(document[key], []).append(event)
        return told

    async def open_letters(self, limit: int) -> list[dict[str, Any]]:
        """Dead letters that nobody has replayed or discarded."""
        return (
            await self._letters.find({"state": "open"}, {"service": 1, "subject": 1, "error": 1})
            .sort("sequence", 1)
            .limit(limit)
            .to_list()
        )
