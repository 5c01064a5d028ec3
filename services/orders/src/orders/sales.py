"""What a seller has sold: chosen by item, status and day, and added up."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self

from pydantic import BaseModel

from common.events import Currency
from common.mongo.client import Collection, Database
from common.order_numbers import as_typed, end_of_id
from orders.domain import OrderStatus

MOST_DAYS = 366
"""Days over which sales are added up."""

MOST_ITEMS = 100
"""Items that totals name, those with the newest sale."""


@dataclass(frozen=True)
class Chosen:
    """Which sales of a seller: all, or those of an item, with a status, placed on these days (UTC, both included)."""

    seller_id: str
    item_id: str | None = None
    status: OrderStatus | None = None
    first: date | None = None
    last: date | None = None
    number: str | None = None
    """An order's number as somebody has typed it, or its id."""

    def bounded(self, today: date) -> Self:
        """The same with at most `MOST_DAYS`, the last of them; the last thirty days if none are chosen."""
        last = self.last or today
        earliest = last - timedelta(days=min(MOST_DAYS - 1, (last - date.min).days))
        usual = last - timedelta(days=min(29, (last - date.min).days))
        return replace(self, first=max(self.first, earliest) if self.first else usual, last=last)

    @property
    def query(self) -> dict[str, Any]:
        """The filter for MongoDB."""
        exact = {"seller_id": self.seller_id, "item_id": self.item_id, "status": self.status}
        query: dict[str, Any] = {name: value for name, value in exact.items() if value is not None}
        placed: dict[str, datetime] = {}
        if self.first:
            placed["$gte"] = datetime.combine(self.first, time.min, UTC)
        if self.last:
            placed["$lte"] = datetime.combine(self.last, time.max, UTC)
        if self.number is not None:
            query["_id"] = _ids(self.number)
        return query | ({"placed_at": placed} if placed else {})


class Money(BaseModel):
    """Sales in one currency, in minor units. `orders`, `units` and `revenue` are of what is paid and not refunded."""

    currency: Currency
    orders: int = 0
    units: int = 0
    revenue: int = 0
    refunded: int = 0
    held: int = 0


class Day(BaseModel):
    """What was paid and not refunded of the orders that were placed on a day (UTC), in one currency."""

    day: date
    currency: Currency
    orders: int
    units: int
    revenue: int


class ItemSold(BaseModel):
    """An item with orders in this time, by the title that it had in the newest of them."""

    item_id: str
    title: str


class Totals(BaseModel):
    """What a seller has sold from one day to another. Days without a sale are left out."""

    first: date
    last: date
    currencies: list[Money]
    days: list[Day]
    items: list[ItemSold]


class Sales:
    """Adds up the orders on a seller's items."""

    def __init__(self, db: Database) -> None:
        self._orders: Collection = db.orders

    async def totals(self, chosen: Chosen, today: date) -> Totals:
        """What was sold on the chosen days, at most `MOST_DAYS`. Status and number make no difference."""
        chosen = replace(chosen, status=None, number=None).bounded(today)
        day = {"$dateToString": {"date": "$placed_at", "format": "%Y-%m-%d"}}
        by_day = {
            "_id": {"day": day, "currency": "$currency", "status": "$status"},
            "orders": {"$sum": 1},
            "units": {"$sum": "$quantity"},
            "amount": {"$sum": {"$multiply": ["$quantity", "$unit_price"]}},
        }
        rows = await self._grouped(chosen, by_day)
        by_item = {"_id": "$item_id", "newest": {"$max": {"id": "$_id", "title": "$item_title"}}}
        items = await self._grouped(replace(chosen, item_id=None), by_item)
        items.sort(key=lambda row: str(row["newest"]["id"]), reverse=True)
        assert chosen.first is not None and chosen.last is not None  # noqa: S101, PT018 - `bounded` has set them
        return Totals(
            first=chosen.first,
            last=chosen.last,
            currencies=added_up(rows),
            days=sorted(
                (
                    Day(revenue=row["amount"], orders=row["orders"], units=row["units"], **_day_and_currency(row))
                    for row in rows
                    if row["_id"]["status"] == OrderStatus.PAID
                ),
                key=lambda day: (day.day, day.currency),
            ),
            items=[ItemSold(item_id=row["_id"], title=row["newest"]["title"]) for row in items[:MOST_ITEMS]],
        )

    async def _grouped(self, chosen: Chosen, group: Mapping[str, Any]) -> list[dict[str, Any]]:
        cursor = await self._orders.aggregate([{"$match": chosen.query}, {"$group": group}])
        return [dict(row) for row in await cursor.to_list()]


def added_up(rows: Iterable[Mapping[str, Any]]) -> list[Money]:
    """The totals of each currency, from sums by day, currency and status. What ended unpaid is no sale."""
    money: dict[str, Money] = {}
    for row in rows:
        currency, status = row["_id"]["currency"], row["_id"]["status"]
        total = money.setdefault(currency, Money(currency=currency))
        match status:
            case OrderStatus.PAID:
                total.orders += row["orders"]
                total.units += row["units"]
                total.revenue += row["amount"]
            case OrderStatus.REFUNDED:
                total.refunded += row["amount"]
            case OrderStatus.AWAITING_PAYMENT:
                total.held += row["amount"]
    return [money[currency] for currency in sorted(money)]


def _ids(number: str) -> dict[str, Any]:
    """The filter for the ids of orders with this number. The index of a seller's orders has what it looks at."""
    typed = as_typed(number) or as_typed(f"{number}-1")
    return {"$regex": f"{end_of_id(typed[0])}$"} if typed else {"$in": [number]}


def _day_and_currency(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"day": row["_id"]["day"], "currency": row["_id"]["currency"]}
