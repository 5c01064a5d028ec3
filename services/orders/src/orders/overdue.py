"""Ends holds that are long over and whose end nobody has told.

The deadlines are expiration's, in a Redis that may forget some (docs/decisions/deadlines-are-a-projection.md). Orders
knows itself when a hold ends, so it looks from time to time: whatever was forgotten, every order ends.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from prometheus_client import Counter

from common.bus.connection import BusError
from common.clock import now
from common.errors import Unavailable
from common.mongo.client import AWAY
from common.repeated import repeated
from orders.desk import ReservationDesk
from orders.store import OrderStore

log = logging.getLogger(__name__)

OVERDUE = timedelta(seconds=60)
"""How long after its time a hold is overdue. Until then its end is on its way."""

LOOK_EVERY = 30.0
"""Seconds between two looks of a replica."""

SETTLE = 60.0
"""Seconds for which the bus must have been there. Until then, news of a payment that came in time may be on its way."""

AT_ONCE = 200
"""Orders that are ended together."""

FORGOTTEN = Counter(
    "souk_holds_overdue_total", "Holds that orders ended itself, because nobody told that they are over"
)


def ending_overdue(
    store: OrderStore, desk: ReservationDesk, check_bus: Callable[[], Awaitable[None]]
) -> AbstractAsyncContextManager[None]:
    """In the background, end the holds that are overdue, unless the bus is away or was until a moment ago."""
    away_at = time.monotonic()

    async def look(_: asyncio.Event) -> None:
        nonlocal away_at
        try:
            await check_bus()
        except (BusError, OSError) as error:
            away_at = time.monotonic()
            log.info("not looking for overdue holds: %s", error or type(error).__name__)
            return
        if time.monotonic() - away_at < SETTLE:
            return
        try:
            await end_overdue(store, desk)
        except (*AWAY, Unavailable) as error:
            log.info("overdue holds could not be ended: %s", error or type(error).__name__)
        except Exception:
            log.exception("overdue holds could not be ended; the next try is in %s s", LOOK_EVERY)

    return repeated(look, LOOK_EVERY)


async def end_overdue(store: OrderStore, desk: ReservationDesk) -> int:
    """End the holds that are overdue, the oldest first, up to `AT_ONCE`; return how many there were.

    Several replicas may do so at once: an order expires once.
    """
    if overdue := await store.overdue(now() - OVERDUE, AT_ONCE):
        log.warning("%s holds were over and nobody told it", len(overdue))
        await asyncio.gather(*(desk.expire(order_id) for order_id in overdue))
        FORGOTTEN.inc(len(overdue))
    return len(overdue)
