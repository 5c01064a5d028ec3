"""HTTP routes of notifications, most of them for operators. No rules, no queries."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, status
from pydantic import BaseModel, Field, StringConstraints

from common.errors import IdempotencyKeyReused, NotFound, Unauthenticated
from common.http.dependencies import IdempotencyKey, Provided
from common.http.network import network_of_caller
from common.http.paging import EXAMPLE_ID, Body
from common.http.problems import problems
from common.http.sessions import CurrentUser, Operator, OperatorOnly
from common.ids import new_id
from common.security_log import note
from common.text import SOME_TEXT
from notifications.desk import MailDesk
from notifications.domain import Facts, Kind, MailState, operator_message
from notifications.store import MailStore, PersonStore

router = APIRouter(prefix="/api/notifications", tags=["notifications"])

MOST_TEXT = 2_000
"""Characters of a message."""


class PersonNotFound(NotFound):
    """Nobody has this id, or they have deleted their account."""

    code = "person_not_found"


class NewMessage(Body):
    """What an operator writes to somebody about an order: plain text, shown as it is."""

    user_id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$"), Field(examples=[EXAMPLE_ID])]
    order_id: Annotated[str, StringConstraints(pattern="^[0-9a-f]{32}$"), Field(examples=[EXAMPLE_ID])]
    text: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_TEXT),
        SOME_TEXT,
        Field(examples=["The doors open an hour later."]),
    ]


class FailedMail(BaseModel):
    """A mail that will not be sent, and why: what the receiving server said. No address, no text."""

    id: Annotated[str, Field(validation_alias="_id")]
    kind: Kind
    user_id: str
    reason: str
    created_at: datetime
    ended_at: datetime


class OwnMail(BaseModel):
    """A mail to the caller, or for them: `to` is None where it went to their account's address, or is an offer."""

    id: Annotated[str, Field(validation_alias="_id")]
    kind: Kind
    to: str | None
    facts: Facts
    state: MailState
    created_at: datetime


Before = Annotated[
    Annotated[str, StringConstraints(max_length=300, pattern="^[!-~]+$")] | None,
    Query(description="Only mails older than the one with this id.", examples=[f"welcome:{EXAMPLE_ID}"]),
]


@router.get("/mails", responses=problems(Unauthenticated))
async def own_mails(
    user: CurrentUser, mails: Annotated[MailStore, Provided(MailStore)], before: Before = None
) -> list[OwnMail]:
    """The thousand newest mails to the caller, kept for 30 days. Those before them are `before` the last one."""
    return [OwnMail.model_validate(mail) for mail in await mails.to(user.id, 1_000, before)]


@router.post(
    "/messages",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems(OperatorOnly, PersonNotFound, IdempotencyKeyReused),
)
async def send_message(
    body: NewMessage,
    request: Request,
    operator: Operator,
    people: Annotated[PersonStore, Provided(PersonStore)],
    desk: Annotated[MailDesk, Provided(MailDesk)],
    idempotency_key: IdempotencyKey = None,
) -> None:
    """For operators: mail somebody what is typed here. Who wrote to whom about which order is in the security log."""
    if await people.is_erased(body.user_id) or await people.find(body.user_id) is None:
        raise PersonNotFound("nobody has this account")
    key = f"{operator.id}:{idempotency_key or new_id()}"
    await desk.take_message(operator_message(key, body.user_id, body.order_id, body.text))
    what = f"wrote to user {body.user_id} about order {body.order_id}"
    note("operator_acted", operator.id, network_of_caller(request), what)


@router.get("/failed", responses=problems(OperatorOnly))
async def failed_mails(operator: Operator, mails: Annotated[MailStore, Provided(MailStore)]) -> list[FailedMail]:  # noqa: ARG001 - checks the role
    """The hundred mails that failed last, the newest first."""
    return [FailedMail.model_validate(mail) for mail in await mails.failed(100)]
