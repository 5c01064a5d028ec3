"""HTTP models and routes of dead letters. No rules, no queries."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, status
from pydantic import BaseModel, Field, StringConstraints

from audit.dead_letters.domain import DeadLetter, DeadLetterNotFound, DeadLetterState
from audit.dead_letters.store import DeadLetterStore
from common.http.dependencies import Now, Provided
from common.http.paging import Body, Limit, Page, page_of
from common.http.problems import problems
from common.http.sessions import ProvedOperator

router = APIRouter(prefix="/dead-letters")

DeadLetters = Annotated[DeadLetterStore, Provided(DeadLetterStore)]
DeadLetterId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=300, strip_whitespace=False),
    Field(examples=["orders.release_unpaid_order.EXPIRATION.17"]),
]
State = Annotated[DeadLetterState | None, Query(description="Only dead letters in this state.")]
SequenceCursor = Annotated[
    int | None, Query(ge=1, lt=2**63, description="The `next` of an earlier page; nothing for the first one.")
]


class DeadLetterView(BaseModel):
    """A message that a handler could not handle, and what was decided about it. `about` is the event's id."""

    id: str
    state: DeadLetterState
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
    def of(cls, letter: DeadLetter) -> Self:
        """The view of a dead letter."""
        known = {name: letter.keys[name] for name in ("order_id", "item_id", "payment_id") if name in letter.keys}
        return cls.model_validate({**letter.model_dump(), **known})


class DeadLetterPage(Page[DeadLetterView]):
    """A page of dead letters. `open` is how many in all wait for a decision, counted up to 10,000."""

    open: int


class Decided(BaseModel):
    """The requested dead letters as they are now."""

    items: list[DeadLetterView]


class Replay(Body):
    """The dead letters to replay."""

    ids: Annotated[list[DeadLetterId], Field(min_length=1, max_length=100)]


class Discard(Replay):
    """The dead letters to discard, and why."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500), Field(examples=["a test message"])]


@router.get("")
async def list_dead_letters(
    letters: DeadLetters, state: State = None, limit: Limit = 20, cursor: SequenceCursor = None
) -> DeadLetterPage:
    """Dead letters, newest first."""
    page = await page_of(
        lambda most: letters.page(state, most, cursor), limit, DeadLetterView.of, lambda letter: str(letter.sequence)
    )
    return DeadLetterPage(items=page.items, next=page.next, open=await letters.open())


@router.post("/replay", status_code=status.HTTP_202_ACCEPTED, responses=problems(DeadLetterNotFound))
async def replay_dead_letters(body: Replay, user: ProvedOperator, letters: DeadLetters, now: Now) -> Decided:
    """Give each message to its handler again. Earlier decisions stay."""
    decided = await letters.decide(body.ids, lambda letter: letter.replay(user.email, now))
    return Decided(items=[DeadLetterView.of(letter) for letter in decided])


@router.post("/discard", responses=problems(DeadLetterNotFound))
async def discard_dead_letters(body: Discard, user: ProvedOperator, letters: DeadLetters, now: Now) -> Decided:
    """Close dead letters without a replay, for a reason. Earlier decisions stay."""
    decided = await letters.decide(body.ids, lambda letter: letter.discard(user.email, now, body.reason))
    return Decided(items=[DeadLetterView.of(letter) for letter in decided])
