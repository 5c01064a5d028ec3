"""Calls for what a seller has sold, on their behalf. Each raises as `Api.send` does. Amounts are in minor units."""

from dataclasses import dataclass
from datetime import date
from urllib.parse import urlencode

from pydantic import BaseModel

from common.events import Currency
from common.http.paging import Page
from web.clients.api import PAGE_SIZE, Api
from web.clients.models import Order


class Sale(Order):
    """An order as its seller sees it."""

    buyer_id: str


class Money(BaseModel):
    """Sales in one currency: what is paid and not refunded, what is refunded, and what is held."""

    currency: Currency
    orders: int
    units: int
    revenue: int
    refunded: int
    held: int


class Day(BaseModel):
    """What was sold on a day (UTC), in one currency."""

    day: date
    currency: Currency
    units: int
    revenue: int


class ItemSold(BaseModel):
    """An item with orders in this time."""

    item_id: str
    title: str


class SalesTotals(BaseModel):
    """What was sold from one day to another."""

    first: date
    last: date
    currencies: list[Money]
    days: list[Day]
    items: list[ItemSold]


@dataclass(frozen=True)
class Chosen:
    """Which sales are asked for, as in the address of the page."""

    item_id: str | None = None
    status: str | None = None
    first: date | None = None
    last: date | None = None
    number: str | None = None

    @property
    def params(self) -> dict[str, object]:
        """The parameters of a call. None is what is not chosen."""
        days = {"from": self.first, "to": self.last}
        return {"item_id": self.item_id, "status": self.status, **days, "number": self.number}

    @property
    def query(self) -> str:
        """What stands in the address of the page; empty if nothing is chosen."""
        return urlencode({name: value for name, value in self.params.items() if value is not None})


async def sales(api: Api, chosen: Chosen, cursor: str | None = None, limit: int = PAGE_SIZE) -> Page[Sale]:
    """The chosen orders on the visitor's items, newest first."""
    answer = await api.get("orders", "sales", cursor=cursor, limit=limit, **chosen.params)
    return Page[Sale].model_validate_json(answer.content)


async def totals(api: Api, chosen: Chosen) -> SalesTotals:
    """What the visitor has sold on the chosen days; in the last thirty, if none are."""
    return SalesTotals.model_validate_json((await api.get("orders", "sales", "totals", **chosen.params)).content)


async def buyers(api: Api, item_id: str, cursor: str | None, last: str) -> dict[str, str]:
    """The names of who has bought an item, by paid order: of those after `cursor`, down to that with the id `last`."""
    names: dict[str, str] = {}
    while True:
        found = await sales(api, Chosen(item_id, "paid"), cursor, limit=100)
        names |= {order.id: order.buyer_name for order in found.items if order.buyer_name}
        if found.next is None or found.next <= last:
            return names
        cursor = found.next
