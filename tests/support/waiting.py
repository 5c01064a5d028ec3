"""Waiting for the thing itself, never for a fixed time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PAUSES = (0.02, 0.15)
"""Seconds between two checks: at first, and at most. Longer pauses leave the cores to what is waited for."""


async def eventually(check: Callable[[], Awaitable[T | None]], seconds: float = 30, why: str = "") -> T:
    """Call `check` until it returns something truthy, and return that. An AssertionError in it counts as not yet."""
    deadline, (pause, longest) = time.monotonic() + seconds, PAUSES
    failure: AssertionError | None = None
    while True:
        try:
            if result := await check():
                return result
            failure = None
        except AssertionError as error:
            failure = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {why or failure or check}") from failure
        await asyncio.sleep(pause)
        pause = min(1.5 * pause, longest)


def is_alive(pid: int) -> bool:
    """Whether a process runs (Linux only). A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
