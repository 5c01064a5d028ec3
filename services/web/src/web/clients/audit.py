"""What audit answers to operators: histories, dead letters and the reconciliation. Amounts are in minor units."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from common.events import Currency
from common.http.paging import Page
from common.security_log import Kind as SecurityKind
from common.security_log import SecurityEntry
from web.clients.api import PAGE_SIZE, Api, Refused
from web.clients.models import OrderSnapshot

DeadLetterState = Literal["open", "replayed", "discarded"]


class Hit(BaseModel):
    """A result of a search. What follows `time` is of orders alone, as far as it is known."""

    kind: Literal["order", "item", "payment"]
    id: str
    label: str
    time: datetime
    number: str | None = None
    status: str | None = None
    total: int | None = None
    currency: Currency | None = None
    buyer_name: str | None = None


class TimelineEntry(BaseModel):
    """One thing that happened. `caused_by` is the id of the entry that caused it."""

    id: str
    kind: str
    service: str
    subject: str
    time: datetime
    caused_by: str | None
    request_id: str | None
    fields: dict[str, Any]


class StockSnapshot(BaseModel):
    """How many units of an item were available at some moment."""

    item_id: str
    quantity: int
    available: int


class PaymentSnapshot(BaseModel):
    """A payment at some moment. Its amount is unknown until its first event."""

    id: str
    status: str
    amount: int | None
    currency: Currency | None
    reason: str | None
    refunded_amount: int = 0


class Snapshot(BaseModel):
    """Order, stock and payments as they were at a moment. What did not exist yet is missing."""

    at: datetime
    order: OrderSnapshot | None
    stock: StockSnapshot | None
    payments: list[PaymentSnapshot]


class TheirOrder(OrderSnapshot):
    """An order, and whose it is."""

    buyer_id: str
    seller_id: str


class OrderHistory(BaseModel):
    """Everything that happened to an order. `snapshots[n]` is the state after `timeline[n]`."""

    order: TheirOrder | None
    timeline: list[TimelineEntry] = Field(validation_alias="story")
    snapshots: list[Snapshot] = Field(validation_alias="states")


class ItemSnapshot(BaseModel):
    """An item as its seller last described it."""

    id: str
    title: str
    price: int
    currency: Currency
    quantity: int


class ItemHistory(BaseModel):
    """What happened to an item, and its orders."""

    item: ItemSnapshot
    stock: StockSnapshot | None
    timeline: list[TimelineEntry] = Field(validation_alias="story")
    orders: Page[Hit]


class PaymentHistory(BaseModel):
    """The order that a payment pays, if it is known."""

    order_id: str | None


class DeadLetter(BaseModel):
    """A message that a handler could not process, and what was decided about it."""

    id: str
    service: str
    handler: str
    subject: str
    error: str
    deliveries: int
    failed_at: datetime
    order_id: str | None
    item_id: str | None
    body: str
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None


class DeadLetterPage(Page[DeadLetter]):
    """A page of dead letters. `open` is how many in all wait for a decision."""

    open: int


class Noted(SecurityEntry):
    """An entry of the security log, and the service that noted it."""

    service: str


class Violation(BaseModel):
    """A broken rule: what was expected and what was found, since when. `subject` has ids by kind."""

    rule: str
    subject: dict[str, str]
    expected: str
    found: str
    since: datetime


class Balance(BaseModel):
    """Where the money of one currency is."""

    charged: int
    refunded: int
    sellers: int
    in_transit: int
    disputed: int = 0
    difference: int


class Reconciliation(BaseModel):
    """The report of a reconciliation. `totals` has the number of violations by rule.

    Everything, and the money in `balances`, was checked at `whole_at`; what has changed since then at `checked_at`.
    """

    checked_at: datetime
    whole_at: datetime | None = None
    seconds: float
    counts: dict[str, int]
    totals: dict[str, int]
    violations: list[Violation]
    balances: dict[Currency, Balance]


async def search(api: Api, q: str, cursor: str | None) -> Page[Hit]:
    """Orders, items and payments by id or number, by somebody's address or name, or by parts of a title."""
    answer = await api.get("audit", "search", q=q, cursor=cursor, limit=PAGE_SIZE)
    return Page[Hit].model_validate_json(answer.content)


async def order_history(api: Api, order_id: str) -> OrderHistory:
    """The whole history of an order."""
    return OrderHistory.model_validate_json((await api.get("audit", "orders", order_id)).content)


async def item_history(api: Api, item_id: str, cursor: str | None) -> ItemHistory:
    """The history of an item, and a page of its orders."""
    answer = await api.get("audit", "items", item_id, cursor=cursor, limit=PAGE_SIZE)
    return ItemHistory.model_validate_json(answer.content)


async def payment_history(api: Api, payment_id: str) -> PaymentHistory:
    """The history of a payment."""
    return PaymentHistory.model_validate_json((await api.get("audit", "payments", payment_id)).content)


async def dead_letters(
    api: Api, state: DeadLetterState, cursor: str | None = None, limit: int = PAGE_SIZE
) -> DeadLetterPage:
    """Dead letters, newest first."""
    answer = await api.get("audit", "dead-letters", state=state, cursor=cursor, limit=limit)
    return DeadLetterPage.model_validate_json(answer.content)


async def security_log(api: Api, kind: SecurityKind | None, user_id: str | None, cursor: str | None) -> Page[Noted]:
    """The security log, newest first."""
    answer = await api.get("audit", "security", kind=kind, user_id=user_id, cursor=cursor, limit=PAGE_SIZE)
    return Page[Noted].model_validate_json(answer.content)


async def replay(api: Api, ids: Sequence[str]) -> None:
    """Replay dead letters: give each message to its handler again."""
    await api.send("POST", "audit", "dead-letters", "replay", json={"ids": list(ids)})


async def discard(api: Api, ids: Sequence[str], reason: str) -> None:
    """Close dead letters without a replay."""
    await api.send("POST", "audit", "dead-letters", "discard", json={"ids": list(ids), "reason": reason})


async def check_now(api: Api) -> None:
    """Have the records checked within seconds."""
    await api.send("POST", "audit", "reconciliation")


async def last_reconciliation(api: Api) -> Reconciliation | None:
    """The newest report. None before the first reconciliation."""
    try:
        answer = await api.get("audit", "reconciliation")
    except Refused as refused:
        if refused.reason == "not_checked":
            return None
        raise
    return Reconciliation.model_validate_json(answer.content)
