"""The security log over HTTP. No rules, no queries."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from audit.security.domain import Noted
from audit.security.store import SecurityStore
from common.http.dependencies import Provided
from common.http.paging import EXAMPLE_ID, Cursor, Limit, Page, page_of
from common.security_log import Kind

router = APIRouter(prefix="/security")

OfKind = Annotated[Kind | None, Query(description="Only entries of this kind.")]
OfUser = Annotated[
    Annotated[str, Field(min_length=1, max_length=64, pattern="^[0-9A-Za-z_-]+$")] | None,
    Query(description="Only entries about this user.", examples=[EXAMPLE_ID]),
]


@router.get("")
async def list_security_log(
    log: Annotated[SecurityStore, Provided(SecurityStore)],
    kind: OfKind = None,
    user_id: OfUser = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[Noted]:
    """Sign-ins good and bad, refusals, ended sessions, changed rights and keys, exports and erasures, newest first.

    An entry with a `count` stands for as many; in a flood, one without a user and a network stands for many of them.
    """
    return await page_of(
        lambda most: log.page(kind, user_id, most, cursor), limit, lambda entry: entry, lambda entry: entry.id
    )
