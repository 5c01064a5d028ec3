"""HTTP models and routes of audit, for operators only. No rules, no queries."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Query, status
from pydantic import BaseModel, Field, StringConstraints

from audit.dead_letters.domain import Letter, LetterNotFound, LetterState
from audit.event_log.domain import ItemNotFound, OrderNotFound, PaymentNotFound
from audit.event_log.store import LetterStore
from audit.history.history import Hit, Stories, Tale
from audit.history.snapshot import OrderThen, PaymentThen, Picture, StockThen
from audit.history.timeline import Line, event_in
from audit.reconciliation.findings import NotChecked, Report
from audit.reconciliation.store import ReportStore
from common.events import ItemState, OrderState
from common.http.dependencies import Now, Provided
from common.http.paging import Body, Cursor, Limit, Page
from common.http.problems import problems
from common.http.sessions import Operator, OperatorOnly, current_operator

router = APIRouter(
    prefix="/api/audit", tags=["audit"], dependencies=[Depends(current_operator)], responses=problems(OperatorOnly)
)

TheStories = Annotated[Stories, Provided(Stories)]
Letters = Annotated[LetterStore, Provided(LetterStore)]
Reports = Annotated[ReportStore, Provided(ReportStore)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=254, strip_whitespace=True), Query()]
LetterId = Annotated[str, StringConstraints(min_length=1, max_length=300)]
Sequence64 = Annotated[int | None, Query(ge=1, lt=2**63)]


class HitView(BaseModel):
    """Something found. `kind` is order, item or payment."""

    kind: str
    id: str
    label: str
    time: datetime

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """The view of what was found."""
        match event_in(hit.of):
            case OrderState(item_title=title, quantity=quantity):
                label = f"{quantity} x {title}"
            case ItemState(title=title):
                label = title
            case _:
                label = hit.of.keys.get("order_id", hit.id)
        return cls(kind=hit.kind, id=hit.id, label=label, time=hit.of.time)


class LineView(BaseModel):
    """One thing that happened; a cause always stands before what it led to."""

    id: str
    kind: str
    service: str
    subject: str
    time: datetime
    caused_by: str | None
    request_id: str | None
    fields: dict[str, Any]

    @classmethod
    def all_of(cls, story: Sequence[Line]) -> list[Self]:
        """The views of a story."""
        return [cls.model_validate(line, from_attributes=True) for line in story]


class StateView(BaseModel):
    """How things stood at a moment."""

    at: datetime
    order: OrderThen | None
    stock: StockThen | None
    payments: list[PaymentThen]

    @classmethod
    def of(cls, at: datetime, picture: Picture) -> Self:
        """The view of a picture."""
        return cls(at=at, order=picture.order, stock=picture.stock, payments=list(picture.payments.values()))

    @classmethod
    def all_of(cls, tale: Tale) -> list[Self]:
        """The states after each line of a story; no earlier than the one before."""
        return [cls.of(line.time, picture) for line, picture in zip(tale.story, tale.pictures, strict=True)]


class OrderStory(BaseModel):
    """An order as it stands now, what happened, and how things stood after each of it."""

    order: OrderThen | None
    story: list[LineView]
    states: list[StateView]


class PaymentStory(BaseModel):
    """A payment as it stands now, its order, and what happened."""

    payment: PaymentThen | None
    order_id: str | None
    story: list[LineView]


class ItemStory(BaseModel):
    """An item as its seller last stated it, its stock, what happened lately, and its orders."""

    item: dict[str, Any]
    stock: StockThen | None
    story: list[LineView]
    orders: Page[HitView]


class LetterView(BaseModel):
    """A message that a handler gave up, and what became of it. `about` is the event's id."""

    id: str
    state: LetterState
    service: str
    handler: str
    subject: str
    error: str
    deliveries: int
    failed_at: datetime
    about: str
    order_id: str | None = None
    item_id: str | None = None
    payment_id: str | None = None
    body: str
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None

    @classmethod
    def of(cls, letter: Letter) -> Self:
        """The view of a letter."""
        known = {name: letter.keys[name] for name in ("order_id", "item_id", "payment_id") if name in letter.keys}
        return cls.model_validate({**letter.model_dump(), **known})


class LetterPage(Page[LetterView]):
    """A page of letters. `open`: how many wait for a decision in all, counted up to 10,000."""

    open: int


class Decided(BaseModel):
    """The letters that were asked for, as they stand now."""

    items: list[LetterView]


class Chosen(Body):
    """Which letters."""

    ids: Annotated[list[LetterId], Field(min_length=1, max_length=100)]


class Discarding(Chosen):
    """Which letters, and why nothing is to be done about them."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


def page_of(hits: Sequence[Hit], limit: int) -> Page[HitView]:
    """A page of what was found; the last id is the cursor of the next page."""
    return Page(items=[HitView.of(hit) for hit in hits], next=hits[-1].id if len(hits) == limit else None)


@router.get("/search")
async def search(q: Words, stories: TheStories, limit: Limit = 20, cursor: Cursor = None) -> Page[HitView]:
    """Find by an id; by a buyer's id or mail: his orders, newest first; else items whose title begins so."""
    return page_of(await stories.search(q, limit, cursor), limit)


@router.get("/orders/{order_id}", responses=problems(OrderNotFound))
async def tell_order(order_id: str, stories: TheStories) -> OrderStory:
    """The whole story of an order across all services."""
    tale = await stories.order(order_id)
    states = StateView.all_of(tale)
    return OrderStory(order=states[-1].order, story=LineView.all_of(tale.story), states=states)


@router.get("/payments/{payment_id}", responses=problems(PaymentNotFound))
async def tell_payment(payment_id: str, stories: TheStories) -> PaymentStory:
    """The story of a payment; its order's story tells the rest."""
    tale = await stories.payment(payment_id)
    known = [line.fields["order_id"] for line in tale.story if "order_id" in line.fields]
    payment = tale.pictures[-1].payments.get(payment_id)
    return PaymentStory(payment=payment, order_id=known[0] if known else None, story=LineView.all_of(tale.story))


@router.get("/items/{item_id}", responses=problems(ItemNotFound))
async def tell_item(item_id: str, stories: TheStories, limit: Limit = 20, cursor: Cursor = None) -> ItemStory:
    """What became of an item lately, and its orders, newest first."""
    tale = await stories.item(item_id)
    orders = page_of(await stories.orders_of_item(item_id, limit, cursor), limit)
    offers = [line.event for line in tale.story if isinstance(line.event, ItemState)]
    offer = max(offers, key=lambda offer: offer.item_version).model_dump(mode="json") if offers else {}
    item = {"id": item_id, "version": offer.pop("item_version", None), **offer}
    item.pop("item_id", None)
    return ItemStory(item=item, stock=tale.pictures[-1].stock, story=LineView.all_of(tale.story), orders=orders)


@router.get("/reconciliation", responses=problems(NotChecked))
async def show_reconciliation(reports: Reports) -> Report:
    """What the newest check of the books found."""
    if report := await reports.newest():
        return report
    raise NotChecked("the books are being checked for the first time; look again in a moment")


@router.get("/dead-letters")
async def list_letters(
    letters: Letters, state: LetterState | None = None, limit: Limit = 20, cursor: Sequence64 = None
) -> LetterPage:
    """Dead letters, newest first."""
    found = await letters.page(state, limit, cursor)
    more = str(found[-1].sequence) if len(found) == limit else None
    return LetterPage(items=[LetterView.of(letter) for letter in found], next=more, open=await letters.open())


@router.post("/dead-letters/replay", status_code=status.HTTP_202_ACCEPTED, responses=problems(LetterNotFound))
async def replay_letters(body: Chosen, user: Operator, letters: Letters, now: Now) -> Decided:
    """Let each one's handler see its message again. What was decided before stays as it was."""
    decided = await letters.decide(body.ids, lambda letter: letter.replay(user.email, now))
    return Decided(items=[LetterView.of(letter) for letter in decided])


@router.post("/dead-letters/discard", responses=problems(LetterNotFound))
async def discard_letters(body: Discarding, user: Operator, letters: Letters, now: Now) -> Decided:
    """Nothing is to be done about them, for this reason. What was decided before stays as it was."""
    decided = await letters.decide(body.ids, lambda letter: letter.discard(user.email, now, body.reason))
    return Decided(items=[LetterView.of(letter) for letter in decided])
