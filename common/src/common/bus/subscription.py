"""Durable queue-group subscriptions: the replicas of a service share them, and each message goes to one replica.

A message that cannot be handled becomes a dead letter; nothing is dropped silently (docs/decisions/dead-letters.md).
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
from common.telemetry import DEAD_LETTERS as DEAD_LETTER_COUNT

log = logging.getLogger(__name__)

DEAD_LETTERS = "DEAD_LETTERS"
RETRIES = "RETRIES"
FAILURE_STREAMS = (DEAD_LETTERS, RETRIES)
"""Streams of messages about failures. Failing to handle one of them is only logged: a report would cause the next."""

ACK_WAIT = 10.0
"""Seconds without a sign of life after which the server delivers again: how long a killed process delays messages."""

MAX_UNACKED = 256
"""Messages of one subscription that may be with its replicas at a time."""

DEAD_LETTER_HEADER_BYTES = 16_384
"""Bytes of the server's largest payload that are reserved for a dead letter's headers."""

STOP_TIMEOUT = 10.0
"""Seconds in which the messages in hand are finished when a subscription stops."""


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """Which messages of one stream a subscription takes, and what `decode` makes of each."""

    stream: str
    subjects: Sequence[str]
    decode: Callable[[Message], Any]

    @classmethod
    def of(cls, *events: type[Event]) -> "StreamFilter":
        """Events of these types, which share one stream."""
        [stream] = {event.stream for event in events}
        return cls(stream, [event.subject for event in events], Message.event)

    @classmethod
    def of_stream(cls, stream: str) -> "StreamFilter":
        """Every message of a stream, undecoded."""
        return cls(stream, [f"{stream.lower()}.>"], lambda message: message)


def delivered(msg: Msg) -> Message:
    """The message that JetStream delivered."""
    place = msg.metadata
    return Message(place.stream, place.sequence.stream, msg.subject, place.timestamp, msg.headers or {}, msg.data)


class DurableSubscription(ABC):
    """A durable subscription of one service, running in this process."""

    def __init__(self, service: str, name: str, wanted: StreamFilter) -> None:
        self.name = name
        self.durable = f"{service}-{name}"
        self.service = service
        self._wanted = wanted
        self._in_hand: dict[asyncio.Task[None], Msg] = {}
        self._subscription: Subscription | None = None
        self._heartbeat: asyncio.Task[None] | None = None

    async def start(self, client: Client, js: JetStreamContext) -> None:
        """Take messages from now on. An existing subscription gets today's settings and goes on where it was."""
        deliver = f"deliver.{self.service}.{self.name}"
        self._client = client
        self._js = js
        self._subscription = await client.subscribe(deliver, queue=self.service, cb=self._receive)
        self._heartbeat = asyncio.create_task(self._keep_alive())
        await js.add_consumer(
            self._wanted.stream,
            ConsumerConfig(
                durable_name=self.durable,
                deliver_subject=deliver,
                deliver_group=self.service,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT,
                max_deliver=-1,
                max_ack_pending=MAX_UNACKED,
                filter_subjects=list(self._wanted.subjects),
            ),
        )

    async def stop(self) -> None:
        """Take no more messages; finish those in hand within 10 seconds. The rest goes to another replica."""
        if self._subscription is None or self._heartbeat is None:
            return
        if self._client.is_connected:
            with contextlib.suppress(NatsError):
                await self._subscription.drain()  # type: ignore[no-untyped-call]
        if self._in_hand:
            _, late = await asyncio.wait(set(self._in_hand), timeout=STOP_TIMEOUT)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1)  # Not gathered: pymongo on Python 3.11 may swallow a cancellation.
        self._heartbeat.cancel()
        await asyncio.gather(self._heartbeat, return_exceptions=True)

    async def _receive(self, msg: Msg) -> None:
        task = asyncio.create_task(self._take(msg))
        self._in_hand[task] = msg
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._in_hand[task]
        if not task.cancelled() and (error := task.exception()):
            log.warning("could not acknowledge a message; it will be delivered again: %s", error)

    async def _keep_alive(self) -> None:
        """Tell the server about messages that take long, so that it does not deliver them to another replica."""
        while True:
            before = dict(self._in_hand)
            await asyncio.sleep(ACK_WAIT / 3)
            for task, msg in before.items():
                with contextlib.suppress(NatsError):  # Also raised if it was acknowledged a moment ago.
                    if task in self._in_hand:
                        await msg.in_progress()

    @abstractmethod
    async def _take(self, msg: Msg) -> None:
        """Handle a message: acknowledge it, ask for it again, or make it a dead letter."""

    async def dead_letter(self, msg: Msg, message: Message, error: str) -> None:
        """Store `message` as a dead letter, with everything needed to replay it; then acknowledge `msg`."""
        if message.stream in FAILURE_STREAMS:
            log.error("%s gave up on %s %s: %s", self.durable, message.stream, message.sequence, error)
            await msg.ack()
            return
        headers = self._failure_headers(msg, message, error)
        # A body too large to fit beside the headers is left out: Souk-Stream and Souk-Sequence say where it is.
        body = message.body if len(message.body) <= self._client.max_payload - DEAD_LETTER_HEADER_BYTES else b""
        try:
            await self._js.publish(f"dead_letters.{self.service}.{self.name}", body, headers=headers)
        except NatsError as unreachable:
            log.warning("could not store a dead letter yet: %s", unreachable)
            await msg.nak(delay=1)
            return
        log.error("dead letter: %s of %s: %s", message.subject, self.durable, headers["Souk-Error"])
        DEAD_LETTER_COUNT.labels(self.name).inc()
        await msg.ack()

    async def report_retry(self, msg: Msg, message: Message, error: str) -> None:
        """Report a failed delivery, for the message's timeline. Nothing depends on the report: it may be lost."""
        if message.stream not in FAILURE_STREAMS:
            headers = self._failure_headers(msg, message, error)
            headers["Nats-Msg-Id"] += f":{msg.metadata.num_delivered}"
            with contextlib.suppress(NatsError):
                await self._client.publish(f"retries.{self.service}.{self.name}", headers=headers)

    def _failure_headers(self, msg: Msg, message: Message, error: str) -> dict[str, str]:
        """The message's own headers, and what went wrong with it."""
        place = msg.metadata
        # Headers for the server (message id, place in a batch) would be taken to be about the new message.
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
