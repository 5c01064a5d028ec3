"""HTTP routes of notifications, for operators. No rules, no queries."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from common.errors import Unauthenticated
from common.http.dependencies import Provided
from common.http.problems import problems
from common.http.sessions import CurrentUser, Operator, OperatorOnly
from notifications.domain import Facts, Kind, MailState
from notifications.store import MailStore

router = APIRouter(prefix="/api/notifications", tags=["notifications"])


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


@router.get("/mails", responses=problems(Unauthenticated))
async def own_mails(user: CurrentUser, mails: Annotated[MailStore, Provided(MailStore)]) -> list[OwnMail]:
    """The thousand newest mails to the caller. They are kept for 30 days."""
    return [OwnMail.model_validate(mail) for mail in await mails.to(user.id, 1_000)]


@router.get("/failed", responses=problems(OperatorOnly))
async def failed_mails(operator: Operator, mails: Annotated[MailStore, Provided(MailStore)]) -> list[FailedMail]:  # noqa: ARG001 - checks the role
    """The hundred mails that failed last, the newest first."""
    return [FailedMail.model_validate(mail) for mail in await mails.failed(100)]
