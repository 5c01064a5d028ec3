"""Every event that crosses the bus, and the value types in it. No behaviour.

Events that copy state carry all of it and its version: a reader keeps the newest and drops the rest, so order does
not matter and nobody waits for a gap. An event is only ever extended, never changed.
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
UserId = Id
ItemId = Id
OrderId = Id
PaymentId = Id

MinorUnits = Annotated[int, Field(strict=True, ge=0, le=10**13)]
"""Money in the currency's smallest unit (cents, yen). A float never touches money."""

Quantity = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
"""Units of an item."""


class Currency(StrEnum):
    """ISO 4217 codes of the currencies Souk sells in."""

    AUD = "AUD"
    CAD = "CAD"
    CHF = "CHF"
    CZK = "CZK"
    DKK = "DKK"
    EUR = "EUR"
    GBP = "GBP"
    JPY = "JPY"
    NOK = "NOK"
    PLN = "PLN"
    SEK = "SEK"
    USD = "USD"


class ItemStatus(StrEnum):
    """Whether new orders may be placed."""

    LISTED = "listed"
    WITHDRAWN = "withdrawn"


class CancelReason(StrEnum):
    """Why an order ended without money."""

    BUYER = "buyer"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class RejectReason(StrEnum):
    """Why money that came for an order goes back."""

    SOLD_OUT = "sold_out"
    CANCELLED = "cancelled"
    ALREADY_PAID = "already_paid"


class ProviderOperation(StrEnum):
    """What payments asks of whoever moves the money."""

    CHARGE = "charge"
    RETRIEVE = "retrieve"
    REFUND = "refund"


class ProviderOutcome(StrEnum):
    """What came of it. After the last two, nobody knows whether money moved."""

    CAPTURED = "captured"
    DECLINED = "declined"
    PROCESSING = "processing"
    REFUNDED = "refunded"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    UNAVAILABLE = "unavailable"


class Event(BaseModel):
    """A fact that one service tells the others.

    `subject` is its address on the bus and its CloudEvents type; `stream`, its owner's, is where it is kept.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    subject: ClassVar[str]
    stream: ClassVar[str]

    def __init_subclass__(cls, subject: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if subject is not None:
            cls.subject = subject
            cls.stream = subject.partition(".")[0].upper()
            EVENTS[subject] = cls


EVENTS: dict[str, type[Event]] = {}
"""Every event by its subject."""


class UserRegistered(Event, subject="users.registered"):
    """Somebody signed up. Owner: auth. Readers: items (the seller's name)."""

    user_id: UserId
    email: str
    name: str


class ItemState(Event):
    """The whole item at `item_version`."""

    item_id: ItemId
    item_version: int
    seller_id: UserId
    title: str
    description: str
    price: MinorUnits
    currency: Currency
    quantity: Quantity
    status: ItemStatus
    pictures: tuple[Id, ...] = ()


class ItemListed(ItemState, subject="items.listed"):
    """An item is for sale. Owner: items. Readers: orders (opens its stock)."""


class ItemChanged(ItemState, subject="items.changed"):
    """The seller edited an item. Owner: items. Readers: orders. Open orders keep the price they were placed at."""


class ItemWithdrawn(ItemState, subject="items.withdrawn"):
    """No new orders; open ones live on. Owner: items. Readers: orders."""


class OrderState(Event):
    """The whole order at `order_version`. The amount due is `quantity * unit_price`."""

    order_id: OrderId
    order_version: int
    buyer_id: UserId
    seller_id: UserId
    item_id: ItemId
    item_title: str
    quantity: Quantity
    unit_price: MinorUnits
    currency: Currency
    expires_at: AwareDatetime


class OrderPlaced(OrderState, subject="orders.placed"):
    """A buyer holds `quantity` of an item until `expires_at`.

    Owner: orders. Readers: expiration (starts the clock), payments (copies the amount due).
    """


class OrderCancelled(OrderState, subject="orders.cancelled"):
    """The hold is given back. Owner: orders. Readers: expiration (stops the clock), payments (takes no more money)."""

    reason: CancelReason


class OrderPaid(OrderState, subject="orders.paid"):
    """The money came and the units are the buyer's. Owner: orders. Readers: expiration, payments."""

    payment_id: PaymentId


class OrderPaymentRejected(OrderState, subject="orders.payment_rejected"):
    """Money came for an order that can no longer be served. Owner: orders. Readers: payments (sends it back)."""

    payment_id: PaymentId
    reason: RejectReason


class OrderRefundRequested(OrderState, subject="orders.refund_requested"):
    """The seller gives the money back. Owner: orders. Readers: payments."""

    payment_id: PaymentId


class StockChanged(Event, subject="orders.stock_changed"):
    """What is left of an item: `available` of `quantity` offered. Owner: orders. Readers: items (shows it), web."""

    item_id: ItemId
    stock_version: int
    quantity: Quantity
    available: int


class HoldElapsed(Event, subject="expiration.elapsed"):
    """The time of an order's hold is over. Owner: expiration. Readers: orders (releases what is unpaid)."""

    order_id: OrderId


class PaymentState(Event):
    """A payment at `payment_version`. `amount` is what the buyer owes for the whole order."""

    payment_id: PaymentId
    payment_version: int
    order_id: OrderId
    buyer_id: UserId
    amount: MinorUnits
    currency: Currency


class PaymentProcessing(PaymentState, subject="payments.processing"):
    """The outcome comes later, perhaps only after the buyer has confirmed. Owner: payments. Readers: web."""


class PaymentCaptured(PaymentState, subject="payments.captured"):
    """The money is here. Owner: payments. Readers: orders (paid, or too late)."""


class PaymentFailed(PaymentState, subject="payments.failed"):
    """No money moved. Owner: payments. Readers: orders (tells the buyer why)."""

    reason: str


class PaymentRefunded(PaymentState, subject="payments.refunded"):
    """The money went back, once. Owner: payments. Readers: orders."""

    reason: str


class ProviderCalled(Event, subject="payments.provider_called"):
    """Payments asked the provider and was answered, or not, after `milliseconds`. Owner: payments. Readers: audit.

    `reference` is the provider's name for the charge, where it is known.
    """

    payment_id: PaymentId
    payment_version: int
    order_id: OrderId
    operation: ProviderOperation
    outcome: ProviderOutcome
    reference: str | None
    milliseconds: int


class DeadLetterDecided(Event):
    """What an operator decided about a dead letter, which a handler of a service gave up.

    `source_stream` and `source_sequence` are where the message lies that the letter is about.
    """

    letter_id: str
    letter_version: int
    service: str
    handler: str
    source_stream: str
    source_sequence: int
    by: str
    at: AwareDatetime
    reason: str | None


class DeadLetterReplayed(DeadLetterDecided, subject="letters.replayed"):
    """The handler is to see the message again. Owner: audit. Readers: every service with handlers."""


class DeadLetterDiscarded(DeadLetterDecided, subject="letters.discarded"):
    """Nothing is to be done about it, for this reason. Owner: audit. Readers: audit."""
