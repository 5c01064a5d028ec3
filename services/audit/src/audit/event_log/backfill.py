"""Fills a new database from the streams, from their first message on, while new messages are stored as usual."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from pydantic import ValidationError

from audit.consumers import consumers
from audit.event_log.store import EventLog
from common.bus.connection import Bus
from common.bus.consumers import arguments_of
from common.bus.message import Message
from common.bus.stream_reader import in_batches
from common.bus.subscription import StreamFilter
from common.cancelling import cancelled

log = logging.getLogger(__name__)

BATCH_SIZE = 500
"""Messages that are stored at once, so that they share writes."""

RETRY_SECONDS = 5.0
"""Seconds until the next try after a failed one."""


@asynccontextmanager
async def backfilling(bus: Bus, events: EventLog, stores: Sequence[object]) -> AsyncIterator[None]:
    """Backfill a new database in the background. `stores` are what the handlers need."""
    task = asyncio.create_task(_keep_trying(bus, events, stores))
    try:
        yield
    finally:
        await cancelled([task])


async def _keep_trying(bus: Bus, events: EventLog, stores: Sequence[object]) -> None:
    while True:
        try:
            if not await events.is_filled():
                log.info("read %s messages again", await backfill(bus, events, stores))
        except Exception as error:
            log.warning("reading the streams again failed; next try in %s s: %s", RETRY_SECONDS, error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


async def backfill(bus: Bus, events: EventLog, stores: Sequence[object]) -> int:
    """Call the handlers with every message of their streams; return how many there were.

    This is safe at any time: a message that is already stored changes nothing.
    """
    count = 0
    # Decisions come last because they are about dead letters.
    for handler, wanted in sorted(consumers.subscriptions, key=lambda known: known[1].stream == "LETTERS"):
        arguments = arguments_of(handler, stores)
        async with aclosing(bus.stored_messages(wanted.stream, *wanted.subjects, archived=False)) as messages:
            async for batch in in_batches(messages, BATCH_SIZE):
                known = [wanted.decode(message) for message in batch if _is_readable(message, wanted)]
                await asyncio.gather(*(handler(one, **arguments) for one in known))
                count += len(batch)
    await events.set_filled()
    return count


def _is_readable(message: Message, wanted: StreamFilter) -> bool:
    try:
        wanted.decode(message)
    except ValidationError:
        return False  # Its consumer has dead-lettered it.
    return True
