"""Identifiers: UUID version 7 (RFC 9562), so that newer ids sort after older ones and tell when they were minted."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

from uuid_utils import uuid7

T = TypeVar("T")

NEWBORN = timedelta(seconds=5)
PATIENCE = timedelta(seconds=2)


def new_id() -> str:
    """A fresh id: 32 hexadecimal digits, ordered by the time of minting to the millisecond."""
    return uuid7().hex


def minted_at(identifier: str) -> datetime | None:
    """When an id of ours was minted; None for anything that is not one."""
    try:
        uuid = UUID(hex=identifier)
    except ValueError:
        return None
    return datetime.fromtimestamp((uuid.int >> 80) / 1000, tz=UTC) if uuid.version == 7 else None


async def once_arrived(find: Callable[[str], Awaitable[T | None]], identifier: str) -> T | None:
    """What `find` finds, waiting up to `PATIENCE` for a newborn's copy to reach this service.

    Services copy each other's facts over the bus within milliseconds. A caller who uses an id right after another
    service gave it to him is not told "not found": only ids minted within `NEWBORN` wait, so a wrong id never does.
    """
    found = await find(identifier)
    minted = minted_at(identifier)
    if found is not None or minted is None or not timedelta(0) <= datetime.now(UTC) - minted < NEWBORN:
        return found
    deadline = datetime.now(UTC) + PATIENCE
    pause = 0.02
    while found is None and datetime.now(UTC) < deadline:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, 0.3)
        found = await find(identifier)
    return found
