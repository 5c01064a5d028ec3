"""Durable queue-group subscriptions: what the replicas of a service share, each message with one of them.

Whoever can't handle a message gives it up here: it becomes a dead letter, and nothing is dropped silently
(docs/decisions/dead-letters.md).
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from common.bus.message import Message
from common.events import Event
from common.telemetry import DEAD_LETTERS

log = logging.getLogger(__name__)

ACK_WAIT = 10.0
"""Seconds the server waits for a sign of life before it delivers again: how long a killed process delays messages."""

MAX_UNACKED = 256
"""Messages of one subscription that are with all replicas together."""

DEAD_LETTER_HEADER_BYTES = 16_384
"""Bytes of the server's largest payload that a dead letter's headers may take."""

FAILURE_STREAMS = frozenset({"RETRIES", "DEAD_LETTERS"})
"""Streams whose messages are about failures: failing to handle one tells nobody, or it would beget the next."""


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """What is read: messages of one stream under these subjects, and what `read` makes of each."""

    stream: str
    subjects: Sequence[str]
    decode: Callable[[Message], Any]

    @classmethod
    def of(cls, *events: type[Event]) -> "StreamFilter":
        """Events of these types, of one stream."""
        [stream] = {event.stream for event in events}
        return cls(stream, [event.subject for event in events], Message.event)

    @classmethod
    def of_stream(cls, stream: str) -> "StreamFilter":
        """Every message of a stream, as it is."""
        return cls(stream, [f"{stream.lower()}.>"], lambda message: message)


def delivered(msg: Msg) -> Message:
    """The message that JetStream delivered."""
    place = msg.metadata
    return Message(place.stream, place.sequence.stream, msg.subject, place.timestamp, msg.headers or {}, msg.data)


class DurableSubscription(ABC):
    """A durable subscription of one service, at work in this process."""

    def __init__(self, service: str, name: str, messages: StreamFilter) -> None:
        self.name = name
        self.durable = f"{service}-{name}"
        self.service = service
        self._messages = messages
        self._in_hand: dict[asyncio.Task[None], Msg] = {}
        self._subscription: Subscription | None = None
        self._pulse: asyncio.Task[None] | None = None

    async def start(self, client: Client, js: JetStreamContext) -> None:
        """Take messages from now on. A subscription that exists is brought up to date and goes on where it was."""
        deliver = f"deliver.{self.service}.{self.name}"
        self._client = client
        self._js = js
        self._subscription = await client.subscribe(deliver, queue=self.service, cb=self._receive)
        self._pulse = asyncio.create_task(self._show_life())
        await js.add_consumer(
            self._messages.stream,
            ConsumerConfig(
                durable_name=self.durable,
                deliver_subject=deliver,
                deliver_group=self.service,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT,
                max_deliver=-1,
                max_ack_pending=MAX_UNACKED,
                filter_subjects=list(self._messages.subjects),
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

    @abstractmethod
    async def _take(self, msg: Msg) -> None:
        """Handle a message: in the end it is acknowledged, asked for again, or given up."""

    async def dead_letter(self, msg: Msg, message: Message, error: str) -> None:
        """Keep `message` with everything needed to mend the cause and replay it; then `msg` is done with."""
        if message.stream in FAILURE_STREAMS:
            log.error("%s gave up on %s %s: %s", self.durable, message.stream, message.sequence, error)
            await msg.ack()
            return
        headers = self.failure(msg, message, error)
        # A body that leaves no room for the letter's headers stays where it is: under Souk-Stream and Souk-Sequence.
        body = message.body if len(message.body) <= self._client.max_payload - DEAD_LETTER_HEADER_BYTES else b""
        try:
            await self._js.publish(f"dead_letters.{self.service}.{self.name}", body, headers=headers)
        except NatsError as unreachable:
            log.warning("could not keep a dead letter yet: %s", unreachable)
            await msg.nak(delay=1)
            return
        log.error("dead letter: %s of %s: %s", message.subject, self.durable, headers["Souk-Error"])
        DEAD_LETTERS.labels(self.name).inc()
        await msg.ack()

    async def report_retry(self, msg: Msg, message: Message, error: str) -> None:
        """Tell whoever follows the message's story that it failed. Nobody waits for this, and it may be lost."""
        if message.stream not in FAILURE_STREAMS:
            headers = self.failure(msg, message, error)
            headers["Nats-Msg-Id"] += f":{msg.metadata.num_delivered}"
            with contextlib.suppress(NatsError):
                await self._client.publish(f"retries.{self.service}.{self.name}", headers=headers)

    def failure(self, msg: Msg, message: Message, error: str) -> dict[str, str]:
        """The message's own headers, and what went wrong with it."""
        place = msg.metadata
        # What the server was told about the message (its id, its place in a batch) would be about the letter now.
        own = {name: value for name, value in message.headers.items() if not name.startswith("Nats-")}
        return {
            **own,
            "Nats-Msg-Id": f"{self.durable}:{place.stream}:{place.sequence.stream}",
            "Souk-Subject": message.subject,
            "Souk-Stream": message.stream,
            "Souk-Sequence": str(message.sequence),
            "Souk-Consumer": self.durable,
            "Souk-Error": " ".join(error.split())[:1_000].encode("ascii", "backslashreplace").decode(),
            "Souk-Deliveries": str(place.num_delivered),
            "Souk-Failed-At": datetime.now(UTC).isoformat(),
        }
