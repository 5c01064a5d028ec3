"""Durable subscriptions: the replicas of a service share them, and each message goes to one replica.

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
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from common.bus.durables import Durable
from common.bus.message import Message
from common.bus.pulling import Puller
from common.events import Event
from common.telemetry import DEAD_LETTERS as DEAD_LETTER_COUNT

log = logging.getLogger(__name__)

DEAD_LETTERS = "DEAD_LETTERS"
RETRIES = "RETRIES"
FAILURE_STREAMS = (DEAD_LETTERS, RETRIES)
"""Streams of messages about failures. Failing to handle one of them is only logged: a report would cause the next."""

DEAD_LETTER_HEADER_BYTES = 16_384
"""Bytes of the server's largest payload that are reserved for a dead letter's headers."""


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

    def durables(self, service: str, handler: str) -> list[Durable]:
        """The durable consumers by which a handler of a service takes them: one for each subject."""
        return [Durable(service, handler, self.stream, subject) for subject in self.subjects]


def covers(pattern: str, subject: str) -> bool:
    """Whether a subject is `pattern`, or below it: `orders.>` covers `orders.paid`."""
    return pattern == subject or (pattern.endswith(".>") and subject.startswith(pattern[:-1]))


def delivered(msg: Msg) -> Message:
    """The message that JetStream delivered."""
    place = msg.metadata
    return Message(place.stream, place.sequence.stream, msg.subject, place.timestamp, msg.headers or {}, msg.data)


class DurableSubscription(ABC):
    """A durable subscription of one service, running in this process."""

    def __init__(self, service: str, name: str, wanted: StreamFilter) -> None:
        self.name = name
        self.service = service
        self._wanted = wanted
        self._pullers: list[Puller] = []

    @property
    def reader(self) -> str:
        """The handler's name among those of all services."""
        return f"{self.service}-{self.name}"

    @property
    def durables(self) -> list[Durable]:
        """Its durable consumers: one for each subject."""
        return self._wanted.durables(self.service, self.name)

    def reads(self, message: Message) -> bool:
        """Whether it takes messages with this subject."""
        return any(covers(subject, message.subject) for subject in self._wanted.subjects)

    async def start(self, client: Client, js: JetStreamContext) -> None:
        """Take messages from now on. What was read before this start is not read again."""
        self._client = client
        self._js = js
        for durable in self.durables:
            await self._begin(durable)

    async def _begin(self, durable: Durable) -> None:
        """Take the messages of one durable from now on."""
        puller = Puller(self._client, self._js, durable, self._take)
        self._pullers.append(puller)
        await puller.start()

    async def stop(self) -> None:
        """Take no more messages; finish those in hand within 10 seconds. The rest goes to another replica."""
        await asyncio.gather(*(puller.stop() for puller in self._pullers))

    @abstractmethod
    async def _take(self, msg: Msg) -> None:
        """Handle a message: acknowledge it, ask for it again, or make it a dead letter."""

    async def dead_letter(self, msg: Msg, message: Message, error: str, tries: int = 1) -> None:
        """Store `message` as a dead letter, with everything needed to replay it; then acknowledge `msg`."""
        if message.stream in FAILURE_STREAMS:
            log.error("%s gave up on %s %s: %s", self.reader, message.stream, message.sequence, error)
            await msg.ack()
            return
        headers = self._failure_headers(msg, message, error, tries)
        # A body too large to fit beside the headers is left out: Souk-Stream and Souk-Sequence say where it is.
        body = message.body if len(message.body) <= self._client.max_payload - DEAD_LETTER_HEADER_BYTES else b""
        try:
            await self._js.publish(f"dead_letters.{self.service}.{self.name}", body, headers=headers)
        except NatsError as unreachable:
            log.warning("could not store a dead letter yet: %s", unreachable)
            await msg.nak(delay=1)
            return
        log.error("dead letter: %s of %s: %s", message.subject, self.reader, headers["Souk-Error"])
        DEAD_LETTER_COUNT.labels(self.name).inc()
        await msg.ack()

    async def report_retry(self, msg: Msg, message: Message, error: str, tries: int) -> None:
        """Report a failed delivery, for the message's timeline. Nothing depends on the report: it may be lost."""
        if message.stream not in FAILURE_STREAMS:
            headers = self._failure_headers(msg, message, error, tries)
            headers["Nats-Msg-Id"] += f":{msg.metadata.num_delivered}"
            with contextlib.suppress(NatsError):
                await self._client.publish(f"retries.{self.service}.{self.name}", headers=headers)

    def _failure_headers(self, msg: Msg, message: Message, error: str, tries: int) -> dict[str, str]:
        """The message's own headers, and what went wrong with it."""
        place = msg.metadata
        # Headers for the server (message id, place in a batch) would be taken to be about the new message.
        own = {name: value for name, value in message.headers.items() if not name.startswith("Nats-")}
        return {
            **own,
            "Nats-Msg-Id": f"{self.reader}:{place.stream}:{place.sequence.stream}",
            "Souk-Subject": message.subject,
            "Souk-Stream": message.stream,
            "Souk-Sequence": str(message.sequence),
            "Souk-Consumer": self.reader,
            "Souk-Error": " ".join(error.split())[:1_000].encode("ascii", "backslashreplace").decode(),
            "Souk-Deliveries": str(tries),
            "Souk-Failed-At": datetime.now(UTC).isoformat(),
        }
