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
"""The stream of the records, one for each message and handler: `tries.orders.follow_item.ITEMS.7`."""

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
        while True:
            try:
                record = json.loads((await self._js.get_last_msg(TRIES, self._subject(handler, msg))).data or b"")
            except NotFoundError:
                return Past(0, in_doubt=True)
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
        while True:
            try:
                return await self._write(handler, msg, count, ended=False)
            except NatsError as error:  # The record may be there. To give up now would count a try that never began.
                await self._wait(error)

    async def ended(self, handler: str, msg: Msg, count: int) -> None:
        """Record that the last try ended, and that now `count` have failed."""
        await self._write(handler, msg, count, ended=True)

    async def _write(self, handler: str, msg: Msg, count: int, *, ended: bool) -> None:
        record = json.dumps({"count": count, "ended": ended}).encode()
        await self._js.publish(self._subject(handler, msg), record)

    def _subject(self, handler: str, msg: Msg) -> str:
        return f"tries.{self._service}.{handler}.{msg.metadata.stream}.{msg.metadata.sequence.stream}"

    async def _wait(self, error: NatsError) -> None:
        log.info("waiting for the bus to record a try: %s", error or type(error).__name__)
        await asyncio.sleep(PAUSE)
