"""Reads the books of the other services, over the bus."""

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from pydantic import TypeAdapter

from audit.reconciliation.records import ChargeRow, DeadlineRow, ItemRow, OrderRow, PaymentRow, Row, StockRow
from common.bus.connection import Bus
from common.errors import Unavailable
from common.records import MAX_RECORDS, RecordsPage, RecordsQuery

R = TypeVar("R", bound=Row)

UNLISTED = "charges_unlisted"
"""Code of the answer of a payment gateway that does not list its charges."""

KINDS: dict[type[Row], str] = {
    OrderRow: "orders.orders",
    StockRow: "orders.stock",
    ItemRow: "items.items",
    PaymentRow: "payments.payments",
    ChargeRow: "payments.charges",
    DeadlineRow: "expiration.deadlines",
}


class Unlisted(Exception):
    """These books are not to be had."""


class Books:
    """The books of every service. Raises `Unavailable` where one does not answer."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def page(self, kind: type[R], page: RecordsQuery) -> tuple[list[R], str | None]:
        """Rows by ascending id, and after which id the next page begins: None on the last."""
        name = KINDS[kind]
        answer = RecordsPage.model_validate_json(
            await self._bus.request(f"books.{name}", page.model_dump_json().encode())
        )
        if answer.code == UNLISTED:
            raise Unlisted(answer.error)
        if answer.error:
            raise Unavailable(f"the books of {name} cannot be read: {answer.error}")
        return TypeAdapter(list[kind]).validate_python(answer.rows), answer.next  # type: ignore[valid-type]

    async def find(self, kind: type[R], ids: Iterable[str]) -> dict[str, R]:
        """The rows of these ids that there are."""
        found: dict[str, R] = {}
        for some in batched(sorted(set(ids)), MAX_RECORDS):
            page: RecordsQuery | None = RecordsQuery(ids=some)
            while page is not None:
                rows, after = await self.page(kind, page)
                found |= {row.id: row for row in rows}
                page = RecordsQuery(ids=some, after=after) if after else None
        return found


async def pages(books: Books, kind: type[R]) -> AsyncIterator[tuple[list[R], str, str | None]]:
    """Every row, page by page, with the range of ids of each: above the first, up to the second (None: no end)."""
    after: str | None = ""
    while after is not None:
        begin = after
        rows, after = await books.page(kind, RecordsQuery(after=begin))
        yield rows, begin, after


def batched(ids: Sequence[str], size: int) -> Iterable[list[str]]:
    """The ids in lists of at most `size`."""
    rest = iter(ids)
    while some := list(islice(rest, size)):
        yield some
