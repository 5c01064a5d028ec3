"""How often handlers have begun on a message and not finished it, on record in the stream TRIES.

The server's own count of deliveries includes those to a replica that hangs and never begins (docs/decisions/
dead-letters.md). Nothing is recorded for a message that is handled at its first delivery.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

log = logging.getLogger(__name__)

TRIES = "TRIES"
"""The stream of the records, one for each message and handler: `tries.orders.follow_item.ITEMS.7`.

Archived messages are delivered in batches, and each batch has one too: `tries.orders.follow_item.ITEMS.from.7`.
"""

PAUSE = 0.5
"""Seconds until the next attempt to read or write a record while the bus is away."""


@dataclass(frozen=True, slots=True)
class Past:
    """The tries of a message before this one. `in_doubt`: how the last one ended, if there was one, is not known."""

    count: int
    in_doubt: bool


FIRST = Past(0, in_doubt=False)
"""The past of a message at its first delivery."""


class Tries:
    """The records of one service."""

    def __init__(self, js: JetStreamContext, service: str) -> None:
        self._js = js
        self._service = service
        self._alone = asyncio.Lock()

    async def before(self, handler: str, msg: Msg) -> Past:
        """The tries of a message until now. Waits for the bus."""
        if msg.metadata.num_delivered == 1:
            return FIRST
        return await self._read(self._subject(handler, msg)) or Past(0, in_doubt=True)

    async def begin_batch(self, handler: str, stream: str, start: int) -> bool:
        """Record that the messages of the batch from `start` on begin. Returns whether all may be first deliveries.

        They are not if the batch has begun before, and one of them may have ended the process. Waits for the bus.
        """
        subject = self._batch(handler, stream, start)
        past = await self._read(subject)
        await self._write_surely(subject, 0, ended=False)
        return past is None or not past.in_doubt

    async def end_batch(self, handler: str, stream: str, start: int) -> None:
        """Record that every message of a batch was handled. Waits for the bus."""
        await self._write_surely(self._batch(handler, stream, start), 0, ended=True)

    async def _read(self, subject: str) -> Past | None:
        while True:
            try:
                record = json.loads((await self._js.get_last_msg(TRIES, subject)).data or b"")
            except NotFoundError:
                return None
            except NatsError as error:
                await self._wait(error)
            else:
                return Past(record["count"], in_doubt=not record["ended"])

    @asynccontextmanager
    async def trying(self, handler: str, msg: Msg, past: Past) -> AsyncIterator[None]:
        """One more try. From the second delivery on it is on record before it begins. Waits for the bus.

        A message that may have ended its process is tried while no other such message is: so it cannot take them along.
        """
        async with self._alone if past.in_doubt else contextlib.nullcontext():
            if past is not FIRST:
                await self._begin(handler, msg, past.count + 1)
            yield

    async def _begin(self, handler: str, msg: Msg, count: int) -> None:
        # If the bus goes away, the record may be there. To give up now would count a try that never began.
        await self._write_surely(self._subject(handler, msg), count, ended=False)

    async def undo(self, handler: str, msg: Msg, past: Past) -> None:
        """Record that the last try does not count. Waits for the bus."""
        await self._write_surely(self._subject(handler, msg), past.count, ended=True)

    async def ended(self, handler: str, msg: Msg, count: int) -> None:
        """Record that the last try ended, and that now `count` have failed."""
        await self._write(self._subject(handler, msg), count, ended=True)

    async def _write_surely(self, subject: str, count: int, *, ended: bool) -> None:
        while True:
            try:
                return await self._write(subject, count, ended=ended)
            except NatsError as error:
                await self._wait(error)

    async def _write(self, subject: str, count: int, *, ended: bool) -> None:
        await self._js.publish(subject, json.dumps({"count": count, "ended": ended}).encode())

    def _subject(self, handler: str, msg: Msg) -> str:
        return f"tries.{self._service}.{handler}.{msg.metadata.stream}.{msg.metadata.sequence.stream}"

    def _batch(self, handler: str, stream: str, start: int) -> str:
        return f"tries.{self._service}.{handler}.{stream}.from.{start}"

    async def _wait(self, error: NatsError) -> None:
        log.info("waiting for the bus to record a try: %s", error or type(error).__name__)
        await asyncio.sleep(PAUSE)
