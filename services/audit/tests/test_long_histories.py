"""An item that was sold very often costs a check little memory."""

import tracemalloc

from audit.event_log.domain import Entry
from audit.reconciliation.log_reader import KeyRange, LogReader
from audit.reconciliation.record_reader import RecordReader
from audit.reconciliation.sections import Stocks
from common.bus.connection import Bus
from common.bus.message import Message
from common.clock import now
from common.events import Event
from common.mongo.client import Database
from tests.support.bus import Events

from .records import listed, news, stock

SALES = 10_000
"""Changes of the stock of one item. All at once they take 13 MB."""


def entry(event: Event, number: int) -> Entry:
    """The event in the log."""
    stream = event.subject.partition(".")[0].upper()
    return Entry.of(Message(stream, number, event.subject, now(), {}, event.model_dump_json().encode()))


async def test_the_memory_of_a_check_does_not_grow_with_what_happened_to_an_item(
    db: Database, bus_url: str, events: Events
) -> None:
    changes = [listed(quantity=SALES), *(news(version, SALES - version, quantity=SALES) for version in range(1, SALES))]
    await db.events.insert_many([entry(event, number).to_document() for number, event in enumerate(changes, 1)])
    record = stock(version=SALES, offered=SALES, sold=SALES - 1, held=0, taken=SALES - 1)
    async with Bus.connected(bus_url, "audit") as bus:
        section = Stocks(RecordReader(bus), LogReader(db))
        tracemalloc.start()
        try:
            outcome = await section.check([record], KeyRange(ids=[record.id]))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    [found] = outcome.findings[record.id]
    assert found.expected == f"in the log: orders.stock_changed of version {SALES}"
    assert peak < 4_000_000
