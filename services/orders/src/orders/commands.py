"""What can be asked of the reservation desk. Commands that wait at the same time are decided as one `Group`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from common.clock import now
from common.events import Currency, ItemState
from common.ids import new_id
from orders.domain import Order
from orders.stock import Stock


@dataclass(frozen=True)
class PlaceOrder:
    """Hold `quantity` units of an item for a buyer, if they have the expected price, if any.

    `key` is the buyer's Idempotency-Key, `network` is where they are: None on the machine that Souk runs on.
    """

    item_id: str
    quantity: int
    buyer_id: str
    buyer_name: str
    key: str | None = None
    network: str | None = None
    expected_unit_price: int | None = None
    expected_currency: Currency | None = None
    now: datetime = field(default_factory=now)
    order_id: str = field(default_factory=new_id)

    @property
    def answer_key(self) -> str | None:
        """The id under which the answer is stored: each buyer has keys of their own."""
        return f"{self.buyer_id}/{self.key}" if self.key else None

    @property
    def fingerprint(self) -> str:
        """Equal for requests with the same body."""
        asked = (self.item_id, self.quantity, self.expected_unit_price, self.expected_currency)
        return "/".join(str(value) for value in asked if value is not None)


@dataclass(frozen=True)
class ChangeOrder:
    """Apply a transition to an order and the stock of its item."""

    order_id: str
    transition: Callable[[Order, Stock], None]


@dataclass(frozen=True)
class FollowItem:
    """Copy the seller's newest offer of an item."""

    item: ItemState


Command = PlaceOrder | ChangeOrder | FollowItem
