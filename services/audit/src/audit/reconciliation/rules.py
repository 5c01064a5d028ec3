"""The rules: what the event log and the services' records must agree on. No I/O.

The log is read after the records. Up to a record's version it lacks only events that are on their way. A finding is
`certain` only if both sides have the same version; any other finding must last to count.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from audit.reconciliation.findings import Finding, Money, Rule
from audit.reconciliation.records import (
    CHARGED,
    OPEN,
    ChargeRecord,
    ItemRecord,
    OrderRecord,
    OrderStatus,
    PaymentRecord,
    PaymentStatus,
    StockRecord,
)
from common.events import (
    CancelReason,
    Event,
    ItemState,
    OrderCancelled,
    OrderPaid,
    OrderPaymentRejected,
    OrderState,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    PaymentState,
    StockChanged,
)

MAX_MISSING = 20
"""Missing versions of one item that are reported one by one."""

EVENT_OF: dict[PaymentStatus, type[Event]] = {
    PaymentStatus.CAPTURED: PaymentCaptured,
    PaymentStatus.REFUND_DUE: PaymentCaptured,
    PaymentStatus.REFUNDED: PaymentRefunded,
    PaymentStatus.FAILED: PaymentFailed,
}
"""The event that a payment with this status has published."""

EPOCH = datetime.fromtimestamp(0, UTC)


def check_order(record: OrderRecord, events: Sequence[Event]) -> Iterator[Finding]:
    """The order is what its events made of it."""
    states = sorted((e for e in events if isinstance(e, OrderState)), key=lambda e: e.order_version)
    subject = {"order": record.id}
    yield from _contradictions(subject, ((e.order_version, e) for e in states))
    if states and (newest := states[-1].order_version) > record.version:
        yield _behind(subject, newest, record.version)
    states = [e for e in states if e.order_version <= record.version]
    if not states:
        yield _lost(subject, "orders.placed", "no event of this order")
        return
    status, paid_with = _outcome(states)
    newest = states[-1].order_version
    refunded = any(isinstance(e, PaymentRefunded) and e.payment_id == paid_with for e in events)
    followed = (
        status is OrderStatus.PAID and refunded and record.status is OrderStatus.REFUNDED and newest < record.version
    )
    if not followed and (record.status, record.payment_id) != (status, paid_with):
        yield Finding(
            rule=Rule.BOOKS_AGREE if newest == record.version else Rule.EVENTS_KEPT,
            subject=subject,
            expected=f"the log has version {record.version}: {record.status} {record.payment_id or ''}".rstrip(),
            found=f"it has version {newest}: {status} {paid_with or ''}".rstrip(),
            certain=newest == record.version,
        )
    rejected = {e.payment_id for e in states if isinstance(e, OrderPaymentRejected)}
    for payment in sorted(rejected ^ record.rejected_payments):
        where = "log" if payment in rejected else "records"
        yield Finding(
            rule=Rule.BOOKS_AGREE if payment in rejected else Rule.EVENTS_KEPT,
            subject={**subject, "payment": payment},
            expected="rejected in the log and in the records",
            found=f"only in the {where}",
        )
    first = states[0]
    published = (first.item_id, first.quantity, first.unit_price, first.currency)
    if published != (record.item_id, record.quantity, record.unit_price, record.currency):
        kept = f"{record.quantity} x {record.item_id} at {record.unit_price} {record.currency}"
        yield Finding(
            rule=Rule.BOOKS_AGREE,
            subject=subject,
            expected=f"{first.quantity} x {first.item_id} at {first.unit_price} {first.currency}, as published",
            found=kept,
            certain=True,
        )


def _outcome(states: Sequence[OrderState]) -> tuple[OrderStatus, str | None]:
    status, paid_with = OrderStatus.AWAITING_PAYMENT, None
    for event in states:
        match event:
            case OrderCancelled(reason=CancelReason.EXPIRED):
                status = OrderStatus.EXPIRED
            case OrderCancelled():
                status = OrderStatus.CANCELLED
            case OrderPaid():
                status, paid_with = OrderStatus.PAID, event.payment_id
    return status, paid_with


def check_end(record: OrderRecord, due: int | None, now: datetime) -> Iterator[Finding]:
    """The order is settled, or its deadline is in the future and expiration knows it (`due`, in ms since 1970)."""
    if record.status is not OrderStatus.AWAITING_PAYMENT:
        return
    ends = -((EPOCH - record.expires_at) // timedelta(milliseconds=1))
    if record.expires_at <= now:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject={"order": record.id},
            expected=f"settled, since its hold ended at {record.expires_at.isoformat()}",
            found=record.status,
        )
    elif due != ends:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject={"order": record.id},
            expected=f"expiration will end it at {ends}",
            found="expiration does not know it" if due is None else f"at {due}",
        )


def check_paid(record: OrderRecord, payment: PaymentRecord | None) -> Iterator[Finding]:
    """A paid order has a payment of the whole amount; the payment of a refunded order is refunded."""
    wanted = {OrderStatus.PAID: CHARGED, OrderStatus.REFUNDED: {PaymentStatus.REFUNDED}}.get(record.status)
    if wanted is None:
        return
    asked = (record.id, record.total, record.currency)
    if payment is None or payment.status not in wanted or (payment.order_id, payment.amount, payment.currency) != asked:
        yield Finding(
            rule=Rule.CHARGES_END,
            subject={"order": record.id, "payment": record.payment_id or ""},
            expected=f"the order is {record.status} with {record.total} {record.currency} of its own",
            found=f"{payment.status}, {payment.amount} {payment.currency} for order {payment.order_id}"
            if payment
            else "no such payment",
        )


def check_payment(record: PaymentRecord, events: Sequence[Event]) -> Iterator[Finding]:
    """The payment is what its events made of it."""
    states = sorted((e for e in events if isinstance(e, PaymentState)), key=lambda e: e.payment_version)
    subject = {"payment": record.id, "order": record.order_id}
    yield from _contradictions(subject, ((e.payment_version, e) for e in states))
    if states and (newest := states[-1].payment_version) > record.version:
        yield _behind(subject, newest, record.version)
    states = [e for e in states if e.payment_version <= record.version]
    published = {type(e) for e in states}
    newest = states[-1].payment_version if states else 0
    wanted = EVENT_OF.get(record.status)
    if wanted and wanted not in published:
        yield _lost(subject, f"{wanted.subject} of version {record.version} or before", f"the newest is of {newest}")
    if record.status in OPEN and published & {PaymentCaptured, PaymentFailed, PaymentRefunded}:
        yield Finding(
            rule=Rule.BOOKS_AGREE, subject=subject, expected="settled, as published", found=record.status, certain=True
        )


def check_charge(
    record: PaymentRecord, order: OrderRecord | None, charge: ChargeRecord | None, now: datetime
) -> tuple[Money, list[Finding]]:
    """Every charge ends in exactly one paid order or one refund, and the gateway's records agree with ours.

    `charge` is None if the gateway has none. Also returns where the money is.
    """
    subject = {"payment": record.id, "order": record.order_id}
    findings: list[Finding] = []

    def finding(expected: str, found: str) -> None:
        findings.append(Finding(rule=Rule.CHARGES_END, subject=subject, expected=expected, found=found))

    holds = order is not None and order.payment_id == record.id
    sold = holds and order is not None and order.status is OrderStatus.PAID
    rejected = order is not None and record.id in order.rejected_payments
    match record.status:
        case PaymentStatus.CAPTURED if order is None:
            finding("an order", "there is none")
        case PaymentStatus.CAPTURED if rejected:
            finding("a refund, since the order rejected it", "none yet")
        case PaymentStatus.CAPTURED if not holds:
            finding("the order takes or rejects it", f"the order is {order.status if order else 'unknown'}")
        case PaymentStatus.CAPTURED if not sold:
            finding("the order is paid with it", f"the order is {order.status if order else 'unknown'}")
        case PaymentStatus.REFUND_DUE:
            finding("the refund that is due", "none yet")
        case PaymentStatus.REFUNDED if sold:
            finding("the order is refunded, too", "the order is paid")
        case PaymentStatus.CREATED | PaymentStatus.PROCESSING if record.check_at is None or record.check_at < now:
            finding("a check that is not overdue", f"{record.status}, due at {record.check_at}")
    captured, returned = charge is not None and charge.captured, charge is not None and charge.refunded
    if record.status in CHARGED and not captured:
        finding("the gateway has the charge", "it has none")
    if record.status is PaymentStatus.FAILED and captured:
        finding("no money moved", "the gateway has captured it")
    if returned and record.status not in {PaymentStatus.REFUND_DUE, PaymentStatus.REFUNDED}:
        finding("no refund", "the gateway has sent the money back")
    if record.status is PaymentStatus.REFUNDED and not returned:
        finding("the gateway has sent the money back", "it has not")
    if charge and captured and (charge.amount, charge.currency) != (record.amount, record.currency):
        finding(f"{record.amount} {record.currency}", f"the gateway took {charge.amount} {charge.currency}")
    money = _money(record, order if sold else None, charge)
    if money.difference:
        difference = f"{money.difference} {record.currency} differ"
        found = Finding(rule=Rule.MONEY_BALANCES, subject=subject, expected="charge, refund and sale", found=difference)
        findings.append(found)
    return money, findings


def _money(record: PaymentRecord, buys: OrderRecord | None, charge: ChargeRecord | None) -> Money:
    charged = charge.amount if charge and charge.captured else 0
    refunded = charge.amount if charge and charge.refunded else 0
    sellers = buys.total if buys else 0
    decided = record.status in {PaymentStatus.REFUNDED, PaymentStatus.FAILED} or sellers
    return Money(charged=charged, refunded=refunded, sellers=sellers, in_transit=0 if decided else charged - refunded)


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
    yield from _contradictions(subject, changes)
    news = dict(changes)
    if news and (newest := max(news)) > record.version:
        yield _behind(subject, newest, record.version)
    first = _restated(changes)
    if sum(version > first for version in news) < record.version - first:
        missing = [version for version in range(first + 1, record.version + 1) if version not in news]
        for version in missing[:MAX_MISSING]:
            yield _lost(subject, f"orders.stock_changed of version {version}", f"{len(missing)} are missing")
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
    yield from _contradictions(subject, changes)
    versions = {version for version, _ in changes}
    if versions and (newest := max(versions)) > record.version:
        yield _behind(subject, newest, record.version)
    for version in sorted(set(range(_restated(changes) + 1, record.version + 1)) - versions)[:MAX_MISSING]:
        yield _lost(subject, f"an event of items of version {version}", "none")
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


def _restated(changes: Iterable[tuple[int, Event]]) -> int:
    """The newest version that was stated again after the bus lost its streams: older ones may be lost for ever."""
    return max((version for version, event in changes if event.restated), default=0)


def missing_record(kind: str, key: str, service: str) -> Finding:
    """The log has events about something that is not in the records of a service."""
    expected = f"in the records of {service}, as published"
    return Finding(rule=Rule.BOOKS_AGREE, subject={kind: key}, expected=expected, found="not there")


def _contradictions(subject: dict[str, str], events: Iterable[tuple[int, Event]]) -> Iterator[Finding]:
    """Two different events of one version: one of them tells of a state that never was. Readers keep the first.

    What was stated again is left out: it may be said by an event that carries a later version than the first time.
    """
    first: dict[int, Event] = {}
    for version, event in events:
        if not event.restated and (known := first.setdefault(version, event)) != event:
            yield Finding(
                rule=Rule.EVENTS_AGREE,
                subject=subject,
                expected=f"one event of version {version}: {known.subject}",
                found=f"another {event.subject}",
                certain=True,
            )


def _behind(subject: dict[str, str], published: int, recorded: int) -> Finding:
    expected = f"version {published} or newer, as published"
    return Finding(rule=Rule.BOOKS_AGREE, subject=subject, expected=expected, found=f"version {recorded}")


def _lost(subject: dict[str, str], expected: str, found: str) -> Finding:
    return Finding(rule=Rule.EVENTS_KEPT, subject=subject, expected=f"in the log: {expected}", found=found)


def _copy(subject: dict[str, str], expected: str, found: str, certain: bool = False) -> Finding:
    return Finding(rule=Rule.COPIES_AGREE, subject=subject, expected=expected, found=found, certain=certain)
