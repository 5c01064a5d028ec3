"""Event handlers as durable consumers that replicas share: every message ends as handled, or as a dead letter.

Messages are acknowledged explicitly, and a failed one is delivered again after a growing delay. Tries are counted here,
because the server would drop a message silently after `max_deliver` (docs/decisions/dead-letters.md).
"""

import asyncio
import contextlib
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, get_type_hints

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from pydantic import ValidationError

from common.bus.archive import Archive
from common.bus.archive_delivery import deliver_archived, has_not_begun
from common.bus.durables import ACK_WAIT, Durable
from common.bus.message import Message
from common.bus.subscription import DurableSubscription, StreamFilter, delivered
from common.bus.tries import FIRST, Past, Tries
from common.cancelling import cancelled
from common.events import DeadLetterReplayed, Event
from common.telemetry import HANDLED, RETRIED, Cause, new_cause
from common.tracing import failed, working

log = logging.getLogger(__name__)

RETRY_DELAYS = (0.05, 0.2, 1.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds until the next delivery after each failed one. A message that fails once more becomes a dead letter."""

HANDLER_TIMEOUT = 60.0
"""Seconds that a handler may take for one message."""

TIMED_OUT_DELAY = 5.0
"""Seconds until a message whose handler took longer is delivered again."""

REPLAYS = "replays"
"""The name of each service's subscription to replays of dead letters."""

Handler = Callable[..., Awaitable[None]]
H = TypeVar("H", bound=Handler)


class RetryLater(Exception):
    """Raised by a handler that cannot act yet: deliver again in `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"not yet; again in {delay:.3f} s")
        self.delay = delay


class HandlerTimeout(Exception):
    """A handler took longer than it may. A server may hang, so this is no failure of the message."""


class Consumers:
    """The event handlers of one service. The replicas share a durable consumer for each handler and subject."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.handlers: list[tuple[Handler, tuple[type[Event], ...]]] = []
        self.stream_handlers: list[tuple[Handler, str]] = []

    def on(self, *events: type[Event]) -> Callable[[H], H]:
        """Register a handler for events of one stream. Its further parameters are filled by their type."""

        def register(handler: H) -> H:
            self.handlers.append((handler, events))
            return handler

        return register

    def on_stream(self, stream: str) -> Callable[[H], H]:
        """Register a handler for every `Message` of a stream, valid event or not."""

        def register(handler: H) -> H:
            self.stream_handlers.append((handler, stream))
            return handler

        return register

    @property
    def subscriptions(self) -> list[tuple[Handler, StreamFilter]]:
        """Every handler with the messages that it handles."""
        return [
            *((handler, StreamFilter.of(*events)) for handler, events in self.handlers),
            *((handler, StreamFilter.of_stream(stream)) for handler, stream in self.stream_handlers),
        ]

    @property
    def durables(self) -> list[Durable]:
        """Every durable consumer that the service needs."""
        every = [(handler.__name__, wanted) for handler, wanted in self.subscriptions]
        return [
            durable
            for name, wanted in [*every, (REPLAYS, StreamFilter.of(DeadLetterReplayed))]
            for durable in wanted.durables(self.service, name)
        ]


def arguments_of(handler: Callable[..., object], parts: Sequence[object]) -> dict[str, object]:
    """Arguments for the handler's parameters after the first: for each, the one of `parts` that has its type."""
    by_type = {type(part): part for part in parts}
    hints = get_type_hints(handler)
    _, *others = inspect.signature(handler).parameters
    return {name: by_type[hints[name]] for name in others}


class Consumer(DurableSubscription):
    """One handler at work in this process."""

    def __init__(
        self,
        service: str,
        handler: Handler,
        wanted: StreamFilter,
        arguments: Mapping[str, Any],
        tries: Tries,
        *,
        delays: Sequence[float],
        away: tuple[type[Exception], ...],
        archive: Archive,
    ) -> None:
        """A handler that fails with one of `away` is called again until it does not; no dead letter comes of that."""
        super().__init__(service, handler.__name__, wanted)
        self._handler = handler
        self._arguments = arguments
        self._tries = tries
        self._delays = delays
        self._away = away
        self._archive = archive
        self._reading: list[asyncio.Task[None]] = []
        self._waiting = 0

    async def _begin(self, durable: Durable) -> None:
        """See `DurableSubscription`. What is in the archive comes first, if the durable is new."""
        if await has_not_begun(self._js, self._archive, durable):
            self._reading.append(asyncio.create_task(self._begin_in_archive(durable)))
        else:
            await super()._begin(durable)

    async def _begin_in_archive(self, durable: Durable) -> None:
        await deliver_archived(self._archive, durable, self.handle, self._tries)
        while True:
            try:
                return await super()._begin(durable)
            except NatsError as error:
                log.warning("cannot begin with %s yet: %s", durable.name, error or type(error).__name__)
                await asyncio.sleep(TIMED_OUT_DELAY)

    async def stop(self) -> None:
        """See `DurableSubscription`. The next start reads the archive again."""
        await cancelled(self._reading)
        await super().stop()

    async def _take(self, msg: Msg) -> None:
        await self.handle(msg, delivered(msg))

    async def handle(self, msg: Msg, message: Message) -> bool:
        """Call the handler with `message`; then acknowledge `msg`, ask for it again, or make it a dead letter.

        Returns whether the handler has ended without an error.
        """
        try:
            event = self._wanted.decode(message)
        except ValidationError as error:
            await self.dead_letter(msg, message, f"{type(error).__name__}: {error}")
            return False
        past = await self._tries.before(self.name, msg)
        if past.in_doubt and past.count > len(self._delays):
            # It never finished and never failed either: handling this message ends the process.
            await self.dead_letter(msg, message, "was tried again and again and never finished", past.count)
            return False
        with working(
            self.service, f"process {message.subject}", _cause_of(message), "CONSUMER", self._attributes(message, event)
        ):
            try:
                await self._present(msg, event, past)
            except RetryLater as later:
                await self._hand_back(msg, past, later.delay)
            except asyncio.CancelledError:
                with contextlib.suppress(NatsError):  # There is no time to wait for the bus.
                    await self._tries.ended(self.name, msg, past.count)
                    await msg.nak(delay=0)
                raise
            except HandlerTimeout as error:
                await self._hand_back(msg, past, TIMED_OUT_DELAY)
                await self._report(msg, message, error, past.count + 1)
            except Exception as error:
                await self._failed(msg, message, error, past.count + 1)
            else:
                await msg.ack()
                HANDLED.labels(self.name).inc()
                return True
        return False

    def _attributes(self, message: Message, event: Event) -> dict[str, str]:
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.subject,
            "messaging.consumer.group.name": self.reader,
            "messaging.message.id": message.headers.get("ce-id", ""),
        }
        order_id = getattr(event, "order_id", None)
        return {**attributes, "souk.order_id": order_id} if order_id else attributes

    async def _present(self, msg: Msg, event: Event, past: Past) -> None:
        """Call the handler; while a server that it needs is away, keep the message and try again."""
        try:
            async with self._tries.trying(self.name, msg, past):
                return await self._call(event)
        except self._away as error:
            if not self._waiting:
                log.warning("waiting for a server that is away: %s", type(error).__name__)
        self._waiting += 1
        try:
            await self._keep_presenting(msg, event, past)
        finally:
            self._waiting -= 1
            if not self._waiting:
                log.info("no message is waiting for a server any more")

    async def _keep_presenting(self, msg: Msg, event: Event, past: Past) -> None:
        """Until the server is back. Killing the process meanwhile must not use up a try."""
        if past is not FIRST:
            with contextlib.suppress(NatsError):
                await self._tries.ended(self.name, msg, past.count)
        pause = 0.1
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(*self._away):
                return await self._call(event)
            pause = min(pause * 2, ACK_WAIT / 6)

    async def _call(self, event: Event) -> None:
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT) as limit:
                await self._handler(event, **self._arguments)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise HandlerTimeout(f"took longer than {HANDLER_TIMEOUT:g} s") from error

    async def _hand_back(self, msg: Msg, past: Past, delay: float) -> None:
        """Ask for the message again. The try that has just ended does not count. Waits for the bus."""
        await self._tries.undo(self.name, msg, past)
        await msg.nak(delay=delay)

    async def _failed(self, msg: Msg, message: Message, error: Exception, tries: int) -> None:
        await self._tries.ended(self.name, msg, tries)
        if tries > len(self._delays):
            log.error("%s gave up on %s", self.name, message.subject, exc_info=error)
            failed(error)
            await self.dead_letter(msg, message, f"{type(error).__name__}: {error}", tries)
            return
        await msg.nak(delay=self._delays[tries - 1] * random.uniform(0.75, 1.25))  # noqa: S311 - no secret depends on it
        await self._report(msg, message, error, tries)

    async def _report(self, msg: Msg, message: Message, error: Exception, tries: int) -> None:
        what = f"{type(error).__name__}: {error}"
        log.warning("%s failed on %s and will try again: %s", self.name, message.subject, what)
        RETRIED.labels(self.name).inc()
        failed(error)
        await self.report_retry(msg, message, what, tries)


def _cause_of(message: Message) -> Cause:
    """What is done because of this message carries on its request id and trace, and names it as the cause."""
    headers = message.headers
    cause = new_cause(headers.get("ce-requestid"), headers.get("traceparent"))
    return Cause(cause.request_id, cause.traceparent, headers.get("ce-id"))
