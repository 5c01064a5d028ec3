"""What request and response models share: strict bodies, and keyset-paginated lists."""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from common.errors import NotFound

T = TypeVar("T")
S = TypeVar("S")

ID = r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}"
"""The pattern of an id as `common.ids.new_id` makes it."""

_ID = re.compile(ID)

EXAMPLE_ID = "0193a1f27b4c7d5e8f60718293a4b5c6"
"""An id in the examples of the documentation."""


def _of_ours(cursor: str) -> str:
    if _ID.fullmatch(cursor):
        return cursor
    raise ValueError("a cursor is the `next` of an earlier page")


def _could_exist(identifier: str) -> str:
    if _ID.fullmatch(identifier):
        return identifier
    raise NotFound("there is nothing with this id")


KnownId = Annotated[str, AfterValidator(_could_exist)]
"""An id that goes into another service's path. Anything that `new_id` cannot have made is answered with 404."""

Limit = Annotated[int, Query(ge=1, le=100, description="The most that a page may have.")]
Cursor = Annotated[
    Annotated[str, AfterValidator(_of_ours), Field(json_schema_extra={"pattern": f"^{_ID.pattern}$"})] | None,
    Query(description="The `next` of an earlier page; nothing for the first one.", examples=[EXAMPLE_ID]),
]
"""The `next` of an earlier page. Anything else is answered with 422."""


class Body(BaseModel):
    """Base of request bodies. A field that the model does not name is an error."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Page(BaseModel, Generic[T]):
    """One page of a list. `next` is the cursor of the next page, null on the last."""

    items: list[T]
    next: str | None


async def page_of(
    find: Callable[[int], Awaitable[Sequence[S]]], limit: int, view: Callable[[S], T], cursor: Callable[[S], str]
) -> Page[T]:
    """A page of up to `limit` views. `find` returns as many rows as it is asked for, if there are so many.

    It is asked for one more than the page shows: only if that one exists is there a next page.
    """
    found = await find(limit + 1)
    shown = found[:limit]
    return Page(items=[view(row) for row in shown], next=cursor(shown[-1]) if len(found) > limit else None)
