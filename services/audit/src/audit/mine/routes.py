"""What audit keeps of the caller."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, StringConstraints

from audit.event_log.domain import Entry, fields_in
from audit.event_log.store import EventLog
from audit.security.domain import Noted
from audit.security.store import SecurityStore
from common.errors import Unauthenticated
from common.http.dependencies import Provided
from common.http.paging import EXAMPLE_ID, Cursor, Limit, Page, page_of
from common.http.problems import problems
from common.http.sessions import CurrentUser

router = APIRouter()

MOST = 1_000
"""Events in one answer."""


class OwnEvent(BaseModel):
    """Something that happened to the caller's account."""

    id: str
    subject: str
    time: datetime
    fields: dict[str, Any]

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """The view of an entry."""
        return cls(id=entry.id, subject=entry.subject, time=entry.time, fields=fields_in(entry.body) or {})


Before = Annotated[
    Annotated[str, StringConstraints(max_length=200, pattern="^[!-~]+$")] | None,
    Query(description="Only events older than the one with this id.", examples=[EXAMPLE_ID]),
]


@router.get("/mine", responses=problems(Unauthenticated))
async def own_events(
    user: CurrentUser, log: Annotated[EventLog, Provided(EventLog)], before: Before = None
) -> list[OwnEvent]:
    """The thousand newest events of the caller's account, such as a session that was ended. The newest first.

    The thousand before them are those `before` the last one.
    """
    return [OwnEvent.of(entry) for entry in await log.of_user(user.id, MOST, before)]


@router.get("/mine/security", responses=problems(Unauthenticated))
async def own_security_log(
    user: CurrentUser,
    log: Annotated[SecurityStore, Provided(SecurityStore)],
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[Noted]:
    """What the security log has about the caller: sign-ins, refusals, changes of what signs in. The newest first."""
    return await page_of(
        lambda most: log.page(None, user.id, most, cursor), limit, lambda entry: entry, lambda entry: entry.id
    )
