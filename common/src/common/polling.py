"""Looking again until something is there."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

FIRST_PAUSE = 0.02
"""Seconds until the second look. Each further pause is half as long again, up to `LONGEST_PAUSE`."""

LONGEST_PAUSE = 0.3


async def found_within(seconds: float, find: Callable[[], Awaitable[T | None]]) -> T | None:
    """What `find` finds at once or within `seconds`. None if it finds nothing in that time."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while (found := await find()) is None and time.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, LONGEST_PAUSE)
    return found
