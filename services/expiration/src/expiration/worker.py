"""Publishes the end of every hold, and rebuilds the deadlines if Redis lost them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import datetime

from prometheus_client import Histogram

from common.bus.connection import Bus, BusError
from common.bus.envelope import Envelope
from common.cancelling import cancelled
from common.events import HoldElapsed, OrderCancelled, OrderPaid, OrderPlaced, OrderState
from common.telemetry import RELAYED
from expiration.deadlines import AWAY, Deadlines, Incomplete, milliseconds, utc_now

log = logging.getLogger(__name__)

LATENESS = Histogram(
    "souk_deadline_lateness_seconds",
    "How long after a hold was over the bus had stored its end",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)

BATCH = 500
"""Orders claimed, or events read again, at a time: what bounds the memory."""

POLL_SECONDS = 0.2
"""Longest pause between two looks: within it a new deadline, or an emptied Redis, is noticed."""

SHUTDOWN_GRACE = 6.0
"""Seconds that a stopping worker has to finish its claim. A publish takes at most 5."""

READ: tuple[type[OrderState], ...] = (OrderPlaced, OrderCancelled, OrderPaid)
"""What the deadlines are made of. Events in the archive are not read: their holds were over long ago."""


def elapsed(order_id: str) -> Envelope:
    """The event that a hold is over, with the same id however often it is published."""
    return Envelope.of(HoldElapsed(order_id=order_id), event_id=f"elapsed-{order_id}")


class Worker:
    """Publishes elapsed holds. A deadline leaves Redis only after JetStream has the event. Made by `working`."""

    def __init__(self, deadlines: Deadlines, bus: Bus) -> None:
        self._deadlines = deadlines
        self._bus = bus
        self._stopping = asyncio.Event()
        self._last_error_type: type[Exception] | None = None

    @classmethod
    @asynccontextmanager
    async def working(cls, deadlines: Deadlines, bus: Bus) -> AsyncIterator[None]:
        """Run a worker. On leaving, it finishes its claim."""
        worker = cls(deadlines, bus)
        task = asyncio.create_task(worker._run())
        try:
            yield
        finally:
            worker._stopping.set()
            await asyncio.wait([task], timeout=SHUTDOWN_GRACE)
            await cancelled([task])  # In a long rebuild, which the next worker starts again.

    async def _run(self) -> None:
        while not self._stopping.is_set():
            pause = POLL_SECONDS
            try:
                if self._bus.connected_now:
                    pause = await self._look()
                self._report(None)
            except Exception as error:
                self._report(error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _look(self) -> float:
        """Publish the next holds that are over. Return the seconds until the next look."""
        try:
            claim = await self._deadlines.claim(BATCH)
        except Incomplete:
            await self._rebuild()
            return POLL_SECONDS
        if claim.orders:
            envelopes = {elapsed(order): order for order in claim.orders}
            published = {envelopes[envelope] for envelope in await self._bus.publish(list(envelopes))}
            await self._deadlines.settle(claim, published)
            RELAYED.labels(HoldElapsed.subject).inc(len(published))
            moment = milliseconds(utc_now())
            for order in published:
                LATENESS.observe((moment - claim.orders[order]) / 1000)
            if len(published) < len(claim.orders):
                return POLL_SECONDS
        return min(POLL_SECONDS, claim.idle.total_seconds())

    async def _rebuild(self) -> None:
        """Read the orders' events from the first and keep the deadlines of those not settled, unless another does.

        An order that is settled meanwhile, or whose events are out of order, may keep its deadline: orders ignores
        the end of a hold that is settled.
        """
        if not await self._deadlines.begin_rebuild():
            return
        log.info("Redis has started: reading the deadlines from the orders' events")
        changes: dict[str, datetime | None] = {}
        async with aclosing(self._bus.stored_events(*READ, archived=False)) as events:
            async for event in events:
                match event:
                    case OrderPlaced():
                        changes.setdefault(event.order_id, event.expires_at)
                    case OrderCancelled() | OrderPaid():
                        changes[event.order_id] = None
                if len(changes) >= BATCH:
                    await self._deadlines.rebuild(changes)
                    changes.clear()
        await self._deadlines.rebuild(changes, complete=True)
        log.info("Redis holds every deadline")

    def _report(self, error: Exception | None) -> None:
        """Log what is wrong once, and that it is over."""
        if type(error) is self._last_error_type or (error is None and self._last_error_type is None):
            return
        if error is None:
            log.info("the deadlines are watched again")
        else:
            known = isinstance(error, (*AWAY, BusError, Incomplete))
            log.warning("no deadlines for now: %s: %s", type(error).__name__, error, exc_info=None if known else error)
        self._last_error_type = type(error) if error else None
