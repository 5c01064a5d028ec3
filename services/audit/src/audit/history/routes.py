"""HTTP models and routes of histories and of the search for them. No rules, no queries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, StringConstraints

from audit.event_log.domain import ItemNotFound, OrderNotFound, PaymentNotFound
from audit.history.histories import Histories, History, Hit
from audit.history.snapshot import OrderThen, PaymentThen, Snapshot, StockThen
from audit.history.timeline import Line, event_in
from common.events import Currency, ItemState, OrderState
from common.http.dependencies import Provided
from common.http.paging import EXAMPLE_ID, Cursor, Limit, Page, page_of
from common.http.problems import problems
from common.order_numbers import readable_number
from common.text import LINE

router = APIRouter()

OrderInPath = Annotated[str, Path(description="The order's id.", examples=[EXAMPLE_ID])]
PaymentInPath = Annotated[str, Path(description="The payment's id.", examples=[EXAMPLE_ID])]
ItemInPath = Annotated[str, Path(description="The item's id.", examples=[EXAMPLE_ID])]
TheHistories = Annotated[Histories, Provided(Histories)]
SearchText = Annotated[
    str,
    StringConstraints(min_length=1, max_length=254, strip_whitespace=True),
    LINE,
    Query(
        description="An id, an order's number, an e-mail address, a name, or words or parts of words of a title.",
        examples=["ada@souk.test"],
    ),
]


class HitView(BaseModel):
    """Something found. `kind` is order, item or payment. What follows `time` is of orders alone, as they are now.

    `total` is in minor units of `currency`, `number` can be read out; `buyer_name` is null if auth does not say it.
    """

    kind: str
    id: str
    label: str
    time: datetime
    number: str | None = None
    status: str | None = None
    total: int | None = None
    currency: Currency | None = None
    buyer_id: str | None = None
    buyer_name: str | None = None

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """The view of what was found."""
        match event_in(hit.entry):
            case OrderState(item_title=title, quantity=quantity):
                label = f"{quantity} x {title}"
            case ItemState(title=title):
                label = title
            case _:
                label = hit.entry.keys.get("order_id", hit.id)
        view = cls(kind=hit.kind, id=hit.id, label=label, time=hit.entry.time)
        if hit.kind == "order":
            view.number, view.buyer_name = readable_number(hit.id), hit.buyer_name
        if order := hit.order:
            view.status, view.total, view.currency = order.status, order.total, order.currency
            view.buyer_id = order.buyer_id
        return view


class LineView(BaseModel):
    """One thing that happened. A cause always comes before its effects."""

    id: str
    kind: str
    service: str
    subject: str
    time: datetime
    caused_by: str | None
    request_id: str | None
    fields: dict[str, Any]

    @classmethod
    def all_of(cls, timeline: Sequence[Line]) -> list[Self]:
        """The views of a timeline."""
        return [cls.model_validate(line, from_attributes=True) for line in timeline]


class StateView(BaseModel):
    """The state of an order, its item's stock and its payments at a moment."""

    at: datetime
    order: OrderThen | None
    stock: StockThen | None
    payments: list[PaymentThen]

    @classmethod
    def of(cls, at: datetime, snapshot: Snapshot) -> Self:
        """The view of a snapshot."""
        return cls(at=at, order=snapshot.order, stock=snapshot.stock, payments=list(snapshot.payments.values()))

    @classmethod
    def all_of(cls, history: History) -> list[Self]:
        """The state after each line of the timeline."""
        return [cls.of(line.time, snapshot) for line, snapshot in zip(history.timeline, history.snapshots, strict=True)]


class OrderHistory(BaseModel):
    """An order as it is now, what happened to it, and the state after each step."""

    order: OrderThen | None
    story: list[LineView]
    states: list[StateView]


class PaymentHistory(BaseModel):
    """A payment as it is now, its order, and what happened to it."""

    payment: PaymentThen | None
    order_id: str | None
    story: list[LineView]


class ItemHistory(BaseModel):
    """An item as its seller last described it, its stock, its newest events, and its orders."""

    item: dict[str, Any]
    stock: StockThen | None
    story: list[LineView]
    orders: Page[HitView]


@router.get("/search")
async def search(q: SearchText, histories: TheHistories, limit: Limit = 20, cursor: Cursor = None) -> Page[HitView]:
    """Search by an id or an order's number; by a buyer's or seller's id, email address or name; or by an item's title,
    which may be one that it had before. Newest first: items, and orders with their status, amount and buyer.
    """
    return await page_of(lambda most: histories.search(q, most, cursor), limit, HitView.of, lambda hit: hit.id)


@router.get("/orders/{order_id}", responses=problems(OrderNotFound))
async def order_history(order_id: OrderInPath, histories: TheHistories) -> OrderHistory:
    """The history of an order across all services."""
    history = await histories.order(order_id)
    states = StateView.all_of(history)
    return OrderHistory(order=states[-1].order, story=LineView.all_of(history.timeline), states=states)


@router.get("/payments/{payment_id}", responses=problems(PaymentNotFound))
async def payment_history(payment_id: PaymentInPath, histories: TheHistories) -> PaymentHistory:
    """The history of a payment. The history of its order has more."""
    history = await histories.payment(payment_id)
    order_ids = [line.fields["order_id"] for line in history.timeline if "order_id" in line.fields]
    return PaymentHistory(
        payment=history.snapshots[-1].payments.get(payment_id),
        order_id=order_ids[0] if order_ids else None,
        story=LineView.all_of(history.timeline),
    )


@router.get("/items/{item_id}", responses=problems(ItemNotFound))
async def item_history(
    item_id: ItemInPath,
    histories: TheHistories,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> ItemHistory:
    """The newest events of an item, and its orders, newest first."""
    history = await histories.item(item_id)
    orders = await page_of(
        lambda most: histories.orders_of_item(item_id, most, cursor), limit, HitView.of, lambda hit: hit.id
    )
    offers = [line.event for line in history.timeline if isinstance(line.event, ItemState)]
    offer = max(offers, key=lambda offer: offer.item_version).model_dump(mode="json") if offers else {}
    item = {"id": item_id, "version": offer.pop("item_version", None), **offer}
    item.pop("item_id", None)
    timeline = LineView.all_of(history.timeline)
    return ItemHistory(item=item, stock=history.snapshots[-1].stock, story=timeline, orders=orders)
