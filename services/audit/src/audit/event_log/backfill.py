"""A log that was lost is read again: every stream from its first message on, beside what comes in meanwhile."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pydantic import ValidationError

from audit.consumers import consumers
from audit.event_log.store import EventLog, LetterStore
from common.bus.connection import Bus
from common.bus.consumers import arguments_of
from common.bus.message import Message
from common.bus.subscription import StreamFilter

log = logging.getLogger(__name__)

TOGETHER = 500
"""Messages that are kept at once, so that they share writes."""

PAUSE = 5.0
"""Seconds until the next try after one that failed."""


@asynccontextmanager
async def refilling(bus: Bus, events: EventLog, letters: LetterStore) -> AsyncIterator[None]:
    """Fill, in the background, a database that was made anew."""
    task = asyncio.create_task(_keep_trying(bus, events, letters))
    try:
        yield
    finally:
        while not task.done():  # Python 3.11 forgets a cancellation that meets a message: say it again.
            task.cancel()
            await asyncio.wait([task], timeout=0.1)


async def _keep_trying(bus: Bus, events: EventLog, letters: LetterStore) -> None:
    while True:
        try:
            if not await events.is_filled():
                log.info("read %s messages again", await refill(bus, events, letters))
        except Exception as error:
            log.warning("reading the streams again failed; next try in %s s: %s", PAUSE, error)
            await asyncio.sleep(PAUSE)
        else:
            return


async def refill(bus: Bus, events: EventLog, letters: LetterStore) -> int:
    """Keep every message that lies in a stream, by the handlers' own way; return how many that were.

    Safe at any time: what is here already changes nothing.
    """
    count = 0
    # Decisions last: they are about letters.
    for handler, wanted in sorted(consumers.subscriptions, key=lambda known: known[1].stream == "LETTERS"):
        arguments = arguments_of(handler, [events, letters])
        async with aclosing(bus.stored_messages(wanted.stream, *wanted.subjects)) as past:
            async for some in _together(past):
                known = [wanted.decode(message) for message in some if _is_readable(message, wanted)]
                await asyncio.gather(*(handler(one, **arguments) for one in known))
                count += len(some)
    await events.filled()
    return count


def _is_readable(message: Message, wanted: StreamFilter) -> bool:
    try:
        wanted.decode(message)
    except ValidationError:
        return False  # Its consumer has made it a dead letter.
    return True


async def _together(messages: AsyncIterator[Message]) -> AsyncIterator[list[Message]]:
    some: list[Message] = []
    async for message in messages:
        some.append(message)
        if len(some) == TOGETHER:
            yield some
            some = []
    if some:
        yield some
