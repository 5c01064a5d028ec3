"""Metrics that are measured in the background, each in base units: seconds, bytes, or a count of things."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from prometheus_client import Histogram

log = logging.getLogger(__name__)

LOOP_LAG = Histogram(
    "souk_event_loop_lag_seconds",
    "How much later than due the event loop came to a timer: what every request waits in addition",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)

LOOK_EVERY = 0.5
"""Seconds between two looks at the event loop."""

SAMPLE_EVERY = 15.0
"""Seconds between two samples: no scraper asks more often."""


@asynccontextmanager
async def loop_watched() -> AsyncIterator[None]:
    """Inside, the lag of the event loop is measured."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look(due: float) -> None:
        nonlocal timer
        now = loop.time()
        LOOP_LAG.observe(max(0.0, now - due))
        timer = loop.call_at(now + LOOK_EVERY, look, now + LOOK_EVERY)

    due = loop.time() + LOOK_EVERY
    timer = loop.call_at(due, look, due)
    try:
        yield
    finally:
        timer.cancel()


@asynccontextmanager
async def sampled(sample: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Inside, `sample` is called every `SAMPLE_EVERY` seconds; a failed one is logged, no more."""
    over = asyncio.Event()

    async def keep_sampling() -> None:
        while not over.is_set():
            try:
                await sample()
            except Exception as error:
                log.info("no sample for the metrics: %s", error or type(error).__name__)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), SAMPLE_EVERY)

    task = asyncio.create_task(keep_sampling())
    try:
        yield
    finally:
        over.set()
        task.cancel()
        await asyncio.wait([task], timeout=1)  # Python 3.11 may lose one cancellation.
