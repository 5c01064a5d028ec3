"""What services answer, as far as pages show it. Amounts are in minor units."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field, TypeAdapter

from common.clock import now
from common.events import Category, Currency, ItemKind
from common.http.paging import Page


class Picture(BaseModel):
    """A picture of an item: the paths of its two sizes."""

    id: str
    small: str
    large: str


FEW = 5
"""So many units are few."""


class Sale(StrEnum):
    """Where an item is in the time in which it is sold. Orders decides by its own clock."""

    EARLY = "early"
    OPEN = "open"
    OVER = "over"


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
        if self.sale_ends_at and now() >= self.sale_ends_at:
            return Sale.OVER
        return Sale.EARLY if self.sale_starts_at and now() < self.sale_starts_at else Sale.OPEN

    @property
    def reserved(self) -> bool:
        """Whether none is free, but some are not paid yet and may come back."""
        return not self.available and self.units is not None and self.units.held > 0

    def is_few(self, left: int) -> bool:
        """Whether so many units are few. A single thing was never more."""
        return left <= FEW and self.quantity > 1

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
        """Whether the seller has asked for a refund that has not arrived yet."""
        return self.status == "paid" and self.refund_requested and not self.refund_failure


class Order(OrderSnapshot):
    """An order as its buyer and its seller see it."""

    id: str
    buyer_name: str | None
    item_id: str
    placed_at: datetime
    cancel_reason: str | None
    payment_failure: str | None = None
    version: int


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
    dispute: str | None
    in_trouble_since: datetime | None


class Payment(BaseModel):
    """An attempt to pay an order."""

    status: str
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
