"""Tasks that end when they are told to."""

import asyncio
from collections.abc import Collection
from typing import Any


async def cancelled(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended: Python 3.11 may lose a cancellation that comes with what a task waits for."""
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=0.1)
