"""The rules of stock and of items. No I/O."""

from collections.abc import Iterator, Sequence

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.records import ItemRecord, StockRecord
from audit.reconciliation.rules.versions import MAX_MISSING, behind, contradictions, lost, restated
from common.events import Event, ItemState, StockChanged


def check_stock(record: StockRecord, events: Sequence[Event]) -> Iterator[Finding]:
    """Offered = free + held + sold, nothing is sold twice, and every change was published."""
    subject = {"item": record.id}
    if record.taken != record.held + record.sold:
        yield Finding(
            rule=Rule.UNITS_ADD_UP,
            subject=subject,
            expected=f"taken is {record.held} held + {record.sold} sold at version {record.version}",
            found=f"taken is {record.taken}",
            certain=True,
        )
    offers = [e.quantity for e in events if isinstance(e, ItemState | StockChanged)]
    if (live := record.held + record.sold) > (most := max([record.offered, *offers])):
        yield Finding(
            rule=Rule.SOLD_ONCE,
            subject=subject,
            expected=f"{most} at most, the largest offer",
            found=f"{live}",
        )
    changes = [(e.stock_version, e) for e in events if isinstance(e, StockChanged)]
    yield from contradictions(subject, changes)
    news = dict(changes)
    if news and (newest := max(news)) > record.version:
        yield behind(subject, newest, record.version)
    first = restated(changes)
    if sum(version > first for version in news) < record.version - first:
        missing = [version for version in range(first + 1, record.version + 1) if version not in news]
        for version in missing[:MAX_MISSING]:
            yield lost(subject, f"orders.stock_changed of version {version}", f"{len(missing)} are missing")
    same = news.get(record.version)
    if same and (same.quantity, same.available) != (record.offered, record.available):
        yield Finding(
            rule=Rule.BOOKS_AGREE,
            subject=subject,
            expected=f"{same.available} of {same.quantity} are free at version {record.version}, as published",
            found=f"{record.available} of {record.offered}",
            certain=True,
        )


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
