"""What the other services' books say, row by row. `pending` is how many events of a row have not left yet."""

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Row(BaseModel):
    """A row of somebody's books."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str


class OrderStatus(StrEnum):
    """Where an order stands."""

    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class OrderRow(Row):
    """An order, as orders keeps it."""

    item_id: str
    quantity: int
    unit_price: int
    currency: str
    status: OrderStatus
    expires_at: datetime
    version: int
    payment_id: str | None = None
    rejected_payments: frozenset[str] = frozenset()
    pending: int = 0

    @property
    def total(self) -> int:
        """The amount due."""
        return self.quantity * self.unit_price


class StockRow(Row):
    """The stock of an item, as orders keeps it, and what its orders held and had bought at the same moment."""

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


class ItemRow(Row):
    """An item, as items keeps it, with its copy of what is left."""

    quantity: int
    status: str
    version: int
    available: int
    stock_version: int
    pending: int = 0


class PaymentStatus(StrEnum):
    """Where a payment stands."""

    CREATED = "created"
    PROCESSING = "processing"
    CAPTURED = "captured"
    REFUND_DUE = "refund_due"
    REFUNDED = "refunded"
    FAILED = "failed"


CHARGED = {PaymentStatus.CAPTURED, PaymentStatus.REFUND_DUE, PaymentStatus.REFUNDED}
OPEN = {PaymentStatus.CREATED, PaymentStatus.PROCESSING}


class PaymentRow(Row):
    """A payment, as payments keeps it. `check_at` is when somebody must see to it."""

    order_id: str
    amount: int
    currency: str
    status: PaymentStatus
    version: int
    check_at: datetime | None = None
    pending: int = 0


class ChargeRow(Row):
    """A charge, as the payment gateway's own books have it; its id is the payment's."""

    amount: int
    currency: str
    captured: bool
    refunded: bool


class DeadlineRow(Row):
    """When expiration will end the hold of an order, in milliseconds since 1970."""

    due: int
