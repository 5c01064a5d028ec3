"""NATS JetStream: streams, pipelined publishing, durable queue-group consumers, dead letters.

Events travel as CloudEvents 1.0 in the NATS binding's binary mode: attributes in `ce-` headers, the event as the JSON
body. `Nats-Msg-Id` is the event's id, so publishing again within the server's window is one message.
"""

import asyncio
import contextlib
import inspect
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, get_type_hints

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError
from pydantic import ValidationError

from common.events import EVENTS, Event
from common.ids import new_id
from common.listening import Listener
from common.telemetry import DEAD_LETTERS, HANDLED, RETRIED, Cause, caused_by, current_cause, new_cause

log = logging.getLogger(__name__)

STREAMS = ("USERS", "ITEMS", "ORDERS", "EXPIRATION", "PAYMENTS", "DEAD_LETTERS")
"""One stream per owning service, and one for what could not be handled. Stream ORDERS keeps `orders.>`."""

RETRY_DELAYS = (0.05, 0.2, 1.0, 5.0, 15.0, 30.0, 60.0)
"""Seconds until the next delivery after each failed one; when they are used up, the message is a dead letter."""

ACK_TIMEOUT = 5.0
"""Seconds until a publish without an answer counts as failed. nats-py leaves such a future pending for ever."""

WORTH_A_BATCH = 8
"""Fewer events go one by one: a batch costs a round trip more (measured: it wins from 8 on)."""

ACK_WAIT = 10.0
"""Seconds the server waits for a consumer before it delivers again: how long a killed process delays its messages."""

H = TypeVar("H", bound=Callable[..., Awaitable[None]])


class RetryLater(Exception):
    """Raised by a handler that cannot act yet: deliver again in `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(f"not yet; again in {delay:.3f} s")
        self.delay = delay


@dataclass(frozen=True, slots=True)
class Envelope:
    """An event on its way: what CloudEvents says about it, and its body."""

    id: str
    subject: str
    time: datetime
    body: str
    cause: Cause

    @classmethod
    def of(cls, event: Event, cause: Cause | None = None, event_id: str | None = None) -> "Envelope":
        """Wrap an event that happens now, because of what runs now."""
        return cls(
            event_id or new_id(), event.subject, datetime.now(UTC), event.model_dump_json(), cause or current_cause()
        )

    def to_document(self) -> dict[str, Any]:
        """The form in which it waits in the `pending` array of its document."""
        return {
            "id": self.id,
            "subject": self.subject,
            "time": self.time,
            "body": self.body,
            "request_id": self.cause.request_id,
            "traceparent": self.cause.traceparent,
            "caused_by": self.cause.event_id,
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Envelope":
        """Back from a `pending` array."""
        cause = Cause(document["request_id"], document["traceparent"], document["caused_by"])
        return cls(document["id"], document["subject"], document["time"], document["body"], cause)

    def headers(self, source: str) -> dict[str, str]:
        """The message's headers. `ce-requestid` and `ce-causationid` are extension attributes of ours."""
        headers = {
            "Nats-Msg-Id": self.id,
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": self.subject,
            "ce-source": f"/souk/{source}",
            "ce-time": self.time.isoformat(),
            "content-type": "application/json",
            "traceparent": self.cause.traceparent,
            "ce-requestid": self.cause.request_id,
        }
        if self.cause.event_id:
            headers["ce-causationid"] = self.cause.event_id
        return headers


class Consumers:
    """The event handlers of one service: each a durable consumer that the replicas share as a queue group."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.handlers: list[tuple[Callable[..., Awaitable[None]], tuple[type[Event], ...]]] = []

    def on(self, *events: type[Event]) -> Callable[[H], H]:
        """Register a handler for events of one stream. Its further parameters are filled by their type."""

        def register(handler: H) -> H:
            self.handlers.append((handler, events))
            return handler

        return register


class Bus:
    """This service's connection to JetStream. Made by `connected`."""

    def __init__(
        self, client: Client, service: str, replicas: int, delays: Sequence[float], away: tuple[type[Exception], ...]
    ) -> None:
        self.service = service
        self.delays = delays
        self._away: tuple[type[Exception], ...] = (*away, NatsError)
        self._client = client
        self._replicas = replicas
        self._js: JetStreamContext = client.jetstream(timeout=ACK_TIMEOUT, publish_async_max_pending=2_000)
        self._subscriptions: list[Subscription] = []
        self._handling: set[asyncio.Task[None]] = set()
        self._waiting = 0
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
        if not envelopes or not self.connected_now:
            return []
        try:
            if len(envelopes) >= WORTH_A_BATCH and await self._publish_atomically(envelopes):
                return list(envelopes)
            return await self._publish_each(envelopes)
        except NatsError as error:
            log.warning("could not publish %s events: %s", len(envelopes), error or type(error).__name__)
            return []

    async def _publish_atomically(self, envelopes: Sequence[Envelope]) -> bool:
        """Atomic batch publishing as in NATS ADR-50: all are stored, or none."""
        batch = new_id()
        for number, e in enumerate(envelopes, 1):
            headers = {**e.headers(self.service), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number < len(envelopes):
                await self._client.publish(e.subject, e.body.encode(), headers=headers)
        headers["Nats-Batch-Commit"] = "1"
        answer = await self._client.request(e.subject, e.body.encode(), timeout=ACK_TIMEOUT, headers=headers)
        refused = json.loads(answer.data).get("error")
        if refused:
            log.info("a batch of %s goes again one by one: %s", len(envelopes), refused.get("description"))
        return not refused

    async def _publish_each(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        acks = [
            await self._js.publish_async(e.subject, e.body.encode(), headers=e.headers(self.service)) for e in envelopes
        ]
        await asyncio.wait(acks, timeout=ACK_TIMEOUT)
        stored = []
        for envelope, ack in zip(envelopes, acks, strict=True):
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
        by_type = {type(part): part for part in parts}
        for handler, events in consumers.handlers:
            hints = get_type_hints(handler)
            _, *others = inspect.signature(handler).parameters
            arguments = {name: by_type[hints[name]] for name in others}
            await self._subscribe(handler, arguments, events)
        try:
            yield
        finally:
            await self._drain()

    async def _subscribe(
        self, handler: Callable[..., Awaitable[None]], arguments: dict[str, Any], events: tuple[type[Event], ...]
    ) -> None:
        name = handler.__name__
        consumer = f"{self.service}-{name}"
        [prefix] = {event.subject.split(".")[0] for event in events}
        deliver = f"deliver.{self.service}.{name}"

        async def receive(msg: Msg) -> None:
            task = asyncio.create_task(self._handle(msg, name, handler, arguments))
            self._handling.add(task)
            task.add_done_callback(self._handled)

        self._subscriptions.append(await self._client.subscribe(deliver, queue=self.service, cb=receive))
        await self._js.add_consumer(
            prefix.upper(),
            ConsumerConfig(
                durable_name=consumer,
                deliver_subject=deliver,
                deliver_group=self.service,
                deliver_policy=DeliverPolicy.ALL,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT,
                max_deliver=-1,  # The server would drop the message silently; we count and keep a dead letter.
                max_ack_pending=256,
                filter_subjects=[event.subject for event in events],
            ),
        )

    def _handled(self, task: asyncio.Task[None]) -> None:
        self._handling.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("could not answer for a message; it will come again: %s", error)

    async def _handle(
        self, msg: Msg, name: str, handler: Callable[..., Awaitable[None]], arguments: dict[str, Any]
    ) -> None:
        deliveries = msg.metadata.num_delivered
        if deliveries > len(self.delays) + 2:
            # Never finished and never failed either: this message ends the process that handles it.
            await self._dead_letter(msg, name, "was delivered again and again and never finished")
            return
        try:
            event = EVENTS[msg.subject].model_validate_json(msg.data)
        except (ValidationError, KeyError) as error:
            await self._dead_letter(msg, name, f"{type(error).__name__}: {error}")
            return
        headers = msg.headers or {}
        cause = new_cause(headers.get("ce-requestid"), headers.get("traceparent"))
        with caused_by(Cause(cause.request_id, cause.traceparent, headers.get("ce-id"))):
            try:
                await self._present(msg, lambda: handler(event, **arguments))
            except RetryLater as later:
                await msg.nak(delay=later.delay)
            except asyncio.CancelledError:
                await msg.nak()
                raise
            except Exception as error:
                await self._failed(msg, name, deliveries, error)
            else:
                await msg.ack()
                HANDLED.labels(name).inc()

    async def _present(self, msg: Msg, call: Callable[[], Awaitable[None]]) -> None:
        """Call the handler; while a server that it needs is away, keep the message and try again."""
        try:
            return await call()
        except self._away as error:
            if not self._waiting:
                log.warning("waiting for a server that is away: %s", type(error).__name__)
        self._waiting += 1
        try:
            await self._keep_presenting(msg, call)
        finally:
            self._waiting -= 1
            if not self._waiting:
                log.info("no message waits for a server any more")

    async def _keep_presenting(self, msg: Msg, call: Callable[[], Awaitable[None]]) -> None:
        pause = 0.1
        while True:
            await msg.in_progress()
            await asyncio.sleep(pause)
            with contextlib.suppress(*self._away):
                return await call()
            pause = min(pause * 2, ACK_WAIT / 6)

    async def _failed(self, msg: Msg, name: str, deliveries: int, error: Exception) -> None:
        if deliveries > len(self.delays):
            log.error("%s gave up on %s", name, msg.subject, exc_info=error)
            await self._dead_letter(msg, name, f"{type(error).__name__}: {error}")
            return
        delay = self.delays[deliveries - 1] * random.uniform(0.75, 1.25)  # noqa: S311 - spreads retries, guards nothing
        log.warning("%s will see %s again in %.2f s: %s: %s", name, msg.subject, delay, type(error).__name__, error)
        RETRIED.labels(name).inc()
        await msg.nak(delay=delay)

    async def _dead_letter(self, msg: Msg, name: str, error: str) -> None:
        """Keep the message with everything needed to mend the cause and replay it; then let the next ones pass."""
        metadata = msg.metadata
        consumer = f"{self.service}-{name}"
        # What the server was told about the message (its id, its place in a batch) would be about the letter now.
        own = {name: value for name, value in (msg.headers or {}).items() if not name.startswith("Nats-")}
        headers = {
            **own,
            "Nats-Msg-Id": f"{consumer}:{metadata.stream}:{metadata.sequence.stream}",
            "Souk-Subject": msg.subject,
            "Souk-Stream": str(metadata.stream),
            "Souk-Sequence": str(metadata.sequence.stream),
            "Souk-Consumer": consumer,
            "Souk-Error": " ".join(error.split())[:1_000].encode("ascii", "backslashreplace").decode(),
            "Souk-Deliveries": str(metadata.num_delivered),
            "Souk-Failed-At": datetime.now(UTC).isoformat(),
        }
        try:
            await self._js.publish(f"dead_letters.{self.service}.{name}", msg.data, headers=headers)
        except NatsError as unreachable:
            log.warning("could not keep a dead letter yet: %s", unreachable)
            await msg.nak(delay=1)
            return
        log.error("dead letter: %s of %s: %s", msg.subject, consumer, headers["Souk-Error"])
        DEAD_LETTERS.labels(name).inc()
        await msg.ack()

    def listening(
        self, hear: Callable[[Event], None], *events: type[Event]
    ) -> contextlib.AbstractAsyncContextManager[None]:
        """Call `hear` with every event of these types (of one stream) from now on, in this process as in every other.

        Without a durable consumer, acknowledgements and retries: for who only passes news on.
        """
        return Listener(self._client, self._js, [event.subject for event in events], hear).running()

    async def replay(self, *events: type[Event]) -> AsyncGenerator[Event, None]:
        """Every event of these types (of one stream) from the first to the newest there is now, in order."""
        [stream] = {event.subject.split(".")[0].upper() for event in events}
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.NONE,
            filter_subjects=[event.subject for event in events],
            inactive_threshold=60,
        )
        subscription = await self._js.pull_subscribe("", stream=stream, config=config)
        info = await subscription.consumer_info()
        remaining = info.num_pending or 0
        try:
            while remaining > 0:
                for msg in await subscription.fetch(min(remaining, 500), timeout=ACK_TIMEOUT):
                    remaining -= 1
                    try:
                        yield EVENTS[msg.subject].model_validate_json(msg.data)
                    except ValidationError:
                        continue  # Its consumer has made it a dead letter.
        finally:
            await subscription.unsubscribe()
            with contextlib.suppress(NatsError):  # Without a bus, the server forgets the consumer after 60 s.
                await self._js.delete_consumer(stream, info.name)

    async def _drain(self) -> None:
        """Finish what is in hand, for at most 10 seconds; the rest goes to another replica."""
        if self.connected_now:
            await asyncio.gather(
                *(s.drain() for s in self._subscriptions),  # type: ignore[no-untyped-call]
                return_exceptions=True,
            )
        self._subscriptions.clear()
        if self._handling:
            _, late = await asyncio.wait(self._handling, timeout=10)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
