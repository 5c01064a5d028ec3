"""The rules: what the event log and the services' books must agree on. No I/O.

The log is read after the books, so of what the books say up to their version it lacks only what is on its way. A
finding is `certain` only where both sides speak of the same version; all others must last to count.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from audit.reconciliation.findings import Finding, Money, Rule
from audit.reconciliation.records import (
    CHARGED,
    OPEN,
    ChargeRow,
    ItemRow,
    OrderRow,
    OrderStatus,
    PaymentRow,
    PaymentStatus,
    StockRow,
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

MOST_NAMED = 20
"""Missing versions of one item that are named one by one."""

SAID: dict[PaymentStatus, type[Event]] = {
    PaymentStatus.CAPTURED: PaymentCaptured,
    PaymentStatus.REFUND_DUE: PaymentCaptured,
    PaymentStatus.REFUNDED: PaymentRefunded,
    PaymentStatus.FAILED: PaymentFailed,
}
"""The event that tells of a payment's status."""

EPOCH = datetime.fromtimestamp(0, UTC)


def check_order(row: OrderRow, told: Sequence[Event]) -> Iterator[Finding]:
    """The order is what its events made of it."""
    states = sorted((e for e in told if isinstance(e, OrderState)), key=lambda e: e.order_version)
    subject = {"order": row.id}
    if states and (newest := states[-1].order_version) > row.version:
        yield _behind(subject, newest, row.version)
    states = [e for e in states if e.order_version <= row.version]
    if not states:
        yield _lost(subject, "orders.placed", "no event of this order")
        return
    status, paid_with = _outcome(states)
    newest = states[-1].order_version
    refunded = any(isinstance(e, PaymentRefunded) and e.payment_id == paid_with for e in told)
    followed = status is OrderStatus.PAID and refunded and row.status is OrderStatus.REFUNDED and newest < row.version
    if not followed and (row.status, row.payment_id) != (status, paid_with):
        yield Finding(
            rule=Rule.BOOKS_AGREE if newest == row.version else Rule.EVENTS_KEPT,
            subject=subject,
            expected=f"the log tells of version {row.version}: {row.status} {row.payment_id or ''}".rstrip(),
            found=f"it tells of version {newest}: {status} {paid_with or ''}".rstrip(),
            certain=newest == row.version,
        )
    rejected = {e.payment_id for e in states if isinstance(e, OrderPaymentRejected)}
    for payment in sorted(rejected ^ row.rejected_payments):
        where = "log" if payment in rejected else "books"
        yield Finding(
            rule=Rule.BOOKS_AGREE if payment in rejected else Rule.EVENTS_KEPT,
            subject={**subject, "payment": payment},
            expected="rejected in the log and in the books",
            found=f"only in the {where}",
        )
    first = states[0]
    said = (first.item_id, first.quantity, first.unit_price, first.currency)
    if said != (row.item_id, row.quantity, row.unit_price, row.currency):
        kept = f"{row.quantity} x {row.item_id} at {row.unit_price} {row.currency}"
        yield Finding(
            rule=Rule.BOOKS_AGREE,
            subject=subject,
            expected=f"{first.quantity} x {first.item_id} at {first.unit_price} {first.currency}, as told",
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


def check_end(row: OrderRow, due: int | None, now: datetime) -> Iterator[Finding]:
    """The order is settled, or its time is to come and expiration (`due`, in milliseconds) knows it."""
    if row.status is not OrderStatus.AWAITING_PAYMENT:
        return
    ends = -((EPOCH - row.expires_at) // timedelta(milliseconds=1))
    if row.expires_at <= now:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject={"order": row.id},
            expected=f"settled, since its hold ended at {row.expires_at.isoformat()}",
            found=row.status,
        )
    elif due != ends:
        yield Finding(
            rule=Rule.ORDERS_END,
            subject={"order": row.id},
            expected=f"expiration will end it at {ends}",
            found="expiration does not know it" if due is None else f"at {due}",
        )


def check_paid(row: OrderRow, payment: PaymentRow | None) -> Iterator[Finding]:
    """An order that is paid has the money, all of it; one that is refunded has given it back."""
    wanted = {OrderStatus.PAID: CHARGED, OrderStatus.REFUNDED: {PaymentStatus.REFUNDED}}.get(row.status)
    if wanted is None:
        return
    asked = (row.id, row.total, row.currency)
    if payment is None or payment.status not in wanted or (payment.order_id, payment.amount, payment.currency) != asked:
        yield Finding(
            rule=Rule.CHARGES_END,
            subject={"order": row.id, "payment": row.payment_id or ""},
            expected=f"the order is {row.status} with {row.total} {row.currency} of its own",
            found=f"{payment.status}, {payment.amount} {payment.currency} for order {payment.order_id}"
            if payment
            else "no such payment",
        )


def check_payment(row: PaymentRow, told: Sequence[Event]) -> Iterator[Finding]:
    """The payment is what its events made of it."""
    states = sorted((e for e in told if isinstance(e, PaymentState)), key=lambda e: e.payment_version)
    subject = {"payment": row.id, "order": row.order_id}
    if states and (newest := states[-1].payment_version) > row.version:
        yield _behind(subject, newest, row.version)
    states = [e for e in states if e.payment_version <= row.version]
    said = {type(e) for e in states}
    newest = states[-1].payment_version if states else 0
    wanted = SAID.get(row.status)
    if wanted and wanted not in said:
        yield _lost(subject, f"{wanted.subject} of version {row.version} or before", f"the newest is of {newest}")
    if row.status in OPEN and said & {PaymentCaptured, PaymentFailed, PaymentRefunded}:
        yield Finding(
            rule=Rule.BOOKS_AGREE, subject=subject, expected="settled, as told", found=row.status, certain=True
        )


def check_charge(
    row: PaymentRow, order: OrderRow | None, charge: ChargeRow | None, now: datetime
) -> tuple[Money, list[Finding]]:
    """Every charge ends in exactly one paid order or one refund, and the gateway's books say the same as ours.

    `charge` is None where the gateway knows of none. Returns where the money is, too.
    """
    subject = {"payment": row.id, "order": row.order_id}
    findings: list[Finding] = []

    def finding(expected: str, found: str) -> None:
        findings.append(Finding(rule=Rule.CHARGES_END, subject=subject, expected=expected, found=found))

    holds = order is not None and order.payment_id == row.id
    sold = holds and order is not None and order.status is OrderStatus.PAID
    rejected = order is not None and row.id in order.rejected_payments
    match row.status:
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
        case PaymentStatus.CREATED | PaymentStatus.PROCESSING if row.check_at is None or row.check_at < now:
            finding("somebody sees to it", f"{row.status}, due at {row.check_at}")
    captured, returned = charge is not None and charge.captured, charge is not None and charge.refunded
    if row.status in CHARGED and not captured:
        finding("the gateway has the charge", "it has none")
    if row.status is PaymentStatus.FAILED and captured:
        finding("no money moved", "the gateway has captured it")
    if returned and row.status not in {PaymentStatus.REFUND_DUE, PaymentStatus.REFUNDED}:
        finding("no refund", "the gateway has sent the money back")
    if row.status is PaymentStatus.REFUNDED and not returned:
        finding("the gateway has sent the money back", "it has not")
    if charge and captured and (charge.amount, charge.currency) != (row.amount, row.currency):
        finding(f"{row.amount} {row.currency}", f"the gateway took {charge.amount} {charge.currency}")
    money = _money(row, order if sold else None, charge)
    if money.difference:
        difference = f"{money.difference} {row.currency} differ"
        found = Finding(rule=Rule.MONEY_BALANCES, subject=subject, expected="charge, refund and sale", found=difference)
        findings.append(found)
    return money, findings


def _money(row: PaymentRow, buys: OrderRow | None, charge: ChargeRow | None) -> Money:
    charged = charge.amount if charge and charge.captured else 0
    refunded = charge.amount if charge and charge.refunded else 0
    sellers = buys.total if buys else 0
    decided = row.status in {PaymentStatus.REFUNDED, PaymentStatus.FAILED} or sellers
    return Money(charged=charged, refunded=refunded, sellers=sellers, in_transit=0 if decided else charged - refunded)


def check_stock(row: StockRow, told: Sequence[Event]) -> Iterator[Finding]:
    """Offered = free + held + sold, nothing is sold twice, and every change was told."""
    subject = {"item": row.id}
    if row.taken != row.held + row.sold:
        yield Finding(
            rule=Rule.UNITS_ADD_UP,
            subject=subject,
            expected=f"taken is {row.held} held + {row.sold} sold at version {row.version}",
            found=f"taken is {row.taken}",
            certain=True,
        )
    offers = [e.quantity for e in told if isinstance(e, ItemState | StockChanged)]
    if (live := row.held + row.sold) > (most := max([row.offered, *offers])):
        yield Finding(
            rule=Rule.SOLD_ONCE, subject=subject, expected=f"{most} at most, all that was ever offered", found=f"{live}"
        )
    news = {e.stock_version: e for e in told if isinstance(e, StockChanged)}
    if news and (newest := max(news)) > row.version:
        yield _behind(subject, newest, row.version)
    if len(news) < row.version:
        missing = [version for version in range(1, row.version + 1) if version not in news]
        for version in missing[:MOST_NAMED]:
            yield _lost(subject, f"orders.stock_changed of version {version}", f"{len(missing)} are missing")
    same = news.get(row.version)
    if same and (same.quantity, same.available) != (row.offered, row.available):
        yield Finding(
            rule=Rule.BOOKS_AGREE,
            subject=subject,
            expected=f"{same.available} of {same.quantity} are free at version {row.version}, as told",
            found=f"{row.available} of {row.offered}",
            certain=True,
        )


def check_item(row: ItemRow, stock: StockRow | None, told: Sequence[Event]) -> Iterator[Finding]:
    """Every change of an item was told; orders sells what items offers, and items shows what orders has left."""
    subject = {"item": row.id}
    versions = {e.item_version for e in told if isinstance(e, ItemState)}
    if versions and (newest := max(versions)) > row.version:
        yield _behind(subject, newest, row.version)
    for version in sorted(set(range(1, row.version + 1)) - versions)[:MOST_NAMED]:
        yield _lost(subject, f"an event of items of version {version}", "none")
    if stock is None or stock.item_version < row.version:
        known = f"version {stock.item_version}" if stock else "nothing"
        yield _copy(subject, f"orders knows version {row.version} of the offer", known)
    elif stock.item_version == row.version and (stock.offered, stock.status) != (row.quantity, row.status):
        yield _copy(
            subject,
            f"orders sells {row.quantity}, {row.status}, as of version {row.version}",
            f"{stock.offered}, {stock.status}",
            certain=True,
        )
    if stock is not None and row.stock_version < stock.version:
        yield _copy(subject, f"items shows version {stock.version} of the stock", f"version {row.stock_version}")
    elif stock is not None and row.stock_version == stock.version and row.available != stock.available:
        expected = f"items shows {stock.available} free at version {stock.version}"
        yield _copy(subject, expected, f"{row.available}", certain=True)


def missing_row(kind: str, key: str, service: str) -> Finding:
    """The log tells of something that is not in the books of a service."""
    expected = f"in the books of {service}, as told"
    return Finding(rule=Rule.BOOKS_AGREE, subject={kind: key}, expected=expected, found="not there")


def _behind(subject: dict[str, str], told: int, kept: int) -> Finding:
    expected = f"version {told} or newer, as told"
    return Finding(rule=Rule.BOOKS_AGREE, subject=subject, expected=expected, found=f"version {kept}")


def _lost(subject: dict[str, str], expected: str, found: str) -> Finding:
    return Finding(rule=Rule.EVENTS_KEPT, subject=subject, expected=f"in the log: {expected}", found=found)


def _copy(subject: dict[str, str], expected: str, found: str, certain: bool = False) -> Finding:
    return Finding(rule=Rule.COPIES_AGREE, subject=subject, expected=expected, found=found, certain=certain)
