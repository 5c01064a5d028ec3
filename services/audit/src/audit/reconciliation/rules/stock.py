"""The rules of stock and of items. No I/O."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.records import ItemRecord, StockRecord
from audit.reconciliation.rules.versions import MAX_MISSING, behind, contradiction, contradictions, lost, restated
from common.events import Event, ItemState, StockChanged

AGAIN = 1
"""Stands for what an event says that only states it again."""


class StockHistory:
    """What the events of one item say about the record of its stock. Add them all, then ask for the findings.

    It needs eight bytes for each version of the stock, however often an item was sold.
    """

    def __init__(self, record: StockRecord) -> None:
        self._record = record
        self._subject = {"item": record.id}
        self._said = memoryview(bytearray(8 * (record.version + 1))).cast("q")
        """By version: 0 if no event tells of it, else what it says; `AGAIN` if it was only stated again."""
        self._most = record.offered
        self._newest = self._restated = 0
        self._same: StockChanged | None = None
        self._contradicted: list[int] = []

    def add(self, event: Event) -> None:
        """One more event of the item."""
        if isinstance(event, ItemState | StockChanged):
            self._most = max(self._most, event.quantity)
        if isinstance(event, StockChanged):
            self._add_change(event)

    def _add_change(self, event: StockChanged) -> None:
        version = event.stock_version
        self._newest = max(self._newest, version)
        if event.restated:
            self._restated = max(self._restated, version)
        if version > self._record.version:
            return  # What contradicts it is found once the record has that version.
        if version == self._record.version:
            self._same = event
        said = AGAIN if event.restated else _digest(event)
        if self._said[version] in {0, AGAIN}:
            self._said[version] = said
        elif said not in {AGAIN, self._said[version]}:
            self._contradicted.append(version)

    def findings(self) -> Iterator[Finding]:
        """Offered = free + held + sold, nothing is sold twice, and every change was published."""
        record = self._record
        if record.taken != record.held + record.sold:
            yield Finding(
                rule=Rule.UNITS_ADD_UP,
                subject=self._subject,
                expected=f"taken is {record.held} held + {record.sold} sold at version {record.version}",
                found=f"taken is {record.taken}",
                certain=True,
            )
        if (live := record.held + record.sold) > self._most:
            yield Finding(
                rule=Rule.SOLD_ONCE,
                subject=self._subject,
                expected=f"{self._most} at most, the largest offer",
                found=f"{live}",
            )
        for version in self._contradicted[:MAX_MISSING]:
            yield contradiction(self._subject, version, StockChanged.subject, StockChanged.subject)
        if self._newest > record.version:
            yield behind(self._subject, self._newest, record.version)
        yield from self._lost()
        yield from self._as_published()

    def _lost(self) -> Iterator[Finding]:
        after = range(self._restated + 1, len(self._said))
        missing = sum(not self._said[version] for version in after)
        for version in islice((version for version in after if not self._said[version]), MAX_MISSING):
            yield lost(self._subject, f"orders.stock_changed of version {version}", f"{missing} are missing")

    def _as_published(self) -> Iterator[Finding]:
        record, same = self._record, self._same
        if same and (same.quantity, same.available) != (record.offered, record.available):
            yield Finding(
                rule=Rule.BOOKS_AGREE,
                subject=self._subject,
                expected=f"{same.available} of {same.quantity} are free at version {record.version}, as published",
                found=f"{record.available} of {record.offered}",
                certain=True,
            )


def _digest(event: StockChanged) -> int:
    """What an event says, as a number that is neither 0 nor `AGAIN`."""
    said = hash(event.model_dump_json())
    return said if said not in {0, AGAIN} else AGAIN + 1


def check_stock(record: StockRecord, events: Iterable[Event]) -> Iterator[Finding]:
    """What the events of an item say about the record of its stock, see `StockHistory`."""
    history = StockHistory(record)
    for event in events:
        history.add(event)
    return history.findings()


def check_item(record: ItemRecord, stock: StockRecord | None, events: Sequence[Event]) -> Iterator[Finding]:
    """Every change was published; orders sells what items offers, and items shows what orders has left."""
    subject = {"item": record.id}
    changes = [(e.item_version, e) for e in events if isinstance(e, ItemState)]
    yield from contradictions(subject, changes)
    versions = {version for version, _ in changes}
    if versions and (newest := max(versions)) > record.version:
        yield behind(subject, newest, record.version)
    for version in sorted(set(range(restated(changes) + 1, record.version + 1)) - versions)[:MAX_MISSING]:
        yield lost(subject, f"an event of items of version {version}", "none")
    if stock is None or stock.item_version < record.version:
        known = f"version {stock.item_version}" if stock else "nothing"
        yield _copy(subject, f"orders knows version {record.version} of the offer", known)
    elif stock.item_version == record.version and (stock.offered, stock.status) != (record.quantity, record.status):
        yield _copy(
            subject,
            f"orders sells {record.quantity}, {record.status}, as of version {record.version}",
            f"{stock.offered}, {stock.status}",
            certain=True,
        )
    if stock is not None and record.stock_version < stock.version:
        yield _copy(subject, f"items shows version {stock.version} of the stock", f"version {record.stock_version}")
    elif stock is not None and record.stock_version == stock.version and record.available != stock.available:
        expected = f"items shows {stock.available} free at version {stock.version}"
        yield _copy(subject, expected, f"{record.available}", certain=True)


def _copy(subject: dict[str, str], expected: str, found: str, certain: bool = False) -> Finding:
    return Finding(rule=Rule.COPIES_AGREE, subject=subject, expected=expected, found=found, certain=certain)
