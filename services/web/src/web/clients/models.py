"""What services answer, as far as pages show it. Amounts are in minor units."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from zlib import crc32

from pydantic import BaseModel, Field, TypeAdapter

from common.clock import now
from common.event_times import over_at
from common.events import Category, Currency, ItemKind
from common.http.paging import Page
from common.order_numbers import readable_number


class Picture(BaseModel):
    """A picture of an item: the paths of its sizes."""

    id: str
    small: str
    medium: str = ""
    """Empty while items is of a revision that has none."""
    large: str
    x: int = 50
    y: int = 50
    """The point that stays visible where it is cropped: percent from the left and from the top."""

    @property
    def srcset(self) -> str:
        """The sizes for a card, which is never so large that the largest is needed."""
        return f"{self.small} 480w, {self.medium} 960w" if self.medium else ""

    @property
    def focus(self) -> str:
        """The classes that keep that point visible, to 5 percent: the security policy allows no style of its own."""
        return f"fx-{round(self.x / 5) * 5} fy-{round(self.y / 5) * 5}"


TEXTS = ("title", "description", "starts_at", "ends_at", "doors_at", "venue", "city", "timezone")
"""What an item is, when and where."""

FEW = 5
"""So many units are few, if at least half of what was offered has gone: who offers five has not sold out nearly."""


class Sale(StrEnum):
    """Where an item is in the time in which it is sold. Orders decides by its own clock."""

    EARLY = "early"
    OPEN = "open"
    OVER = "over"
    ENDED = "ended"
    """The event itself is over."""


class Units(BaseModel):
    """How many units of an item await payment, and how many are paid."""

    item_id: str
    held: int
    sold: int


class Item(BaseModel):
    """An item as everybody sees it."""

    id: str
    seller_id: str
    seller_name: str | None
    title: str
    description: str
    price: int
    currency: Currency
    quantity: int
    available: int
    status: str
    version: int
    pictures: list[Picture] = []
    limit_per_buyer: int | None = None
    sale_starts_at: datetime | None = None
    sale_ends_at: datetime | None = None
    kind: ItemKind = ItemKind.THING
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    doors_at: datetime | None = None
    venue: str | None = None
    city: str | None = None
    timezone: str | None = None
    category: Category | None = None
    tags: list[str] = []
    in_effect: bool = True
    """Whether orders sells by this version, and no longer by an earlier one."""
    units: Units | None = None
    """As orders counts them, where a page needs it."""

    @property
    def wording(self) -> str:
        """Another one whenever one of its `TEXTS` is another."""
        return f"{crc32(repr([str(getattr(self, name)) for name in TEXTS]).encode()):x}"

    @property
    def is_event(self) -> bool:
        """Whether its units are tickets."""
        return self.kind is ItemKind.EVENT

    @property
    def listed(self) -> bool:
        """Whether the seller takes orders."""
        return self.status == "listed"

    @property
    def sale(self) -> Sale:
        """Whether its sale has started, and whether it is over."""
        over = over_at(self.starts_at, self.ends_at)
        if over and now() >= over:
            return Sale.ENDED
        if self.sale_ends_at and now() >= self.sale_ends_at:
            return Sale.OVER
        return Sale.EARLY if self.sale_starts_at and now() < self.sale_starts_at else Sale.OPEN

    @property
    def reserved(self) -> bool:
        """Whether none is free, but some are not paid yet and may come back."""
        return not self.available and self.units is not None and self.units.held > 0

    def is_few(self, left: int) -> bool:
        """Whether so many units are few, and there were more."""
        return left <= FEW and 2 * left <= self.quantity

    @property
    def left(self) -> int:
        """Units that can be ordered now."""
        return self.available if self.listed and self.sale is Sale.OPEN else 0


class FoundItems(Page[Item]):
    """A page of items. `total` and `facets`, numbers of items by value, are of the whole list, up to a bound."""

    total: int = 0
    total_is_bound: bool = False
    facets: Mapping[str, Mapping[str, int]] = {}


class OrderSnapshot(BaseModel):
    """An order as it is or was at some moment."""

    item_title: str
    quantity: int
    unit_price: int
    total: int
    currency: Currency
    status: str
    expires_at: datetime
    late_payment: str | None
    refund_requested: bool
    accepted_payment: str | None = None
    refund_failure: str | None = None
    dispute: str | None = None

    @property
    def held(self) -> bool:
        """Whether the time to pay runs. Until it is over, the buyer may cancel."""
        return self.status == "awaiting_payment" and self.accepted_payment is None

    @property
    def being_paid(self) -> bool:
        """Whether its units are kept for a payment that is being captured: it neither expires nor can be cancelled."""
        return self.status == "awaiting_payment" and self.accepted_payment is not None

    @property
    def over(self) -> bool:
        """Whether it ended unpaid: its buyer may want to hold the same again."""
        return self.status in {"expired", "cancelled"}

    @property
    def refund_under_way(self) -> bool:
        """Whether the seller has asked for a refund that has not arrived yet, and that no bank has overtaken."""
        return self.status == "paid" and self.refund_requested and not self.refund_failure and not self.with_bank

    @property
    def refundable(self) -> bool:
        """Whether its money can be sent back. What a bank has taken cannot."""
        return self.status == "paid" and not self.refund_requested and not self.with_bank

    @property
    def with_bank(self) -> bool:
        """Whether the buyer's bank has taken the money back, for good or until it has decided."""
        return self.dispute in {"open", "lost"}


class Order(OrderSnapshot):
    """An order as its buyer and its seller see it."""

    id: str
    buyer_name: str | None
    item_id: str
    placed_at: datetime
    cancel_reason: str | None
    payment_failure: str | None = None
    version: int

    @property
    def number(self) -> str:
        """The number that people can read out."""
        return readable_number(self.id)


class TroubledPayment(BaseModel):
    """A payment whose refund failed, or which is disputed. `reference` is the provider's id of the charge."""

    id: str
    order_id: str
    amount: int
    currency: Currency
    status: str
    reason: str | None
    reference: str
    refund_reason: str | None
    refund_attempt: int
    refunded_amount: int = 0
    settled_amount: int = 0
    dispute: str | None
    in_trouble_since: datetime | None

    @property
    def number(self) -> str:
        """The number of its order that people can read out."""
        return readable_number(self.order_id)


class Payment(BaseModel):
    """An attempt to pay an order."""

    status: str
    refunded_amount: int = 0
    client_secret: str | None = Field(default=None, repr=False)
    """Set while the buyer's bank waits for a confirmation. The page confirms with it."""


class Session(BaseModel):
    """A session of the visitor: a device, the network that it was last seen in, and whether it is this one."""

    id: str
    device: str
    address: str
    created_at: datetime
    last_seen: datetime
    current: bool


class Passkey(BaseModel):
    """One of the visitor's passkeys."""

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


UNITS = TypeAdapter(list[Units])
PASSKEYS = TypeAdapter(list[Passkey])
SESSIONS = TypeAdapter(list[Session])
