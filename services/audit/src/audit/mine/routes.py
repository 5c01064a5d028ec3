"""What audit keeps of the caller."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import BaseModel

from audit.event_log.domain import Entry, fields_in
from audit.event_log.store import EventLog
from common.errors import Unauthenticated
from common.http.dependencies import Provided
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


@router.get("/mine", responses=problems(Unauthenticated))
async def own_events(user: CurrentUser, log: Annotated[EventLog, Provided(EventLog)]) -> list[OwnEvent]:
    """The thousand newest events of the caller's account, such as a session that was ended. The newest first."""
    return [OwnEvent.of(entry) for entry in await log.of_user(user.id, MOST)]
