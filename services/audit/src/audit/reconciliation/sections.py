"""What a check goes through, section by section: rows of one kind, and what must agree with them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from audit.reconciliation.findings import Finding, Money, Rule
from audit.reconciliation.log_reader import ITEMS, ORDERS, PAYMENTS, STOCK, Span, Told
from audit.reconciliation.record_reader import Books, Unlisted, pages
from audit.reconciliation.records import (
    CHARGED,
    ChargeRow,
    DeadlineRow,
    ItemRow,
    OrderRow,
    OrderStatus,
    PaymentRow,
    PaymentStatus,
    Row,
    StockRow,
)
from audit.reconciliation.rules import (
    check_charge,
    check_end,
    check_item,
    check_order,
    check_paid,
    check_payment,
    check_stock,
    missing_row,
)
from common.clock import now
from common.events import Event, OrderState

R = TypeVar("R", bound=Row)


@dataclass
class Seen:
    """What a look at some rows brought: how many they were, findings by row, and the money of each charge."""

    rows: int = 0
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    money: dict[str, tuple[str, Money]] = field(default_factory=dict)

    def add(self, key: str, findings: Iterable[Finding]) -> None:
        """Keep what was found about a row."""
        if found := list(findings):
            self.findings.setdefault(key, []).extend(found)

    def add_missing(self, kind: str, service: str, told: Iterable[str], rows: Iterable[Row]) -> None:
        """Keep what the log tells of and the books of a service do not have."""
        for key in set(told) - {row.id for row in rows}:
            self.add(key, [missing_row(kind, key, service)])


class Section(ABC, Generic[R]):
    """One kind of rows and its rules."""

    name: ClassVar[str]
    kind: type[R]

    def __init__(self, books: Books, told: Told) -> None:
        self.books = books
        self.told = told

    async def scan(self) -> AsyncIterator[Seen]:
        """Look at everything, page by page."""
        try:
            async for rows, after, upto in pages(self.books, self.kind):
                yield await self.see(rows, Span(after, upto))
        except Unlisted:
            return

    async def look(self, ids: Sequence[str], /) -> Seen:
        """Look at these again."""
        return await self.see(list((await self.books.find(self.kind, ids)).values()), Span(ids=ids))

    @abstractmethod
    async def see(self, rows: Sequence[R], span: Span, /) -> Seen:
        """What these rows, all there are in the span, and what was told of the span have to say."""


class Orders(Section[OrderRow]):
    """Orders: as told, paid for, and ending."""

    name = "orders"
    kind = OrderRow

    async def see(self, rows: Sequence[OrderRow], span: Span, /) -> Seen:
        """See `Section`."""
        waiting = [row.id for row in rows if row.status is OrderStatus.AWAITING_PAYMENT]
        deadlines = await self.books.find(DeadlineRow, waiting)
        payments = await self.books.find(PaymentRow, [row.payment_id for row in rows if row.payment_id])
        told = await self.told.of("order_id", span, ORDERS)
        seen, moment = Seen(), now()
        for row in rows:
            seen.rows += 1
            deadline, payment = deadlines.get(row.id), payments.get(row.payment_id or "")
            unpaid = list(check_paid(row, payment))
            seen.add(row.id, check_order(row, told.get(row.id, [])))
            seen.add(row.id, check_end(row, deadline.due if deadline else None, moment))
            seen.add(row.id, unpaid)
            if unpaid and row.status is OrderStatus.PAID and (payment is None or payment.order_id != row.id):
                seen.money[row.id] = (row.currency, Money(sellers=row.total))
        told_of = (key for key, events in told.items() if any(isinstance(event, OrderState) for event in events))
        seen.add_missing("order", "orders", told_of, rows)
        return seen


class Payments(Section[PaymentRow]):
    """Payments: as told, and each charge ending in one sale or one refund."""

    name = "payments"
    kind = PaymentRow

    async def see(self, rows: Sequence[PaymentRow], span: Span, /) -> Seen:
        """See `Section`."""
        orders = await self.books.find(OrderRow, [row.order_id for row in rows])
        try:
            charges = await self.books.find(ChargeRow, [row.id for row in rows])
        except Unlisted:
            charges = {row.id: _as_paid(row) for row in rows}
        told = await self.told.of("payment_id", span, PAYMENTS)
        seen, moment = Seen(), now()
        for row in rows:
            seen.rows += 1
            money, findings = check_charge(row, orders.get(row.order_id), charges.get(row.id), moment)
            seen.add(row.id, check_payment(row, told.get(row.id, [])))
            seen.add(row.id, findings)
            seen.money[row.id] = (row.currency, money)
        seen.add_missing("payment", "payments", told, rows)
        return seen


def _as_paid(row: PaymentRow) -> ChargeRow:
    """The charge as the payment has it, where the gateway does not say."""
    return ChargeRow(
        id=row.id,
        amount=row.amount,
        currency=row.currency,
        captured=row.status in CHARGED,
        refunded=row.status is PaymentStatus.REFUNDED,
    )


class Charges(Section[ChargeRow]):
    """Charges that the gateway has: each is one of our payments."""

    name = "charges"
    kind = ChargeRow

    async def see(self, rows: Sequence[ChargeRow], _span: Span, /) -> Seen:
        """See `Section`."""
        payments = await self.books.find(PaymentRow, [row.id for row in rows])
        seen = Seen()
        for row in rows:
            seen.rows += 1
            if row.id not in payments:
                unknown = Finding(
                    rule=Rule.CHARGES_END,
                    subject={"payment": row.id},
                    expected="a payment for every charge of the gateway",
                    found=f"{row.amount} {row.currency} of nobody",
                )
                seen.add(row.id, [unknown])
                if row.captured and not row.refunded:
                    seen.money[row.id] = (row.currency, Money(charged=row.amount))
        return seen


class Stocks(Section[StockRow]):
    """Stock: offered = free + held + sold, and nothing sold twice."""

    name = "stock"
    kind = StockRow

    async def see(self, rows: Sequence[StockRow], span: Span, /) -> Seen:
        """See `Section`."""
        told = await self.told.of("item_id", span, STOCK)
        seen = Seen()
        for row in rows:
            seen.rows += 1
            seen.add(row.id, check_stock(row, told.get(row.id, [])))
        seen.add_missing("item", "orders", told, rows)
        return seen


class Items(Section[ItemRow]):
    """Items: as told, and the same in orders and in items."""

    name = "items"
    kind = ItemRow

    async def see(self, rows: Sequence[ItemRow], span: Span, /) -> Seen:
        """See `Section`."""
        stock = await self.books.find(StockRow, [row.id for row in rows])
        told: dict[str, list[Event]] = await self.told.of("item_id", span, ITEMS)
        seen = Seen()
        for row in rows:
            seen.rows += 1
            seen.add(row.id, check_item(row, stock.get(row.id), told.get(row.id, [])))
        seen.add_missing("item", "items", told, rows)
        return seen
