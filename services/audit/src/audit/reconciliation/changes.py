"""What was written since a check, and the records that have to be checked again because of it."""

from collections.abc import Collection, Iterable, Mapping

from audit.reconciliation.findings import Checkpoint
from audit.reconciliation.log_reader import ITEMS, ORDERS, PAYMENTS, STOCK, TICKETS, LogReader
from audit.reconciliation.record_reader import KINDS, NotListed, RecordReader
from audit.reconciliation.records import OrderRecord
from common.errors import Unavailable
from common.records import ChangesLost

LOG = "audit"
"""The name of the log among the services whose changes are read."""

SERVICES = {kind.partition(".")[0] for kind in KINDS.values()} - {"expiration"}
"""A deadline counts for an order that is open, and those are checked in any case."""

SOURCES = (*sorted(SERVICES), LOG)

READ_BY_KEY = {"item_id": {*STOCK}, "order_id": {*ORDERS, *TICKETS}, "payment_id": {*PAYMENTS}}
"""The subjects of the events that the sections read, by the key by which they do."""

Ids = dict[str, set[str]]
"""Ids of records, by the name of a section."""


class Changes:
    """The changes in the records of every service and in the log, as MongoDB's change streams tell them."""

    def __init__(self, reader: RecordReader, log: LogReader) -> None:
        self._reader = reader
        self._log = log

    async def marks(self) -> dict[str, str] | None:
        """The marks of now, by source, from which a later check can go on; None if some source has none."""
        try:
            return {source: (await self._read(source, ""))[1] for source in SOURCES}
        except (ChangesLost, Unavailable):
            return None

    async def since(self, checkpoint: Checkpoint) -> tuple[dict[str, str], Ids]:
        """The marks of now, and what to check: what was written since, what depends on it, and what the check named.

        Raises `ChangesLost` or `Unavailable` if a source cannot tell.
        """
        if checkpoint.marks.keys() != set(SOURCES):
            raise ChangesLost("the checkpoint is of another release")
        marks: dict[str, str] = {}
        written: Ids = {}
        for source, mark in checkpoint.marks.items():
            changed, marks[source] = await self._read(source, mark)
            for kind, key in changed:
                written.setdefault(kind, set()).add(key)
        ids = await self._depending_on(written)
        return marks, {section: known.union(checkpoint.again.get(section, ())) for section, known in ids.items()}

    async def _read(self, source: str, mark: str) -> tuple[list[tuple[str, str]], str]:
        """What was written since the mark, as kinds and keys, and the mark of now."""
        written: list[tuple[str, str]] = []
        while True:
            try:
                rows = await (self._log.changes(mark) if source == LOG else self._reader.changes(source, mark))
            except NotListed as error:
                raise ChangesLost(str(error)) from error
            written += [(row["kind"], row["key"]) for row in rows if "key" in row]
            mark = rows[-1]["id"]
            if "key" not in rows[-1]:
                return written, mark

    async def _depending_on(self, written: Mapping[str, Collection[str]]) -> Ids:
        """Everything whose check reads something that was written.

        An order counts in the stock of its item: that of its record, and that of its events. Payments and orders are
        judged with each other as the log relates them: where it does not know of it, a rule is broken already.
        """
        orders, payments = written.get("orders", ()), written.get("payments", ())
        items: set[str] = {*written.get("items", ()), *written.get("stock", ())}
        sold, paid = {*orders, *written.get("bookings", ())}, {*payments, *written.get("charges", ())}
        told = [entry async for entry in self._log.entries("_id", written.get("events", ()))]
        for found, key in ((items, "item_id"), (sold, "order_id"), (paid, "payment_id")):
            found |= {entry[key] for entry in told if key in entry and entry["subject"] in READ_BY_KEY[key]}
        items |= {order.item_id for order in (await self._reader.find(OrderRecord, orders)).values()}
        async for entry in self._log.entries("order_id", orders):
            items |= _in(entry, "item_id")
            paid |= _in(entry, "payment_id")
        async for entry in self._log.entries("payment_id", payments):
            sold |= _in(entry, "order_id")
        listed = {entry["item_id"] for entry in told if entry["subject"] in ITEMS and "item_id" in entry}
        async for entry in self._log.entries("item_id", await self._newly_events(listed, written.get("events", ()))):
            sold |= _in(entry, "order_id")
        return {"items": items, "stock": items, "orders": sold, "tickets": sold, "payments": paid, "charges": paid}

    async def _newly_events(self, items: Iterable[str], told: Collection[str]) -> list[str]:
        """Those of the items of which nothing said before that they are events: now their orders need tickets."""
        telling = await self._log.telling_of_events(items)
        return [item for item, entries in telling.items() if entries <= set(told)]


def _in(entry: Mapping[str, str], key: str) -> set[str]:
    return {entry[key]} if key in entry else set()
