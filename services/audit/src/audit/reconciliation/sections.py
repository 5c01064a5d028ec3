"""The sections of a check: the records of one kind, and what must agree with them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

from audit.reconciliation.findings import Finding, Money, Rule
from audit.reconciliation.log_reader import ITEMS, ORDERS, PAYMENTS, STOCK, TICKETS, KeyRange, LogReader
from audit.reconciliation.record_reader import NotListed, RecordReader, batched, pages
from audit.reconciliation.records import (
    CHARGED,
    OPEN,
    BookingRecord,
    ChargeRecord,
    DeadlineRecord,
    ItemRecord,
    OrderRecord,
    OrderStatus,
    PaymentRecord,
    PaymentStatus,
    Record,
    StockRecord,
)
from audit.reconciliation.rules.orders import check_end, check_order, check_paid
from audit.reconciliation.rules.payments import check_charge, check_payment
from audit.reconciliation.rules.stock import StockHistory, check_item, check_stock
from audit.reconciliation.rules.tickets import check_booking, check_tickets
from audit.reconciliation.rules.versions import missing_record
from common.clock import now
from common.events import BookingState, Event, OrderState, PaymentState
from common.records import MAX_RECORDS

R = TypeVar("R", bound=Record)


@dataclass
class Outcome:
    """What checking some records found: their number, findings by record, and the money of each charge.

    Those that are `open` may break a rule by the clock alone, though nothing is written.
    """

    checked: int = 0
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    money: dict[str, tuple[str, Money]] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)

    def add(self, key: str, findings: Iterable[Finding]) -> None:
        """Add findings about a record."""
        if found := list(findings):
            self.findings.setdefault(key, []).extend(found)

    def add_missing(self, kind: str, service: str, events: Iterable[str], records: Iterable[Record]) -> None:
        """Add findings about what the log has and the records of a service lack."""
        for key in set(events) - {record.id for record in records}:
            self.add(key, [missing_record(kind, key, service)])


class Section(ABC, Generic[R]):
    """One kind of records and its rules."""

    name: ClassVar[str]
    kind: type[R]

    def __init__(self, reader: RecordReader, log: LogReader) -> None:
        self.reader = reader
        self.log = log

    async def scan(self, only: Collection[str] | None = None) -> AsyncIterator[Outcome]:
        """Check every record, or `only` these, page by page."""
        try:
            if only is not None:
                for some in batched(sorted(only), MAX_RECORDS):
                    yield await self.recheck(some)
                return
            async for records, after, upto in pages(self.reader, self.kind):
                yield await self.check(records, KeyRange(after, upto))
        except NotListed:
            return

    async def recheck(self, ids: Sequence[str], /) -> Outcome:
        """Check these records again."""
        return await self.check(list((await self.reader.find(self.kind, ids)).values()), KeyRange(ids=ids))

    @abstractmethod
    async def check(self, records: Sequence[R], keys: KeyRange, /) -> Outcome:
        """Check `records`, which are all in the range `keys`, and the events about that range."""


class Orders(Section[OrderRecord]):
    """Orders agree with their events, are paid for, end, and have the tickets that they should have."""

    name = "orders"
    kind = OrderRecord

    async def check(self, records: Sequence[OrderRecord], keys: KeyRange, /) -> Outcome:
        waiting = [record.id for record in records if record.status is OrderStatus.AWAITING_PAYMENT]
        deadlines = await self.reader.find(DeadlineRecord, waiting)
        paid_with = (key for record in records for key in (record.payment_id, record.accepted_payment) if key)
        payments = await self.reader.find(PaymentRecord, paid_with)
        bookings = await self.reader.find(BookingRecord, [record.id for record in records])
        items = await self.log.of("item_id", KeyRange(ids=list({record.item_id for record in records})), ITEMS)
        events = await self.log.of("order_id", keys, ORDERS)
        outcome, moment = Outcome(open=set(waiting)), now()
        for record in records:
            outcome.checked += 1
            deadline, payment = deadlines.get(record.id), payments.get(record.payment_id or "")
            accepted = payments.get(record.accepted_payment or "")
            unpaid = list(check_paid(record, payment))
            outcome.add(record.id, check_order(record, events.get(record.id, [])))
            outcome.add(record.id, check_end(record, deadline.due if deadline else None, accepted, moment))
            outcome.add(record.id, unpaid)
            outcome.add(record.id, check_tickets(record, items.get(record.item_id, []), bookings.get(record.id)))
            if unpaid and record.status is OrderStatus.PAID and (payment is None or payment.order_id != record.id):
                outcome.money[record.id] = (record.currency, Money(sellers=record.total))
        outcome.add_missing("order", "orders", _with_any(OrderState, events), records)
        return outcome


class Bookings(Section[BookingRecord]):
    """Tickets agree with their events, and each of them lets one person in."""

    name = "tickets"
    kind = BookingRecord

    async def check(self, records: Sequence[BookingRecord], keys: KeyRange, /) -> Outcome:
        orders = await self.reader.find(OrderRecord, [record.id for record in records])
        events = await self.log.of("order_id", keys, TICKETS)
        outcome = Outcome()
        for record in records:
            outcome.checked += 1
            outcome.add(record.id, check_booking(record, events.get(record.id, []), orders.get(record.id)))
        outcome.add_missing("order", "tickets", _with_any(BookingState, events), records)
        return outcome


class Payments(Section[PaymentRecord]):
    """Payments agree with their events, and each charge ends in one sale or one refund."""

    name = "payments"
    kind = PaymentRecord

    async def check(self, records: Sequence[PaymentRecord], keys: KeyRange, /) -> Outcome:
        orders = await self.reader.find(OrderRecord, [record.order_id for record in records])
        try:
            charges = await self.reader.find(ChargeRecord, [record.id for record in records])
        except NotListed:
            charges = {record.id: _as_paid(record) for record in records}
        events = await self.log.of("payment_id", keys, PAYMENTS)
        outcome, moment = Outcome(), now()
        for record in records:
            outcome.checked += 1
            money, findings = check_charge(record, orders.get(record.order_id), charges.get(record.id), moment)
            outcome.add(record.id, check_payment(record, events.get(record.id, [])))
            outcome.add(record.id, findings)
            outcome.money[record.id] = (record.currency, money)
            if record.status in OPEN:
                outcome.open.add(record.id)
        outcome.add_missing("payment", "payments", _with_any(PaymentState, events), records)
        return outcome


def _with_any(kind: type[Event], events: Mapping[str, Sequence[Event]]) -> list[str]:
    """The keys that have an event of this kind."""
    return [key for key, some in events.items() if any(isinstance(event, kind) for event in some)]


def _as_paid(record: PaymentRecord) -> ChargeRecord:
    """The charge as the payment implies it, if the gateway does not list charges."""
    return ChargeRecord(
        id=record.id,
        amount=record.amount,
        currency=record.currency,
        captured=record.status in CHARGED,
        refunded=record.status is PaymentStatus.REFUNDED,
        refunded_amount=record.refunded_amount,
    )


class Charges(Section[ChargeRecord]):
    """Each charge of the gateway belongs to a payment."""

    name = "charges"
    kind = ChargeRecord

    async def check(self, records: Sequence[ChargeRecord], _keys: KeyRange, /) -> Outcome:
        payments = await self.reader.find(PaymentRecord, [record.id for record in records])
        outcome = Outcome()
        for record in records:
            outcome.checked += 1
            if record.id not in payments:
                unknown = Finding(
                    rule=Rule.CHARGES_END,
                    subject={"payment": record.id},
                    expected="a payment for every charge of the gateway",
                    found=f"{record.amount} {record.currency} without a payment",
                )
                outcome.add(record.id, [unknown])
                if record.captured and not record.refunded:
                    outcome.money[record.id] = (record.currency, Money(charged=record.amount))
        return outcome


class Stocks(Section[StockRecord]):
    """Stock: offered = free + held + sold, and nothing is sold twice."""

    name = "stock"
    kind = StockRecord

    async def check(self, records: Sequence[StockRecord], keys: KeyRange, /) -> Outcome:
        outcome, known = Outcome(checked=len(records)), {record.id: record for record in records}
        async with aclosing(self.log.each("item_id", keys, STOCK)) as events:
            current, history = "", None
            async for item_id, event in events:
                if item_id != current:
                    outcome.add(current, history.findings() if history else ())
                    current, record = item_id, known.pop(item_id, None)
                    history = StockHistory(record) if record else None
                    outcome.add_missing("item", "orders", () if record else [item_id], ())
                if history:
                    history.add(event)
            outcome.add(current, history.findings() if history else ())
        for record in known.values():  # The log has no event of it.
            outcome.add(record.id, check_stock(record, ()))
        return outcome


class Items(Section[ItemRecord]):
    """Items agree with their events, and are the same in orders and in items."""

    name = "items"
    kind = ItemRecord

    async def check(self, records: Sequence[ItemRecord], keys: KeyRange, /) -> Outcome:
        stock = await self.reader.find(StockRecord, [record.id for record in records])
        events: dict[str, list[Event]] = await self.log.of("item_id", keys, ITEMS)
        outcome = Outcome()
        for record in records:
            outcome.checked += 1
            outcome.add(record.id, check_item(record, stock.get(record.id), events.get(record.id, [])))
        outcome.add_missing("item", "items", events, records)
        return outcome
