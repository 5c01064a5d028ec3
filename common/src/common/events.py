"""Every event that crosses the bus, and the value types in it. No behaviour.

A docstring says what an event means and which service owns it; the README's table says which services read it.

Events that copy state carry all of it, with its version. A reader keeps the newest version and ignores older ones, so
the order of arrival does not matter. An event may get new fields with a default; the fields it has never change.
"""

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]
UserId = Id
ItemId = Id
OrderId = Id
PaymentId = Id
SessionId = Id
RequestId = Id
PasskeyId = Id

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
    """Whether new orders may be placed: while it is listed. Withdrawing is for ever, pausing is not.

    A draft is there for its seller alone.
    """

    DRAFT = "draft"
    LISTED = "listed"
    PAUSED = "paused"
    WITHDRAWN = "withdrawn"


class ItemKind(StrEnum):
    """An event takes place somewhere at some time, and its units are tickets. It is fixed when an item is listed."""

    THING = "thing"
    EVENT = "event"


class Category(StrEnum):
    """What an item has to do with, so that it is found. Those up to `nightlife` are for events in the first place."""

    MUSIC = "music"
    THEATRE = "theatre"
    COMEDY = "comedy"
    SPORTS = "sports"
    FILM = "film"
    ARTS = "arts"
    TALKS = "talks"
    FAMILY = "family"
    FOOD = "food"
    NIGHTLIFE = "nightlife"
    FASHION = "fashion"
    HOME = "home"
    ELECTRONICS = "electronics"
    BOOKS = "books"
    COLLECTIBLES = "collectibles"
    OTHER = "other"


class CancelReason(StrEnum):
    """Why an order ended unpaid."""

    BUYER = "buyer"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    OPERATOR = "operator"
    PAYMENT_FAILED = "payment_failed"


class RejectReason(StrEnum):
    """Why an order does not accept a payment, which is then released or refunded."""

    SOLD_OUT = "sold_out"
    CANCELLED = "cancelled"
    ALREADY_PAID = "already_paid"


class ProviderOperation(StrEnum):
    """What payments asks the payment provider to do."""

    CHARGE = "charge"
    CAPTURE = "capture"
    RELEASE = "release"
    RETRIEVE = "retrieve"
    REFUND = "refund"


class ProviderOutcome(StrEnum):
    """The result of a call to the payment provider. After the last two it is unknown whether money moved."""

    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    DECLINED = "declined"
    PROCESSING = "processing"
    RELEASED = "released"
    REFUNDED = "refunded"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    TIMED_OUT = "timed_out"
    UNAVAILABLE = "unavailable"


class DisputeStatus(StrEnum):
    """Who has the money of a disputed payment: the bank until the dispute is decided, Souk if it is won."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class SessionEnd(StrEnum):
    """Why a session ended before its time. `reused`: a refresh token came twice, so somebody has a copy of it."""

    SIGNED_OUT = "signed_out"
    ENDED_BY_USER = "ended_by_user"
    REUSED = "reused"


class PasskeyChange(StrEnum):
    """What has changed about signing in without a password.

    `copied`: a passkey was refused, because its counter shows that somebody has a copy of it. `reset`: all of
    them, and the codes, are gone, because the password was reset by mail, or by whoever runs Souk.
    """

    ADDED = "added"
    REMOVED = "removed"
    COPIED = "copied"
    CODES_MADE = "codes_made"
    CODE_USED = "code_used"
    RESET = "reset"


class Event(BaseModel):
    """Something that happened, published by the service that owns it.

    `subject` is its address on the bus and its CloudEvents type. `stream` is the owner's stream, which stores it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    subject: ClassVar[str]
    stream: ClassVar[str]

    restated: Annotated[bool, Field(exclude_if=lambda restated: not restated)] = False
    """Its owner says again what is so, because the bus lost its streams. Events before it may be lost for ever."""

    def __init_subclass__(cls, subject: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if subject is not None:
            cls.subject = subject
            cls.stream = subject.partition(".")[0].upper()
            EVENTS[subject] = cls


EVENTS: dict[str, type[Event]] = {}
"""Every event by its subject."""

Untold = Annotated[str | None, Field(exclude_if=lambda text: text is None)]
"""A name or an address in an event of a revision before. Now readers ask its owner (docs/decisions/privacy.md)."""


class UserRegistered(Event, subject="users.registered"):
    """A user signed up. Owner: auth. Who it is auth says on request (`common.directory`).

    `language` is that of their mails (BCP 47).
    """

    user_id: UserId
    email: Untold = None
    name: Untold = None
    language: str = "en"
    email_version: int = 1


class UserErased(Event, subject="users.erased"):
    """The user deleted their account: whoever keeps anything about them but the id forgets it, for good. Owner: auth.

    It comes twice: at once, and again when no access token of theirs counts any longer.
    """

    user_id: UserId
    account_version: int


class VerificationRequested(Event, subject="users.verification_requested"):
    """A link that proves the user's address is to be mailed there, `welcome` if at sign-up. Owner: auth.

    The link's token is made of `request_id` and a key (`common.mail_tokens`), so the event holds no secret. The same
    holds for the other requests.
    """

    user_id: UserId
    request_id: RequestId
    email: Untold = None
    welcome: bool = False
    email_version: int = 1


class UserVerified(Event, subject="users.verified"):
    """The user has proved that their address is theirs; older access tokens do not say so. Owner: auth."""

    user_id: UserId
    account_version: int


class PasswordResetRequested(Event, subject="users.password_reset_requested"):
    """A link to set a new password is to be mailed to the user, at no older address than this one's. Owner: auth."""

    user_id: UserId
    request_id: RequestId
    email_version: int = 1


class PasswordChanged(Event, subject="users.password_changed"):
    """The user has a new password. Owner: auth."""

    user_id: UserId


class EmailChangeRequested(Event, subject="users.email_change_requested"):
    """A link that confirms the user's new address is to be mailed there. Owner: auth."""

    user_id: UserId
    request_id: RequestId
    new_email: Untold = None


class EmailChanged(Event, subject="users.email_changed"):
    """The user has another address, as the request asked for. Owner: auth.

    Readers keep the address of the highest `email_version`.
    """

    user_id: UserId
    account_version: int
    email_version: int
    request_id: RequestId | None = None
    email: Untold = None
    old_email: Untold = None


class PasskeysChanged(Event, subject="users.passkeys_changed"):
    """The user's passkeys or recovery codes have changed, or one was misused: they are told by mail. Owner: auth."""

    user_id: UserId
    change: PasskeyChange
    passkey_id: PasskeyId | None = None
    codes_left: int | None = None


class SignUpRepeated(Event, subject="users.sign_up_repeated"):
    """Somebody tried to sign up with the address of this user, who is told by mail. Owner: auth."""

    user_id: UserId


class SessionEnded(Event, subject="users.session_ended"):
    """A session was ended before its time: its access tokens count no longer. Owner: auth."""

    session_id: SessionId
    user_id: UserId
    ended_at: AwareDatetime
    reason: SessionEnd


class RolesChanged(Event, subject="users.roles_changed"):
    """A user has these roles from `account_version` on; access tokens of an older version are outdated. Owner: auth."""

    user_id: UserId
    account_version: int
    roles: tuple[str, ...]
    at: AwareDatetime


class ItemState(Event):
    """The whole item at `item_version`. Only an event has the fields from `starts_at` to `timezone`."""

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
    focal_points: dict[Id, tuple[int, int]] = {}
    """Of pictures that have one: percent from the left and from the top."""
    limit_per_buyer: Quantity | None = None
    sale_starts_at: AwareDatetime | None = None
    sale_ends_at: AwareDatetime | None = None
    kind: ItemKind = ItemKind.THING
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None
    doors_at: AwareDatetime | None = None
    venue: str | None = None
    city: str | None = None
    timezone: str | None = None
    category: Category | None = None
    tags: tuple[str, ...] = ()


class ItemListed(ItemState, subject="items.listed"):
    """There is a new item: for sale, or a draft. Owner: items."""


class ItemChanged(ItemState, subject="items.changed"):
    """The seller edited, published, paused or resumed an item. Owner: items.

    Open orders keep the price they were placed at.
    """


class ItemWithdrawn(ItemState, subject="items.withdrawn"):
    """An item takes no new orders; open orders go on. Owner: items."""


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
    """A buyer holds `quantity` of an item until `expires_at`. Owner: orders."""


class OrderCancelled(OrderState, subject="orders.cancelled"):
    """An order ended unpaid, and its units are free again. Owner: orders."""

    reason: CancelReason


class OrderPaymentAccepted(OrderState, subject="orders.payment_accepted"):
    """The units are the buyer's once this authorized payment is captured; the hold no longer ends. Owner: orders."""

    payment_id: PaymentId


class OrderPaid(OrderState, subject="orders.paid"):
    """An order is paid: its units are the buyer's. Owner: orders."""

    payment_id: PaymentId


class OrderPaymentRejected(OrderState, subject="orders.payment_rejected"):
    """A payment was authorized or captured for an order that can no longer be fulfilled. Owner: orders."""

    payment_id: PaymentId
    reason: RejectReason


class OrderRefundRequested(OrderState, subject="orders.refund_requested"):
    """The seller wants a paid order refunded. Owner: orders."""

    payment_id: PaymentId


class StockChanged(Event, subject="orders.stock_changed"):
    """What is left of an item: `available` of `quantity` offered. Owner: orders.

    Orders sells by `item_version` of the item and no longer by an older one. None in events of the first revision.
    """

    item_id: ItemId
    stock_version: int
    quantity: Quantity
    available: int
    item_version: int | None = None


class HoldElapsed(Event, subject="expiration.elapsed"):
    """The hold of an order has reached its deadline. Owner: expiration."""

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
    """The payment's outcome comes later, perhaps only after the buyer confirms it. Owner: payments."""


class PaymentAuthorized(PaymentState, subject="payments.authorized"):
    """The bank keeps the amount ready, and nothing has moved: orders says whether to capture it. Owner: payments."""


class PaymentCaptured(PaymentState, subject="payments.captured"):
    """The money of a payment was captured. Owner: payments."""


class PaymentFailed(PaymentState, subject="payments.failed"):
    """A payment failed and no money moved. Owner: payments."""

    reason: str


class PaymentReleased(PaymentState, subject="payments.released"):
    """The authorization of a payment was given up, and no money moved. Owner: payments."""

    reason: str


class PaymentRefunded(PaymentState, subject="payments.refunded"):
    """The money of a payment went back to the buyer. Owner: payments.

    If a refund had failed and an operator paid it by other means, `settled_by` is their address and `settlement` their
    reason. `refunded_before` is the part that had gone back before, as was published.
    """

    reason: str
    settled_by: str | None = None
    settlement: str | None = None
    refunded_before: MinorUnits = 0


class PaymentPartlyRefunded(PaymentState, subject="payments.partly_refunded"):
    """A part of the money of a payment went back at the provider: `refunded_amount` in all. Owner: payments.

    Everything else stays as it is. Before, `refunded_before` was published. The amount becomes less only if the refund
    of a part fails later: then `failure` is the reason.
    """

    refunded_amount: MinorUnits
    refunded_before: MinorUnits = 0
    failure: str | None = None


class PaymentRefundFailed(PaymentState, subject="payments.refund_failed"):
    """The provider could not give the money back, so it is still here: an operator settles it. Owner: payments.

    All but `refunded_amount`, which went back nevertheless.
    """

    reason: str
    refunded_amount: MinorUnits = 0


class PaymentRefundRetried(PaymentState, subject="payments.refund_retried"):
    """An operator, whose address is `by`, had a failed refund made once more. Owner: payments."""

    by: str


class PaymentDisputed(PaymentState, subject="payments.disputed"):
    """The buyer's bank took the money back, at least until the dispute is decided. Owner: payments."""

    reason: str
    dispute: DisputeStatus


class ProviderCalled(Event, subject="payments.provider_called"):
    """A call to the payment provider returned, or failed, after `milliseconds`. Owner: payments.

    `reference` is the provider's id of the charge, if it is known.
    """

    payment_id: PaymentId
    payment_version: int
    order_id: OrderId
    operation: ProviderOperation
    outcome: ProviderOutcome
    reference: str | None
    milliseconds: int


class BookingState(Event):
    """The tickets of an order at `tickets_version`: `quantity` of them. A ticket's id is `order_id-unit`, from 1 on."""

    order_id: OrderId
    tickets_version: int
    item_id: ItemId
    buyer_id: UserId
    seller_id: UserId
    quantity: Quantity


class TicketsIssued(BookingState, subject="tickets.issued"):
    """The order of an event is paid, so its buyer has a ticket for each unit. Owner: tickets."""


class TicketsRevoked(BookingState, subject="tickets.revoked"):
    """The order's money goes back, so none of its tickets admits anybody. Owner: tickets."""


class TicketState(Event):
    """A ticket at `tickets_version` of its order. Codes of another `generation` than this admit nobody."""

    ticket_id: Id
    order_id: OrderId
    tickets_version: int
    item_id: ItemId
    generation: int
    holder_id: UserId


class TicketTransferOffered(TicketState, subject="tickets.transfer_offered"):
    """A link that makes the ticket somebody else's is to be mailed. Owner: tickets. To whom it says on request.

    The link's token is made of `request_id` and a key (`common.mail_tokens`), so the event holds no secret.
    """

    request_id: RequestId
    email: Untold = None
    item_title: str


class TicketTransferred(TicketState, subject="tickets.transferred"):
    """Somebody accepted the ticket, which has a new generation and is theirs. Owner: tickets."""

    previous_holder_id: UserId


class TicketAdmitted(TicketState, subject="tickets.admitted"):
    """Somebody was admitted at a gate. Owner: tickets.

    `again`: nobody should have been, but the gate could not ask: the ticket was used already, revoked, or given away.
    `generation` is that of the code, so it may be older than that of the holder.
    """

    gate_id: Id
    gate: str
    at: AwareDatetime
    again: bool = False


class DeadLetterDecided(Event):
    """What an operator decided about a dead letter: a message that a `handler` of a `service` could not handle.

    `source_stream` and `source_sequence` say where the message is stored.
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
    """The handler gets the message again. Owner: audit."""


class DeadLetterDiscarded(DeadLetterDecided, subject="letters.discarded"):
    """Nothing is to be done about the dead letter, for `reason`. Owner: audit."""
