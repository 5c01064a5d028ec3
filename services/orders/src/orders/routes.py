"""HTTP models and routes of orders. No rules, no queries."""

from datetime import date, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Path, Query, Request, status
from pydantic import BaseModel, Field, StringConstraints

from common.errors import IdempotencyKeyReused
from common.events import CancelReason, Currency, DisputeStatus, ItemId, MinorUnits, Quantity
from common.http.dependencies import IdempotencyKey, Now, Provided
from common.http.network import network_of_caller
from common.http.paging import EXAMPLE_ID, Body, Cursor, Limit, Page, page_of
from common.http.problems import problems
from common.http.sessions import (
    OPERATOR,
    CurrentSession,
    CurrentUser,
    EmailNotVerified,
    PasskeyNeeded,
    ProofNeeded,
    Session,
    Sessions,
    VerifiedUser,
)
from common.security_log import note
from common.text import CALENDAR
from orders.commands import PlaceOrder
from orders.desk import ReservationDesk
from orders.domain import (
    HoldLimit,
    ItemWithdrawn,
    LatePayment,
    NotSeller,
    Order,
    OrderAlreadyPaid,
    OrderNotFound,
    OrderNotPaid,
    OrderPhase,
    OrderStatus,
    OwnItem,
    PriceChanged,
)
from orders.holds import BuyerLimit, NetworkHolds, TooManyHolds, TotalHoldLimit
from orders.sales import Chosen, Sales, Totals
from orders.settings import OrdersSettings
from orders.stock import ItemNotFound, ItemPaused, NotOnSaleYet, SaleOver, SoldOut
from orders.store import OrderStore
from orders.units import UnitCounter, Units

router = APIRouter(prefix="/api/orders", tags=["orders"])

Store = Annotated[OrderStore, Provided(OrderStore)]
TheSales = Annotated[Sales, Provided(Sales)]
OrderInPath = Annotated[str, Path(description="The order's id.", examples=[EXAMPLE_ID])]
ItemIds = Annotated[
    list[ItemId], Query(min_length=1, max_length=100, description="Up to 100 items.", examples=[[EXAMPLE_ID]])
]
TheSessions = Annotated[Sessions, Provided(Sessions)]
Desk = Annotated[ReservationDesk, Provided(ReservationDesk)]


class NewOrder(Body):
    """What a buyer asks for, and the price that the buyer saw: at another one, nothing is ordered."""

    item_id: Annotated[ItemId, StringConstraints(strip_whitespace=False), Field(examples=[EXAMPLE_ID])]
    quantity: Quantity = 1
    expected_unit_price: MinorUnits | None = None
    expected_currency: Currency | None = None


class OrderView(BaseModel):
    """An order as its buyer and its seller see it. Amounts are in minor units of `currency`."""

    id: str
    buyer_id: str
    buyer_name: str | None
    """None once the buyer has deleted their account."""
    seller_id: str
    item_id: str
    item_title: str
    quantity: int
    unit_price: int
    total: int
    currency: Currency
    status: OrderStatus
    placed_at: datetime
    expires_at: datetime
    cancel_reason: CancelReason | None
    accepted_payment: str | None
    payment_id: str | None
    payment_failure: str | None
    refund_failure: str | None
    dispute: DisputeStatus | None
    """Whether the buyer's bank wants the money back, and who has got it."""
    late_payment: LatePayment | None
    refund_requested: bool
    version: int

    @classmethod
    def of(cls, order: Order) -> Self:
        """The view of an order."""
        return cls.model_validate(order, from_attributes=True)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems(
        EmailNotVerified,
        ItemNotFound,
        SoldOut,
        OwnItem,
        PriceChanged,
        HoldLimit,
        TotalHoldLimit,
        BuyerLimit,
        ItemWithdrawn,
        ItemPaused,
        NotOnSaleYet,
        SaleOver,
        IdempotencyKeyReused,
        TooManyHolds,
        NetworkHolds,
    ),
)
async def place_order(
    body: NewOrder, request: Request, user: VerifiedUser, desk: Desk, idempotency_key: IdempotencyKey = None
) -> OrderView:
    """Hold a quantity of an item for the caller until it is paid or the deadline passes.

    A 429 says in `Retry-After` when to try again, with the same Idempotency-Key if you like.
    """
    asked = body.model_dump() | {"key": idempotency_key, "network": network_of_caller(request)}
    return OrderView.of(await desk.place(PlaceOrder(buyer_id=user.id, buyer_name=user.name, **asked)))


@router.get("")
async def list_orders(
    user: CurrentUser,
    store: Store,
    now: Now,
    state: Annotated[
        OrderPhase | None,
        Query(description="Only those to be paid, to events that are not over, or all others.", examples=["upcoming"]),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[OrderView]:
    """The caller's own orders, newest first."""
    return await page_of(
        lambda most: store.bought_by(user.id, most, cursor, state, now), limit, OrderView.of, lambda o: o.id
    )


Day = Annotated[date, CALENDAR]


def _chosen(
    user: CurrentUser,
    item_id: Annotated[
        str | None, Query(max_length=64, description="Only orders of this item.", examples=[EXAMPLE_ID])
    ] = None,
    status: Annotated[OrderStatus | None, Query(description="Only orders with this status.", examples=["paid"])] = None,
    first: Annotated[
        Annotated[date, CALENDAR] | None,
        Query(alias="from", description="The first day, in UTC.", examples=["2027-05-01"]),
    ] = None,
    last: Annotated[
        Annotated[date, CALENDAR] | None,
        Query(alias="to", description="The last day, in UTC.", examples=["2027-05-31"]),
    ] = None,
    number: Annotated[
        str | None,
        Query(max_length=64, description="Only the order with this number, or id.", examples=["7Q4K-M2XD"]),
    ] = None,
) -> Chosen:
    return Chosen(user.id, item_id, status, first, last, number or None)


ChosenSales = Annotated[Chosen, Depends(_chosen)]


@router.get("/sales")
async def list_sales(chosen: ChosenSales, store: Store, limit: Limit = 20, cursor: Cursor = None) -> Page[OrderView]:
    """Orders on the caller's items, newest first."""
    return await page_of(lambda most: store.sold(chosen, most, cursor), limit, OrderView.of, lambda o: o.id)


@router.get("/sales/totals")
async def add_up_sales(chosen: ChosenSales, sales: TheSales, now: Now) -> Totals:
    """What the caller has sold on these days, or in the last thirty: at most 366 days, the last of those asked for.

    Status and number make no difference here.
    """
    return await sales.totals(chosen, now.date())


@router.get("/units")
async def count_units(item_id: ItemIds, counter: Annotated[UnitCounter, Provided(UnitCounter)]) -> list[Units]:
    """How many units of these items are held and how many are sold. An item that orders does not know is left out.

    What is held may come back. Everybody may know, as everybody sees how many are left.
    """
    return await counter.count(item_id)


@router.get("/{order_id}", responses=problems(OrderNotFound))
async def show_order(order_id: OrderInPath, user: CurrentUser, store: Store) -> OrderView:
    """One of the caller's own orders."""
    return OrderView.of(await _own(order_id, user.id, store))


@router.delete("/{order_id}", responses=problems(OrderNotFound, PasskeyNeeded, ProofNeeded, OrderAlreadyPaid))
async def cancel_order(
    order_id: OrderInPath, request: Request, session: CurrentSession, sessions: TheSessions, store: Store, desk: Desk
) -> OrderView:
    """Its buyer, or an operator, gives the units back. Cancelling what is cancelled or expired changes nothing."""
    reason = CancelReason.BUYER
    if (order := await store.get(order_id)) is None or order.buyer_id != session.user.id:
        _check_operator(session, sessions)
        reason = CancelReason.OPERATOR
    cancelled = await desk.cancel(order_id, reason)
    if reason is CancelReason.OPERATOR:
        _note(f"cancelled order {order_id}", session, request)
    return OrderView.of(cancelled)


@router.post(
    "/{order_id}/refund",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(OrderNotFound, NotSeller, PasskeyNeeded, ProofNeeded, OrderNotPaid),
)
async def refund_order(
    order_id: OrderInPath,
    request: Request,
    session: CurrentSession,
    sessions: TheSessions,
    settings: Annotated[OrdersSettings, Provided(OrdersSettings)],
    store: Store,
) -> OrderView:
    """The seller, or an operator who is not its buyer, gives the money back. Much money needs a fresh proof.

    The order is `refunded` once the money has arrived.
    """

    def decide(order: Order) -> None:
        if session.user.id == order.buyer_id:
            raise NotSeller("only the seller can refund an order")
        if session.user.id != order.seller_id:
            _check_operator(session, sessions)
        if order.total > settings.refunds_proved_above:
            sessions.check_proof(session)
        order.request_refund()

    order = await store.change(order_id, decide)
    if session.user.id != order.seller_id:
        _note(f"refunded order {order_id}", session, request)
    return OrderView.of(order)


def _check_operator(session: Session, sessions: Sessions) -> None:
    """Raise `OrderNotFound` unless the caller is an operator: to others there is no order that is not theirs."""
    if OPERATOR not in session.user.roles:
        raise OrderNotFound("there is no such order")
    sessions.check_operator(session)


def _note(what: str, session: Session, request: Request) -> None:
    note("operator_acted", session.user.id, network_of_caller(request), what)


async def _own(order_id: str, buyer_id: str, store: OrderStore) -> Order:
    order = await store.get(order_id)
    if order is None or order.buyer_id != buyer_id:
        raise OrderNotFound("there is no such order")
    return order
