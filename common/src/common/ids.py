"""Identifiers: UUID version 7 (RFC 9562), so that newer ids sort after older ones and tell when they were minted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from uuid_utils import uuid7

from common.errors import Unavailable

T = TypeVar("T")

NEWBORN = 5.0  # seconds
PATIENCE = 2.0  # seconds
UNHEARD = 60.0  # seconds


def new_id() -> str:
    """A fresh id: 32 hexadecimal digits, ordered by the time of minting to the millisecond."""
    return uuid7().hex


def minted_at(identifier: str) -> float:
    """When an id of ours was minted, in Unix seconds. Raises `ValueError` for any other id."""
    uuid = UUID(hex=identifier)
    if uuid.version != 7:
        raise ValueError(f"{identifier} does not tell when it was minted")
    return (uuid.int >> 80) / 1000


def is_newborn(identifier: str, seconds: float = NEWBORN) -> bool:
    """Whether this is an id of ours, minted within the last `seconds`. Never raises."""
    try:
        return 0 <= time.time() - minted_at(identifier) < seconds
    except ValueError:
        return False


async def once_arrived(find: Callable[[str], Awaitable[T | None]], identifier: str) -> T | None:
    """What `find` finds, waiting up to `PATIENCE` seconds for a newborn's copy to reach this service.

    Services copy each other's facts over the bus within milliseconds. A caller who uses an id right after another
    service gave it to him is not told "not found": only ids minted within `NEWBORN` wait, so a wrong id never does.

    Raises `Unavailable` for an id minted within `UNHEARD` that has not arrived: nobody can say that there is none.
    """
    found = await find(identifier)
    if found is not None or not is_newborn(identifier):
        return _certain(found, identifier)
    deadline = time.monotonic() + PATIENCE
    pause = 0.02
    while found is None and time.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.3)
        found = await find(identifier)
    return _certain(found, identifier)


def _certain(found: T | None, identifier: str) -> T | None:
    if found is None and is_newborn(identifier, UNHEARD):
        raise Unavailable("we have not heard of this yet; try again in a moment")
    return found
