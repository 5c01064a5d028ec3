"""NATS JetStream: the connection, the streams, publishing, and who reads: consumers, listeners, replays."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar, cast

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError
from pydantic import ValidationError

from common.bus.consumer_lag import ConsumerLag, consumer_lags
from common.bus.consumers import RETRY_DELAYS, Consumer, Consumers, arguments_of
from common.bus.dead_letter_replay import DeadLetterReplay
from common.bus.envelope import Envelope
from common.bus.listener import Listener
from common.bus.message import Message
from common.bus.stream_reader import read_all, read_one
from common.errors import Unavailable
from common.events import Event
from common.ids import new_id

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

STREAMS = ("USERS", "ITEMS", "ORDERS", "EXPIRATION", "PAYMENTS", "LETTERS", "DEAD_LETTERS", "RETRIES")
"""One stream per owning service, one for what could not be handled, and one for notes of what failed and comes again.

Stream ORDERS keeps `orders.>`.
"""

RETRIES_LIMITS = StreamConfig(max_age=7 * 24 * 3600, max_msgs=200_000, discard=DiscardPolicy.OLD)
"""What is different about RETRIES: it only tells, so the oldest may go. `max_age` is in seconds."""

ACK_TIMEOUT = 5.0
"""Seconds until a publish without an answer counts as failed. nats-py leaves such a future pending for ever."""

REQUEST_TIMEOUT = 10.0
"""Seconds until a question without an answer is given up."""

HEADER_BYTES = 8_192
"""Bytes of the server's largest payload that a body leaves free."""

MIN_BATCH = 8
"""Fewer events go one by one: a batch costs a round trip more (measured: it wins from 8 on)."""


class Bus:
    """This service's connection to JetStream. Made by `connected`."""

    def __init__(
        self, client: Client, service: str, replicas: int, delays: Sequence[float], away: tuple[type[Exception], ...]
    ) -> None:
        self.service = service
        self._delays = delays
        self._away: tuple[type[Exception], ...] = (*away, NatsError, Unavailable)
        self._client = client
        self._replicas = replicas
        self._js: JetStreamContext = client.jetstream(timeout=ACK_TIMEOUT, publish_async_max_pending=2_000)
        self.on_reconnect: list[Callable[[], None]] = []

    @classmethod
    @asynccontextmanager
    async def connected(
        cls,
        url: str,
        service: str,
        *,
        replicas: int = 1,
        delays: Sequence[float] = RETRY_DELAYS,
        away: tuple[type[Exception], ...] = (),
    ) -> AsyncIterator["Bus"]:
        """A bus with every stream in place; closed on leaving.

        Handlers that fail with one of `away` are tried again here until the server they miss is back; such failures
        never make a dead letter.
        """

        async def reconnected() -> None:
            log.info("connected to the bus again")
            for call in bus.on_reconnect:
                call()

        async def disconnected() -> None:
            if not client.is_closed:
                log.warning("lost the bus; reconnecting")

        async def failed(error: Exception) -> None:
            log.warning("bus: %s", error or type(error).__name__)

        client = await nats.connect(
            url,
            name=service,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,
            connect_timeout=2,
            ping_interval=10,
            reconnected_cb=reconnected,
            disconnected_cb=disconnected,
            error_cb=failed,
        )
        bus = cls(client, service, replicas, delays, away)
        try:
            for stream in STREAMS:
                await bus._keep_stream(stream)
            yield bus
        finally:
            await client.close()

    async def _keep_stream(self, name: str) -> None:
        """Limits retention: kept for replay. A full disk refuses new messages and drops no old one."""
        config = StreamConfig(
            name=name,
            subjects=[f"{name.lower()}.>"],
            storage=StorageType.FILE,
            num_replicas=self._replicas,
            discard=DiscardPolicy.NEW,
            duplicate_window=120,
            allow_atomic=True,
        )
        if name == "RETRIES":
            config = config.evolve(
                max_age=RETRIES_LIMITS.max_age, max_msgs=RETRIES_LIMITS.max_msgs, discard=RETRIES_LIMITS.discard
            )
        try:
            await self._js.add_stream(config)
        except BadRequestError:
            await self._js.update_stream(config)

    @property
    def connected_now(self) -> bool:
        """Whether the server is there."""
        return self._client.is_connected

    async def check(self) -> None:
        """Raise if JetStream does not answer; at once where the server is known to be away."""
        if not self.connected_now:
            raise NatsError("the bus is away")
        await self._js.account_info()

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Publish events of this service's own stream; return those that JetStream has acknowledged as stored.

        Many go as one atomic batch, which the server syncs to disk once (docs/decisions/atomic-batches.md). A batch
        that it refuses, because one of its events is there already, goes again one by one.
        """
        envelopes = [envelope for envelope in envelopes if self._fits(envelope)]
        if not envelopes or not self.connected_now:
            return []
        if len(envelopes) >= MIN_BATCH and await self._publish_atomically(envelopes):
            return list(envelopes)
        return await self._publish_each(envelopes)

    @property
    def largest_body(self) -> int:
        """Bytes that a message may have here beside its headers."""
        return self._client.max_payload - HEADER_BYTES

    def _fits(self, envelope: Envelope) -> bool:
        """Whether the server takes a message of this size; one that it does not take would cost us the connection."""
        fits = len(envelope.body.encode()) <= self.largest_body
        if not fits:
            log.error("%s %s is too large for the bus; it stays where it is", envelope.subject, envelope.id)
        return fits

    async def _publish_atomically(self, envelopes: Sequence[Envelope]) -> bool:
        """Atomic batch publishing as in NATS ADR-50: all are stored, or none."""
        batch = new_id()
        try:
            for number, e in enumerate(envelopes, 1):
                headers = {**e.headers(self.service), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                if number < len(envelopes):
                    await self._client.publish(e.subject, e.body.encode(), headers=headers)
            headers["Nats-Batch-Commit"] = "1"
            answer = await self._client.request(e.subject, e.body.encode(), timeout=ACK_TIMEOUT, headers=headers)
        except NatsError as error:
            log.warning("no answer to a batch of %s: %s", len(envelopes), error or type(error).__name__)
            return False
        refused = json.loads(answer.data).get("error")
        if refused:
            log.info("a batch of %s goes again one by one: %s", len(envelopes), refused.get("description"))
        return not refused

    async def _publish_each(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        acks = []
        try:
            for e in envelopes:
                headers = e.headers(self.service)
                acks.append(
                    await self._js.publish_async(e.subject, e.body.encode(), wait_stall=ACK_TIMEOUT, headers=headers)
                )
        except NatsError as error:
            log.warning("the bus takes no more for now: %s", error or type(error).__name__)
        if acks:
            await asyncio.wait(acks, timeout=ACK_TIMEOUT)
        stored = []
        for envelope, ack in zip(envelopes, acks, strict=False):  # fewer acks than events where the bus broke off
            if not ack.done():
                ack.cancel()
            elif refused := ack.exception():
                log.warning("could not publish %s: %s", envelope.subject, refused)
            else:
                stored.append(envelope)
        return stored

    @asynccontextmanager
    async def consuming(self, consumers: Consumers, parts: Sequence[object]) -> AsyncIterator[None]:
        """Run every handler; on leaving, take no more messages and finish those in hand.

        A parameter of a handler that is annotated with the type of one of `parts` is given it.
        """
        own = [
            Consumer(
                self.service, handler, messages, arguments_of(handler, parts), delays=self._delays, away=self._away
            )
            for handler, messages in consumers.subscriptions
        ]
        running = [*own, DeadLetterReplay(self.service, own, self.stored_message)]
        try:
            for consumer in running:
                await consumer.start(self._client, self._js)
            yield
        finally:
            await asyncio.gather(*(consumer.stop() for consumer in running))

    def listening(
        self, receive: Callable[[Event], None], *events: type[Event]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Call `receive` with every new event of these types (of one stream), in every process that listens.

        There is no durable consumer, no acknowledgement and no retry: this is for passing news on.
        """
        return Listener(self._client, self._js, events, receive).running()

    @asynccontextmanager
    async def answering(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> AsyncIterator[None]:
        """Answer each question on `subject` in one of the replicas, one after the other."""

        async def reply(question: Msg) -> None:
            await question.respond(await answer(question.data))

        subscription = await self._client.subscribe(subject, queue=self.service, cb=reply)
        try:
            yield
        finally:
            with contextlib.suppress(NatsError):
                await subscription.unsubscribe()

    async def request(self, subject: str, question: bytes) -> bytes:
        """What one of those who are `answering` says. Raises `Unavailable` where nobody does within 10 seconds."""
        try:
            return (await self._client.request(subject, question, timeout=REQUEST_TIMEOUT)).data
        except NatsError as error:
            raise Unavailable(f"nobody answers on {subject}: {error or type(error).__name__}") from error

    async def consumer_lags(self) -> list[ConsumerLag]:
        """What every durable consumer of every stream has not handled yet."""
        return await consumer_lags(self._js, STREAMS)

    async def stored_message(self, stream: str, sequence: int) -> Message | None:
        """A message as it lies in its stream; None where it is gone."""
        return await read_one(self._js, stream, sequence)

    async def stored_events(self, *events: type[E]) -> AsyncGenerator[E, None]:
        """Every event of these types (of one stream) from the first to the newest there is now, in order."""
        [stream] = {event.stream for event in events}
        async with aclosing(self.stored_messages(stream, *(event.subject for event in events))) as past:
            async for message in past:
                try:
                    yield cast("E", message.event())
                except ValidationError:
                    continue  # Its consumer has made it a dead letter.

    def stored_messages(self, stream: str, *subjects: str) -> AsyncGenerator[Message, None]:
        """Every message of a stream, under these subjects or any, from the first to the newest there is now."""
        return read_all(self._js, stream, subjects)
