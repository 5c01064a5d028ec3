"""The records of the other services. `pending` is the number of a record's events that are not published yet."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from common.events import DisputeStatus


class Record(BaseModel):
    """A record of a service."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str


class OrderStatus(StrEnum):
    """The status of an order."""

    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class OrderRecord(Record):
    """An order in orders."""

    item_id: str
    quantity: int
    unit_price: int
    currency: str
    status: OrderStatus
    expires_at: datetime
    version: int
    accepted_payment: str | None = None
    payment_id: str | None = None
    rejected_payments: frozenset[str] = frozenset()
    refund_requested: bool = False
    pending: int = 0

    @property
    def total(self) -> int:
        """The amount due."""
        return self.quantity * self.unit_price


class SaleRecord(BaseModel):
    """What paid the tickets of an order."""

    payment_id: str


class ScanRecord(BaseModel):
    """A scan by which somebody was let in: a device makes one with each `seq`."""

    model_config = ConfigDict(frozen=True)

    gate_id: str
    device: str
    seq: int


class TicketRecord(BaseModel):
    """A ticket of an order, the `unit`-th. What is None was not told, by a replica of an older release."""

    unit: int
    generation: int | None = None
    admissions: tuple[ScanRecord, ...] | None = None
    """Who was let in with it; the first one is the one whom it admits."""
    strays: tuple[ScanRecord, ...] | None = None
    """Who was let in with a code of it that was worth nothing."""


class BookingRecord(Record):
    """The tickets of an order in tickets. Its id is the order's; payments that were `returned` pay no ticket."""

    version: int
    sale: SaleRecord | None = None
    returned: frozenset[str] = frozenset()
    tickets: tuple[TicketRecord, ...] = ()
    pending: int = 0

    @property
    def revoked(self) -> bool:
        """Whether the money that paid the tickets goes back."""
        return self.sale is not None and self.sale.payment_id in self.returned

    @property
    def live_units(self) -> list[int]:
        """The units whose tickets are not revoked."""
        return [] if self.sale is None or self.revoked else sorted(ticket.unit for ticket in self.tickets)


class StockRecord(Record):
    """The stock of an item in orders, and the units that its orders held and had paid at the same moment."""

    offered: int
    taken: int
    held: int
    sold: int
    status: str
    version: int
    item_version: int
    pending: int = 0

    @property
    def available(self) -> int:
        """Units that can be bought now."""
        return max(0, self.offered - self.taken) if self.status == "listed" else 0


class ItemRecord(Record):
    """An item in items, with its copy of the available units."""

    quantity: int
    status: str
    version: int
    available: int
    stock_version: int
    pending: int = 0


class PaymentStatus(StrEnum):
    """The status of a payment."""

    CREATED = "created"
    ABANDON_DUE = "abandon_due"
    PROCESSING = "processing"
    AUTHORIZED = "authorized"
    CAPTURE_DUE = "capture_due"
    CAPTURED = "captured"
    RELEASE_DUE = "release_due"
    RELEASED = "released"
    REFUND_DUE = "refund_due"
    REFUNDED = "refunded"
    REFUND_FAILED = "refund_failed"
    DISPUTED = "disputed"
    FAILED = "failed"


CHARGED = {
    PaymentStatus.CAPTURED,
    PaymentStatus.REFUND_DUE,
    PaymentStatus.REFUNDED,
    PaymentStatus.REFUND_FAILED,
    PaymentStatus.DISPUTED,
}
"""Statuses in which the money has moved."""

ENDED_UNCHARGED = {PaymentStatus.FAILED, PaymentStatus.RELEASED}
"""Statuses in which no money moved, and none will."""

REFUND_ASKED = {PaymentStatus.REFUND_DUE, PaymentStatus.REFUNDED, PaymentStatus.REFUND_FAILED}
"""Statuses in which the money goes back, has gone back, or could not."""

CAPTURABLE = {PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURE_DUE}
"""Statuses in which the amount is kept ready for an order."""

OPEN = {
    PaymentStatus.CREATED,
    PaymentStatus.ABANDON_DUE,
    PaymentStatus.PROCESSING,
    *CAPTURABLE,
    PaymentStatus.RELEASE_DUE,
}
"""Statuses that payments itself brings to an end."""


class PaymentRecord(Record):
    """A payment in payments, which asks the gateway about it again at `check_at`."""

    order_id: str
    amount: int
    currency: str
    status: PaymentStatus
    version: int
    check_at: datetime | None = None
    settled_by: str | None = None
    """The operator who gave the money of a failed refund back by other means than the gateway."""
    settled_amount: int | None = None
    """How much that was. None if it was not kept yet: all that the gateway had not given back."""
    dispute: DisputeStatus | None = None
    refunded_amount: int = 0
    pending: int = 0

    @property
    def part_refunded(self) -> int:
        """How much of the money went back, if that is not all."""
        return self.refunded_amount if self.refunded_amount < self.amount else 0


class ChargeRecord(Record):
    """A charge in the payment gateway. Its id is the payment's."""

    amount: int
    currency: str
    captured: bool
    refunded: bool
    refunded_amount: int = 0


class DeadlineRecord(Record):
    """The deadline of an order in expiration, in milliseconds since 1970."""

    due: int
