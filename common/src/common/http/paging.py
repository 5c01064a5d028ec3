"""What request and response models share: strict bodies, and keyset-paginated lists."""

from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(min_length=1, max_length=64)]


class Body(BaseModel):
    """Base of request bodies: a field nobody knows is an error, not a silence."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class Page(BaseModel, Generic[T]):
    """One page of a list, and the cursor of the next: null on the last."""

    items: list[T]
    next: str | None
