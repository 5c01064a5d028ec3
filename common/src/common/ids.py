"""Identifiers: UUID version 7 (RFC 9562), so that newer ids sort after older ones and tell when they were minted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from uuid_utils import uuid7

T = TypeVar("T")

NEWBORN = 5.0  # seconds
PATIENCE = 2.0  # seconds


def new_id() -> str:
    """A fresh id: 32 hexadecimal digits, ordered by the time of minting to the millisecond."""
    return uuid7().hex


def is_newborn(identifier: str) -> bool:
    """Whether this is an id of ours, minted within the last `NEWBORN` seconds. Never raises."""
    try:
        uuid = UUID(hex=identifier)
    except ValueError:
        return False
    return uuid.version == 7 and 0 <= time.time() - (uuid.int >> 80) / 1000 < NEWBORN


async def once_arrived(find: Callable[[str], Awaitable[T | None]], identifier: str) -> T | None:
    """What `find` finds, waiting up to `PATIENCE` seconds for a newborn's copy to reach this service.

    Services copy each other's facts over the bus within milliseconds. A caller who uses an id right after another
    service gave it to him is not told "not found": only ids minted within `NEWBORN` wait, so a wrong id never does.
    """
    found = await find(identifier)
    if found is not None or not is_newborn(identifier):
        return found
    deadline = time.monotonic() + PATIENCE
    pause = 0.02
    while found is None and time.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.3)
        found = await find(identifier)
    return found
