"""Durable queue-group consumers: every message ends as handled, or as a dead letter.

Explicit acknowledgement; a failure comes again with a growing delay; deliveries are counted here, because the server
would drop a message silently after `max_deliver` (docs/decisions/dead-letters.md).
"""

import asyncio
import contextlib
import inspect
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar, get_type_hints

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pydantic import ValidationError

from common.events import EVENTS, Event
from common.telemetry import DEAD_LETTERS, HANDLED, RETRIED, Cause, caused_by, new_cause

log = logging.getLogger(__name__)

RETRY_DELAYS = (0.05, 0.2, 1.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds until the next delivery after each failed one; when they are used up, the message is a dead letter."""

ACK_WAIT = 10.0
"""Seconds the server waits for a sign of life before it delivers again: how long a killed process delays messages."""

HANDLER_LIMIT = 60.0
"""Seconds a handler may take; one that hangs has failed."""

ROOM_FOR_LETTER = 16_384
"""Bytes of the server's largest payload that a dead letter's headers may take."""

IN_HAND = 256
"""Messages of one consumer that are with all replicas together."""

Handler = Callable[..., Awaitable[None]]
H = TypeVar("H", bound=Handler)


class RetryLater(Exception):
    """Raised by a handler that cannot act yet: deliver again in `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"not yet; again in {delay:.3f} s")
        self.delay = delay


class Consumers:
    """The event handlers of one service: each a durable consumer that the replicas share as a queue group."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.handlers: list[tuple[Handler, tuple[type[Event], ...]]] = []

    def on(self, *events: type[Event]) -> Callable[[H], H]:
        """Register a handler for events of one stream. Its further parameters are filled by their type."""

        def register(handler: H) -> H:
            self.handlers.append((handler, events))
            return handler

        return register


def arguments_of(handler: Handler, parts: Sequence[object]) -> dict[str, object]:
    """The handler's parameters after the event, each the one of `parts` that has its type."""
    by_type = {type(part): part for part in parts}
    hints = get_type_hints(handler)
    _, *others = inspect.signature(handler).parameters
    return {name: by_type[hints[name]] for name in others}


class Consumer:
    """One handler at work in this process."""

    def __init__(
        self,
        service: str,
        handler: Handler,
        events: Sequence[type[Event]],
        arguments: Mapping[str, Any],
        *,
        delays: Sequence[float],
        away: tuple[type[Exception], ...],
    ) -> None:
        """While a handler fails with one of `away`, it is tried again here; such failures make no dead letter."""
        self.name = handler.__name__
        self.durable = f"{service}-{self.name}"
        self._service = service
        self._handler = handler
        self._arguments = arguments
        self._events = events
        self._delays = delays
        self._away = away
        self._in_hand: dict[asyncio.Task[None], Msg] = {}
        self._waiting = 0
        self._subscription: Subscription | None = None
        self._pulse: asyncio.Task[None] | None = None

    async def start(self, client: Client, js: JetStreamContext) -> None:
        """Take messages from now on. A consumer that exists is brought up to date and goes on where it was."""
        [stream] = {event.stream for event in self._events}
        deliver = f"deliver.{self._service}.{self.name}"
        self._client = client
        self._js = js
        self._subscription = await client.subscribe(deliver, queue=self._service, cb=self._receive)
        self._pulse = asyncio.create_task(self._show_life())
        await js.add_consumer(
            stream,
            ConsumerConfig(
                durable_name=self.durable,
                deliver_subject=deliver,
                deliver_group=self._service,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT,
                max_deliver=-1,
                max_ack_pending=IN_HAND,
                filter_subjects=[event.subject for event in self._events],
            ),
        )

    async def stop(self) -> None:
        """Take no more; finish what is in hand, for at most 10 seconds; the rest goes to another replica."""
        if self._subscription is None or self._pulse is None:
            return
        if self._client.is_connected:
            with contextlib.suppress(NatsError):
                await self._subscription.drain()  # type: ignore[no-untyped-call]
        if self._in_hand:
            _, late = await asyncio.wait(set(self._in_hand), timeout=10)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)  # Not gathered: pymongo on Python 3.11 may swallow a cancellation.
        self._pulse.cancel()
        await asyncio.gather(self._pulse, return_exceptions=True)

    async def _receive(self, msg: Msg) -> None:
        task = asyncio.create_task(self._take(msg))
        self._in_hand[task] = msg
        task.add_done_callback(self._put_down)

    def _put_down(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        if not task.cancelled() and (error := task.exception()):
            log.warning("could not answer for a message; it will come again: %s", error)

    async def _show_life(self) -> None:
        """Tell the server about messages that take long, so that nobody else is given them."""
        while True:
            before = dict(self._in_hand)
            await asyncio.sleep(ACK_WAIT / 3)
            for task, msg in before.items():
                with contextlib.suppress(NatsError):  # also: it was answered a moment ago
                    if task in self._in_hand:
                        await msg.in_progress()

    async def _take(self, msg: Msg) -> None:
        deliveries = msg.metadata.num_delivered
        if deliveries > len(self._delays) + 2:
            # Never finished and never failed either: this message ends the process that handles it.
            await self._dead_letter(msg, "was delivered again and again and never finished")
            return
        if deliveries > 2:
            # Perhaps another message in hand ends the process each time: whoever waits less than that one gets through.
            await asyncio.sleep(random.uniform(0, 1))  # noqa: S311 - spreads, guards nothing
        try:
            event = EVENTS[msg.subject].model_validate_json(msg.data)
        except (ValidationError, KeyError) as error:
            await self._dead_letter(msg, f"{type(error).__name__}: {error}")
            return
        headers = msg.headers or {}
        cause = new_cause(headers.get("ce-requestid"), headers.get("traceparent"))
        with caused_by(Cause(cause.request_id, cause.traceparent, headers.get("ce-id"))):
            try:
                await self._present(event)
            except RetryLater as later:
                await msg.nak(delay=later.delay)
            except asyncio.CancelledError:
                await msg.nak()
                raise
            except Exception as error:
                await self._failed(msg, deliveries, error)
            else:
                await msg.ack()
                HANDLED.labels(self.name).inc()

    async def _present(self, event: Event) -> None:
        """Call the handler; while a server that it needs is away, keep the message and try again."""
        try:
            return await self._call(event)
        except self._away as error:
            if not self._waiting:
                log.warning("waiting for a server that is away: %s", type(error).__name__)
        self._waiting += 1
        try:
            await self._keep_presenting(event)
        finally:
            self._waiting -= 1
            if not self._waiting:
                log.info("no message waits for a server any more")

    async def _keep_presenting(self, event: Event) -> None:
        pause = 0.1
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(*self._away):
                return await self._call(event)
            pause = min(pause * 2, ACK_WAIT / 6)

    async def _call(self, event: Event) -> None:
        async with asyncio.timeout(HANDLER_LIMIT):
            await self._handler(event, **self._arguments)

    async def _failed(self, msg: Msg, deliveries: int, error: Exception) -> None:
        if deliveries > len(self._delays):
            log.error("%s gave up on %s", self.name, msg.subject, exc_info=error)
            await self._dead_letter(msg, f"{type(error).__name__}: {error}")
            return
        delay = self._delays[deliveries - 1] * random.uniform(0.75, 1.25)  # noqa: S311 - spreads retries, guards nothing
        log.warning(
            "%s will see %s again in %.2f s: %s: %s", self.name, msg.subject, delay, type(error).__name__, error
        )
        RETRIED.labels(self.name).inc()
        await msg.nak(delay=delay)

    async def _dead_letter(self, msg: Msg, error: str) -> None:
        """Keep the message with everything needed to mend the cause and replay it; then let the next ones pass."""
        metadata = msg.metadata
        # What the server was told about the message (its id, its place in a batch) would be about the letter now.
        own = {name: value for name, value in (msg.headers or {}).items() if not name.startswith("Nats-")}
        headers = {
            **own,
            "Nats-Msg-Id": f"{self.durable}:{metadata.stream}:{metadata.sequence.stream}",
            "Souk-Subject": msg.subject,
            "Souk-Stream": str(metadata.stream),
            "Souk-Sequence": str(metadata.sequence.stream),
            "Souk-Consumer": self.durable,
            "Souk-Error": " ".join(error.split())[:1_000].encode("ascii", "backslashreplace").decode(),
            "Souk-Deliveries": str(metadata.num_delivered),
            "Souk-Failed-At": datetime.now(UTC).isoformat(),
        }
        # A body that leaves no room for the letter's headers stays where it is: under Souk-Stream and Souk-Sequence.
        body = msg.data if len(msg.data) <= self._client.max_payload - ROOM_FOR_LETTER else b""
        try:
            await self._js.publish(f"dead_letters.{self._service}.{self.name}", body, headers=headers)
        except NatsError as unreachable:
            log.warning("could not keep a dead letter yet: %s", unreachable)
            await msg.nak(delay=1)
            return
        log.error("dead letter: %s of %s: %s", msg.subject, self.durable, headers["Souk-Error"])
        DEAD_LETTERS.labels(self.name).inc()
        await msg.ack()
