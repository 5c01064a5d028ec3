"""Records and events of one order, its payment and its item."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.records import (
    ChargeRecord,
    ItemRecord,
    OrderRecord,
    OrderStatus,
    PaymentRecord,
    PaymentStatus,
    StockRecord,
)
from audit.reconciliation.rules.orders import EPOCH
from common.events import (
    CancelReason,
    Currency,
    DisputeStatus,
    Event,
    ItemChanged,
    ItemListed,
    ItemStatus,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPlaced,
    StockChanged,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = NOW + timedelta(minutes=5)
DUE = (ENDS - EPOCH) // timedelta(milliseconds=1)


def order(**changes: Any) -> OrderRecord:
    """Two lamps, held at version 1."""
    held = OrderRecord(
        id="o", item_id="i", quantity=2, unit_price=500, currency="EUR", status=OrderStatus.AWAITING_PAYMENT,
        expires_at=ENDS, version=1,
    )  # fmt: skip
    return held.model_copy(update=changes)


def paid(**changes: Any) -> OrderRecord:
    return order(**{"status": OrderStatus.PAID, "version": 2, "payment_id": "p", **changes})


def published(kind: type[Event], version: int, **more: Any) -> Any:
    """An event of the order."""
    state: dict[str, Any] = {"buyer_id": "b", "seller_id": "s", "item_id": "i", "item_title": "A lamp", "quantity": 2}
    state |= {"unit_price": 500, "currency": Currency.EUR, "expires_at": ENDS, "order_id": "o"}
    return kind(**{**state, "order_version": version, **more})


PLACED = published(OrderPlaced, 1)
ACCEPTED = published(OrderPaymentAccepted, 2, payment_id="p")
PAID = published(OrderPaid, 2, payment_id="p")
CANCELLED = published(OrderCancelled, 2, reason=CancelReason.BUYER)


def moved(kind: type[Event], version: int) -> Any:
    """An event of the payment."""
    state: dict[str, Any] = {
        "payment_id": "p",
        "order_id": "o",
        "buyer_id": "b",
        "amount": 1000,
        "currency": Currency.EUR,
    }
    state |= {"reason": "told", "dispute": DisputeStatus.OPEN, "refunded_amount": 300}
    return kind(**{**state, "payment_version": version})


def payment(status: PaymentStatus = PaymentStatus.CAPTURED, **changes: Any) -> PaymentRecord:
    record = PaymentRecord(id="p", order_id="o", amount=1000, currency="EUR", status=status, version=2)
    return record.model_copy(update=changes)


def charge(captured: bool = True, refunded: bool = False, amount: int = 1000, part: int = 0) -> ChargeRecord:
    back = amount if refunded else part
    return ChargeRecord(
        id="p", amount=amount, currency="EUR", captured=captured, refunded=refunded, refunded_amount=back
    )


def stock(**changes: Any) -> StockRecord:
    """Five lamps: two held, one sold."""
    record = StockRecord(
        id="i", offered=5, taken=3, held=2, sold=1, status="listed", version=2, item_version=1,
    )  # fmt: skip
    return record.model_copy(update=changes)


def news(version: int, available: int, quantity: int = 5) -> StockChanged:
    return StockChanged(item_id="i", stock_version=version, quantity=quantity, available=available)


def listed(version: int = 1, quantity: int = 5) -> Any:
    kind = ItemListed if version == 1 else ItemChanged
    return kind(
        item_id="i", item_version=version, seller_id="s", title="A lamp", description="", price=500,
        currency=Currency.EUR, quantity=quantity, status=ItemStatus.LISTED,
    )  # fmt: skip


def item(**changes: Any) -> ItemRecord:
    record = ItemRecord(id="i", quantity=5, status="listed", version=1, available=2, stock_version=2)
    return record.model_copy(update=changes)


def rules(findings: Iterable[Finding], certain: bool | None = None) -> set[Rule]:
    return {finding.rule for finding in findings if certain in {None, finding.certain}}
