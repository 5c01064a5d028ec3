"""Work that a service repeats in the background for as long as it runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def repeated(work: Callable[[asyncio.Event], Awaitable[None]], pause: float) -> AsyncIterator[None]:
    """Inside, `work` is done now, and again `pause` seconds after each time. What it raises ends it.

    It gets an event that says that it is over. It is waited for then, and not cancelled: `asyncio.wait_for` on Python
    3.11, by which the clients of MongoDB and NATS wait, may swallow a cancellation.
    """
    over = asyncio.Event()

    async def keep_working() -> None:
        while not over.is_set():
            await work(over)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), pause)

    working = asyncio.create_task(keep_working())
    try:
        yield
    finally:
        over.set()
        await working
