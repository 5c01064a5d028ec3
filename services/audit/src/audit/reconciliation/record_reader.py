"""Reads the records of the other services over the bus."""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import Any, TypeVar

from pydantic import TypeAdapter

from audit.reconciliation.records import (
    BookingRecord,
    ChargeRecord,
    DeadlineRecord,
    ItemRecord,
    OrderRecord,
    PaymentRecord,
    Record,
    StockRecord,
)
from common.bus.connection import Bus
from common.errors import Unavailable
from common.records import MAX_RECORDS, ChangesLost, RecordsPage, RecordsQuery

R = TypeVar("R", bound=Record)

NOT_LISTED = "charges_unlisted"
"""The error code of a payment gateway that does not list its charges."""

KINDS: dict[type[Record], str] = {
    OrderRecord: "orders.orders",
    StockRecord: "orders.stock",
    ItemRecord: "items.items",
    PaymentRecord: "payments.payments",
    ChargeRecord: "payments.charges",
    DeadlineRecord: "expiration.deadlines",
    BookingRecord: "tickets.bookings",
}


class NotListed(Exception):
    """The service cannot list these records."""


class RecordReader:
    """The records of every service. Raises `Unavailable` if a service does not answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def page(self, kind: type[R], page: RecordsQuery) -> tuple[list[R], str | None]:
        """Records by ascending id, and the id after which the next page starts: None on the last page."""
        answer = await self._ask(KINDS[kind], page)
        return TypeAdapter(list[kind]).validate_python(answer.rows), answer.next  # type: ignore[valid-type]

    async def changes(self, service: str, mark: str) -> list[dict[str, Any]]:
        """A page of what a service has written since a mark. Raises `ChangesLost` if it cannot tell."""
        return (await self._ask(f"{service}.changes", RecordsQuery(after=mark))).rows

    async def _ask(self, name: str, page: RecordsQuery) -> RecordsPage:
        answer = RecordsPage.model_validate_json(
            await self._bus.request(f"books.{name}", page.model_dump_json().encode())
        )
        if answer.code == NOT_LISTED:
            raise NotListed(answer.error)
        if answer.code == ChangesLost.code:
            raise ChangesLost(f"{name}: {answer.error}")
        if answer.error:
            raise Unavailable(f"the records of {name} cannot be read: {answer.error}")
        return answer

    async def find(self, kind: type[R], ids: Iterable[str]) -> dict[str, R]:
        """Those of the records with these ids that exist."""
        found: dict[str, R] = {}
        for some in batched(sorted(set(ids)), MAX_RECORDS):
            page: RecordsQuery | None = RecordsQuery(ids=some)
            while page is not None:
                records, after = await self.page(kind, page)
                found |= {record.id: record for record in records}
                page = RecordsQuery(ids=some, after=after) if after else None
        return found


async def pages(reader: RecordReader, kind: type[R]) -> AsyncIterator[tuple[list[R], str, str | None]]:
    """Every record, page by page, with each page's range of ids: above the first, up to the second (None: no end)."""
    after: str | None = ""
    while after is not None:
        begin = after
        records, after = await reader.page(kind, RecordsQuery(after=begin))
        yield records, begin, after


def batched(ids: Sequence[str], size: int) -> Iterable[list[str]]:
    """The ids in lists of at most `size`."""
    rest = iter(ids)
    while some := list(islice(rest, size)):
        yield some
