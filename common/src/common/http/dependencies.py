"""What any route may ask for in its signature: the time, an object that `main.py` built, an idempotency key."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from common.clock import now

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=200)]
"""The `Idempotency-Key` header of a POST."""


async def current_time() -> datetime:
    """The clock, as a dependency."""
    return now()


Now = Annotated[datetime, Depends(current_time)]


def Provided(kind: type[Any]) -> Any:  # noqa: N802 - used like a type: Annotated[OrderStore, Provided(OrderStore)]
    """A dependency: the one object of this type that `main.py` built."""

    async def provided(request: Request) -> Any:
        return request.app.state.parts[kind]

    return Depends(provided)
