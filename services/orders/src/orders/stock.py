"""The stock of an item, from which orders take their units. No I/O."""

from datetime import datetime
from typing import Any, Self

from common.aggregate import Aggregate
from common.errors import Conflict, NotFound
from common.event_times import over_at
from common.events import Currency, Event, ItemState, ItemStatus, StockChanged


class ItemNotFound(NotFound):
    """No such item was ever for sale."""

    code = "item_not_found"


class ItemPaused(Conflict):
    """The seller takes no orders right now, and may take some later."""

    code = "item_paused"


class NotOnSaleYet(Conflict):
    """The sale has not started. The problem has the time at which it does: `sale_starts_at`."""

    code = "not_on_sale_yet"


class SaleOver(Conflict):
    """The time in which the seller takes orders is over, or the event is."""

    code = "sale_over"


class SoldOut(Conflict):
    """Fewer units are free than were asked for. The problem has how many there are: `available`."""

    code = "sold_out"


OFFER = (
    "seller_id",
    "title",
    "unit_price",
    "currency",
    "offered",
    "status",
    "item_version",
    "limit_per_buyer",
    "over_at",
    "sale_starts_at",
    "sale_ends_at",
)
"""Fields of a stock that are copied from the seller's offer."""


class Stock(Aggregate):
    """The stock of an item: the seller's newest offer, and how many units are taken.

    `taken` may exceed `offered` only when the seller lowers the offer below what is held and sold already.
    """

    seller_id: str
    title: str
    unit_price: int
    currency: Currency
    offered: int
    status: ItemStatus
    item_version: int
    limit_per_buyer: int | None = None
    """Units that one buyer may hold and have paid for, if the seller has set a limit."""
    over_at: datetime | None = None
    """When an event is over (`common.event_times`). A thing has none."""
    sale_starts_at: datetime | None = None
    sale_ends_at: datetime | None = None
    taken: int = 0

    @classmethod
    def open(cls, item: ItemState) -> Self:
        """The stock of an item whose first event arrived."""
        stock = cls(id=item.item_id, **cls._offer(item))
        stock._changed()
        return stock

    def offer(self) -> dict[str, Any]:
        """The seller's newest offer, as it is stored here."""
        return {name: getattr(self, name) for name in OFFER}

    def restate(self, item: ItemState, taken: int, published_version: int) -> None:
        """Repair the stock: the offer is that of `item` unless a newer one is known, and `taken` units are taken.

        The next version is newer than `published_version`, the newest one published, so that readers accept it.
        """
        if item.item_version >= self.item_version:
            for name, value in self._offer(item).items():
                setattr(self, name, value)
        self.taken = taken
        self.version = max(self.version, published_version)
        self._changed()

    @staticmethod
    def _offer(item: ItemState) -> dict[str, Any]:
        return {
            "seller_id": item.seller_id,
            "title": item.title,
            "unit_price": item.price,
            "currency": item.currency,
            "offered": item.quantity,
            "status": item.status,
            "item_version": item.item_version,
            "limit_per_buyer": item.limit_per_buyer,
            "over_at": over_at(item.starts_at, item.ends_at),
            "sale_starts_at": item.sale_starts_at,
            "sale_ends_at": item.sale_ends_at,
        }

    @property
    def free(self) -> int:
        """Units that can be taken now."""
        return max(0, self.offered - self.taken) if self.status is ItemStatus.LISTED else 0

    def follow(self, item: ItemState) -> None:
        """Copy the seller's newest offer. An older one, or the same again, changes nothing.

        Every version that is followed is published: the seller learns by it that an edit binds.
        """
        if item.item_version <= self.item_version:
            return
        for name, value in self._offer(item).items():
            setattr(self, name, value)
        self._changed()

    def check_on_sale(self, now: datetime) -> None:
        """Raise if the seller takes no orders at this time. For new orders only; what is withdrawn they refuse.

        Raises `ItemNotFound` for a draft, `ItemPaused`, `NotOnSaleYet` or `SaleOver`.
        """
        if self.status is ItemStatus.DRAFT:
            raise ItemNotFound("there is no such item")
        if self.status is ItemStatus.PAUSED:
            raise ItemPaused("the seller takes no orders for this right now")
        if self.status is ItemStatus.WITHDRAWN:
            return
        if self.sale_starts_at and now < self.sale_starts_at:
            starts_at = self.sale_starts_at.isoformat()
            raise NotOnSaleYet(f"the sale starts at {starts_at}", sale_starts_at=starts_at)
        if self.sale_ends_at and now >= self.sale_ends_at:
            raise SaleOver("the sale is over")
        if self.over_at and now >= self.over_at:
            raise SaleOver("the event is over")

    def take(self, quantity: int) -> None:
        """Take units. Raises `SoldOut`, taking none, when fewer are free."""
        if quantity > self.free:
            raise SoldOut(f"only {self.free} left" if self.free else "sold out", available=self.free)
        self.taken += quantity
        self._changed()

    def give_back(self, quantity: int) -> None:
        """Put units back on sale."""
        self.taken -= quantity
        self._changed()

    def restated(self) -> list[Event]:
        """What is left."""
        return [self._as_event(self.version, restated=True)]

    def _changed(self) -> None:
        """However often stock changes before it is saved, one event carries the outcome."""
        self._recorded[:] = [self._as_event(self.next_version)]

    def _as_event(self, version: int, restated: bool = False) -> StockChanged:
        return StockChanged(
            item_id=self.id,
            stock_version=version,
            quantity=self.offered,
            available=self.free,
            item_version=self.item_version,
            restated=restated,
        )
