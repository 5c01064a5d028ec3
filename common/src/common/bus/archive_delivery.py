"""What is in the archive is delivered to a durable that has not begun, before what is in its stream.

So a new service, or a new handler, gets every event from the first on, without knowing of the archive. Whoever is
killed meanwhile begins again: a handler accepts a message twice. Those that were in hand then are delivered again, so
their tries are counted, and one that kills its process each time becomes a dead letter.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

from nats.aio.msg import Msg
from nats.js import JetStreamContext

from common.bus.archive import Archive
from common.bus.durables import Durable, wait_for
from common.bus.message import Message
from common.bus.stream_reader import in_batches
from common.bus.tries import FIRST, Tries

log = logging.getLogger(__name__)

AT_ONCE = 100
"""Archived messages that are handled at the same time."""

PAUSE = 1.0
"""Seconds until the archive is asked again, where it did not answer."""

Handle = Callable[[Msg, Message], Awaitable[bool]]
"""Calls a handler with a message; then acknowledges it, or asks for it again. Returns whether it was handled."""


@dataclass(frozen=True)
class Place:
    """Where a message is, as in the metadata of a delivery."""

    consumer: int
    stream: int


@dataclass(frozen=True)
class Metadata:
    """What JetStream says about a delivery."""

    stream: str
    sequence: Place
    num_delivered: int


class Delivery:
    """One delivery of an archived message. It takes the place of a `Msg` of JetStream."""

    def __init__(self, message: Message, number: int) -> None:
        self.metadata = Metadata(message.stream, Place(0, message.sequence), number)
        self.again: float | None = None
        """Seconds until the message is to be delivered again; None if it is done."""

    async def ack(self) -> None:
        """The message is done."""

    async def nak(self, delay: float = 0) -> None:
        """Deliver it again."""
        self.again = delay


async def has_not_begun(js: JetStreamContext, archive: Archive, durable: Durable) -> bool:
    """Whether there are archived events that a durable may lack: it has acknowledged nothing of its stream yet."""
    if await archive.ends(durable.stream) <= 1:
        return False
    await wait_for(js, durable)
    info = await js.consumer_info(durable.stream, durable.name)
    return not (info.config.opt_start_seq or (info.ack_floor and info.ack_floor.consumer_seq))


async def deliver_archived(archive: Archive, durable: Durable, handle: Handle, tries: Tries) -> None:
    """Have every archived message of a durable handled, the oldest first. Waits for the archive where it is away."""
    start, count = 1, 0
    log.info("%s has not begun: reading the archive of %s", durable.name, durable.stream)
    while True:
        try:
            before = await archive.ends(durable.stream)
            async with aclosing(archive.read(durable.stream, [durable.subject], start, before)) as messages:
                async for batch in in_batches(messages, AT_ONCE):
                    await _deliver_batch(batch, durable, handle, tries)
                    start, count = batch[-1].sequence + 1, count + len(batch)
        except Exception as error:  # Whatever it was: a handler that never begins would be worse.
            log.warning("cannot read the archive of %s yet: %s", durable.stream, error or type(error).__name__)
            await asyncio.sleep(PAUSE)
        else:
            log.info("%s has got %s events of the archive", durable.name, count)
            return


async def _deliver_batch(batch: Sequence[Message], durable: Durable, handle: Handle, tries: Tries) -> None:
    """A batch with a dead letter does not count as ended: when it is read again, its tries are known."""
    place = durable.handler, durable.stream, batch[0].sequence
    number = 1 if await tries.begin_batch(*place) else 2
    handled = await asyncio.gather(*(_deliver(message, number, durable.handler, handle, tries) for message in batch))
    if all(handled):
        await tries.end_batch(*place)


async def _deliver(message: Message, number: int, handler: str, handle: Handle, tries: Tries) -> bool:
    while True:
        delivery = Delivery(message, number)
        msg = cast("Msg", delivery)
        handled = await handle(msg, message)
        if handled and number > 1:
            await tries.undo(handler, msg, FIRST)  # It may be read again, and did not end the process.
        if delivery.again is None:
            return handled
        await asyncio.sleep(delivery.again)
        number += 1
