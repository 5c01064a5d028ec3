"""Every process receives every new event; the server keeps no state for it."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from pydantic import ValidationError

from common.bus.message import Message
from common.bus.stream_reader import first_since, read_all, stored
from common.cancelling import cancelled
from common.events import Event

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0
"""Seconds between two looks whether the stream has an event that was not among the news."""

PAUSE = 0.25
"""Seconds until the next attempt while the bus is unavailable."""


class Listener:
    """Calls `receive` with every new event of the types `events` (of one stream), in order.

    A stream passes on what it has stored as news, at most once. News that are missing are read from the stream: a
    number that was skipped shows them, or a look at the stream's newest number.
    """

    def __init__(
        self,
        client: Client,
        js: JetStreamContext,
        events: Sequence[type[Event]],
        receive: Callable[[Event], None],
        past: float = 0,
    ) -> None:
        """It begins with the events of the last `past` seconds."""
        [self._stream] = {event.stream for event in events}
        self._subjects = {event.subject for event in events}
        self._client = client
        self._js = js
        self._receive = receive
        self._past = timedelta(seconds=past)
        self._next = 0
        self._looked = 0.0
        self.complete_at = -math.inf
        """What the stream had at this time (monotonic) has all been passed on."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Listener"]:
        """Listen. No event is missed from the moment of entering on, and those of the past have been received."""
        since = datetime.now(UTC) - self._past
        self._next = await self._newest() + 1
        if self._past:
            self._next = await first_since(self._client, self._js, self._stream, since) or self._next
            await self._catch_up()
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            await cancelled([task])

    async def _newest(self) -> int:
        stream = await self._js.stream_info(self._stream)
        if stream.config.subject_transform:
            raise NatsError(f"{self._stream} is being refilled: what it gets is no news")
        return stream.state.last_seq

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:  # Whatever it was: a listener that stops would leave old news on every page.
                log.info("listening to %s again: %s", self._stream, error or type(error).__name__)
                await asyncio.sleep(PAUSE)

    async def _follow(self) -> None:
        news = await self._client.subscribe(f"news.{self._stream.lower()}.>")
        try:
            await self._catch_up()
            while True:
                if msg := await self._next_of(news):
                    await self._hear(stored(msg))
                if time.monotonic() - self._looked > LOOK_EVERY:
                    await self._catch_up()
        finally:
            with contextlib.suppress(NatsError):
                await news.unsubscribe()

    async def _next_of(self, news: Subscription) -> Msg | None:
        try:
            return await news.next_msg(LOOK_EVERY)
        except NatsTimeout:
            return None

    async def _hear(self, message: Message) -> None:
        if message.sequence > self._next:
            await self._catch_up()
        if message.sequence >= self._next:
            self._pass_on(message)

    async def _catch_up(self) -> None:
        """Pass on what the stream has and the news did not bring."""
        began = self._looked = time.monotonic()
        self._next = min(self._next, await self._newest() + 1)  # A stream that was lost begins again.
        async with aclosing(read_all(self._client, self._js, self._stream, (), self._next)) as missed:
            async for message in missed:
                self._pass_on(message)
        self.complete_at = began

    def _pass_on(self, message: Message) -> None:
        self._next = message.sequence + 1
        if message.subject not in self._subjects:
            return
        try:
            event = message.event()
        except ValidationError:
            return  # Its consumers make it a dead letter.
        try:
            self._receive(event)
        except Exception:
            log.exception("could not pass on %s", message.subject)
