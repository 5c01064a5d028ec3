"""Identifiers: UUID version 7 (RFC 9562). Newer ids sort after older ones, and each says when it was made."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from uuid_utils import uuid7

from common.errors import Unavailable
from common.polling import found_within

T = TypeVar("T")
E = TypeVar("E")
FindMissed = Callable[[str], Awaitable[Sequence[E]]]
"""Finds events that name an id and that no replica has handled yet, as `Bus.missed` does."""

RECENT_SECONDS = 5.0
"""Age up to which a lookup waits for an id that is not here yet."""

ARRIVAL_TIMEOUT = 2.0
"""Seconds that such a lookup waits at most."""

UNCERTAIN_SECONDS = 3600.0
"""Age up to which nobody can say that there is no such id: the event that brings it may wait for the bus."""

AHEAD_SECONDS = 60.0
"""How far the clock that made an id may be ahead of this one. Such an id counts as just made."""


def new_id() -> str:
    """A new id: 32 hexadecimal digits, ordered by time to the millisecond."""
    return uuid7().hex


def minted_at(identifier: str) -> float:
    """When `new_id` made this id, in Unix seconds. Raises `ValueError` for any other id."""
    uuid = UUID(hex=identifier)
    if uuid.version != 7:
        raise ValueError(f"{identifier} does not say when it was made")
    return (uuid.int >> 80) / 1000


def is_recent(identifier: str, seconds: float = RECENT_SECONDS) -> bool:
    """Whether `new_id` made this id within the last `seconds`, by a clock that may be ahead. Never raises."""
    try:
        return -AHEAD_SECONDS <= time.time() - minted_at(identifier) < seconds
    except ValueError:
        return False


async def nothing_missed(_: str) -> Sequence[Any]:
    """There is no stream to read from: the event will come."""
    return ()


async def once_arrived(
    find: Callable[[str], Awaitable[T | None]],
    identifier: str,
    missed: FindMissed[E],
    keep: Callable[[E], Awaitable[object]],
) -> T | None:
    """What `find` finds. Waits up to `ARRIVAL_TIMEOUT` for a recent id whose event has not reached this service yet.

    Services copy each other's data over the bus within milliseconds, so a caller may use an id just before it arrives
    here. Only recent ids wait; any other unknown id is None at once. If a replica that hangs has the event in hand, it
    is `missed`, and `keep` does what its handler would have done.

    Raises `Unavailable` for an unknown id younger than `UNCERTAIN_SECONDS`: its event may be late.
    """
    found = await found_within(ARRIVAL_TIMEOUT if is_recent(identifier) else 0, lambda: find(identifier))
    if found is None and is_recent(identifier, UNCERTAIN_SECONDS):
        for event in await missed(identifier):
            await keep(event)
        if (found := await find(identifier)) is None:
            raise Unavailable("this is not known here yet; try again in a moment")
    return found
