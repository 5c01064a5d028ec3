"""Dependencies that any route can have: the time, an object that `main.py` has built, an idempotency key."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, Request

from common.clock import now
from common.errors import SoukError

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="Any text that is new for each command. The same again, with the same body, does nothing twice.",
        examples=["0193a1f27b4c7d5e8f60718293a4b5c6"],
    ),
]
"""The `Idempotency-Key` header of a POST."""


async def current_time() -> datetime:
    """The current time in UTC, to the millisecond. A test can override this dependency to set the clock."""
    return now()


Now = Annotated[datetime, Depends(current_time)]


def Provided(kind: type[Any]) -> Any:  # noqa: N802 - used like a type: Annotated[OrderStore, Provided(OrderStore)]
    """A dependency on the object of this type among the `parts` that `main.py` has built (see `Running`).

    `Annotated[OrderStore, Provided(OrderStore)]` in a route's signature gives it the service's `OrderStore`.
    """

    async def provided(request: Request) -> Any:
        return request.app.state.parts[kind]

    return Depends(provided)


RAISED: dict[Callable[..., Any], tuple[type[SoukError], ...]] = {}
"""What dependencies raise; see `raises`."""

F = TypeVar("F", bound=Callable[..., Any])


def raises(*kinds: type[SoukError]) -> Callable[[F], F]:
    """Say what a dependency raises: it stands in the OpenAPI document of every route that depends on it."""

    def declared(dependency: F) -> F:
        RAISED[dependency] = kinds
        return dependency

    return declared
