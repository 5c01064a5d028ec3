"""A service's connection to NATS JetStream: its streams, and everything that a service does with them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TypeVar, cast

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from pydantic import ValidationError

from common.bus.address import address
from common.bus.archive import Archive
from common.bus.consumer_lag import ConsumerLag, consumer_lags
from common.bus.consumers import RETRY_DELAYS, Consumer, Consumers, arguments_of
from common.bus.dead_letter_replay import DeadLetterReplay
from common.bus.envelope import Envelope
from common.bus.listener import Listener
from common.bus.message import Message
from common.bus.missed import Missed
from common.bus.publishing import ACK_TIMEOUT, Publisher
from common.bus.security import publishing
from common.bus.stream_reader import read_all, read_one
from common.bus.streams import STREAMS, as_expected
from common.bus.tries import Tries
from common.errors import Unavailable
from common.events import Event
from common.security_log import SECURITY_LOG
from common.settings import Settings

log = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

BusError = NatsError
"""The base of all errors that calls to the bus raise: it is unavailable, or does not answer in time."""

PING_INTERVAL, MAX_OUTSTANDING_PINGS = 2, 2
"""Seconds between pings, and pings without an answer after which a server that hangs is left for another: 6 seconds."""

LAST_ANSWERS = 1.0
"""Seconds in which a replica that stops answers what it was asked before."""

REQUEST_TIMEOUT = 10.0
"""Seconds until a request without a reply fails."""

COMMAND_PATIENCE = 10.0
"""Seconds that a command waits for the bus. A service waits for as long as it takes."""


class Bus:
    """A service's connection to JetStream. Open one with `Bus.connected`."""

    def __init__(
        self, client: Client, service: str, delays: Sequence[float], away: tuple[type[Exception], ...]
    ) -> None:
        self.service = service
        self.on_reconnect: list[Callable[[], None]] = []
        self._client = client
        self._delays = delays
        self._away: tuple[type[Exception], ...] = (*away, BusError, Unavailable)
        self._js: JetStreamContext = client.jetstream(timeout=ACK_TIMEOUT, publish_async_max_pending=2_000)
        self._publisher = Publisher(client, self._js, service)
        self._archive = Archive(self._js, self.request)

    @classmethod
    def of(
        cls, settings: Settings, service: str, *, away: tuple[type[Exception], ...] = (), within: float | None = None
    ) -> contextlib.AbstractAsyncContextManager["Bus"]:
        """The bus that a service's settings name, see `connected`."""
        return cls.connected(
            settings.nats_url.get_secret_value(), service, replicas=settings.nats_replicas, away=away, within=within
        )

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
        within: float | None = None,
    ) -> AsyncIterator["Bus"]:
        """A bus whose streams are as they should be, with `replicas` copies at least; closed on leaving.

        It waits for the server and for a stream that is not there yet, a command at most `within` seconds: then it
        raises `BusError`. It exits with status 78 if a stream is other than expected.
        `away` are errors that mean "the server is unavailable". A handler that fails with one of them is called again
        until the server is back; such a failure never makes a dead letter.
        """

        def reconnected() -> None:
            for call in bus.on_reconnect:
                call()

        async with AsyncExitStack() as exits:
            try:
                async with asyncio.timeout(within) as waiting:
                    client = await _connect(url, service, reconnected)
                    exits.push_async_callback(_close, client)
                    bus = cls(client, service, delays, away)
                    await as_expected(bus._js, replicas)
                    await exits.enter_async_context(publishing(SECURITY_LOG, bus._js, service))
            except TimeoutError:
                if not waiting.expired():
                    raise
                raise BusError(f"the bus, or one of its streams, was not there within {within:.0f} s") from None
            yield bus

    @property
    def connected_now(self) -> bool:
        """Whether the server is there."""
        return self._client.is_connected

    async def check(self) -> None:
        """Raise `BusError` if JetStream does not answer; without waiting if the connection is lost."""
        if not self.connected_now:
            raise BusError("not connected to the bus")
        await self._js.account_info()

    @property
    def largest_body(self) -> int:
        """The largest body of a message, in bytes."""
        return self._publisher.largest_body

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Publish events of this service's own stream; return those that JetStream has acknowledged as stored."""
        return await self._publisher.publish(envelopes)

    @asynccontextmanager
    async def consuming(self, consumers: Consumers, parts: Sequence[object]) -> AsyncIterator[None]:
        """Run every handler. On leaving, take no more messages and finish those that are being handled.

        A handler's parameter that is annotated with the type of one of `parts` receives that part.
        """
        tries = Tries(self._js, self.service)
        own = [
            Consumer(
                self.service,
                handler,
                wanted,
                arguments_of(handler, parts),
                tries,
                delays=self._delays,
                away=self._away,
                archive=self._archive,
            )
            for handler, wanted in consumers.subscriptions
        ]
        running = [*own, DeadLetterReplay(self.service, own, self.stored_message)]
        try:
            for consumer in running:
                await consumer.start(self._client, self._js)
            yield
        finally:
            await asyncio.gather(*(consumer.stop() for consumer in running))

    def listening(
        self, receive: Callable[[Event], None], *events: type[Event], past: float = 0
    ) -> contextlib.AbstractAsyncContextManager[Listener]:
        """Call `receive` with every new event of these types (of one stream), in every process that listens.

        Before entering is over, it has got those of the last `past` seconds. There is no durable consumer, no
        acknowledgement and no retry: this is for passing news on.
        """
        return Listener(self._client, self._js, events, receive, past).running()

    @asynccontextmanager
    async def answering(self, subject: str, answer: Callable[[bytes], Awaitable[bytes]]) -> AsyncIterator[None]:
        """Answer requests on `subject`, one after the other, from entering on. Each request goes to one replica.

        On leaving, those that have come are answered, in `LAST_ANSWERS` seconds at most.
        """

        async def reply(request: Msg) -> None:
            await request.respond(await answer(request.data))

        subscription = await self._client.subscribe(subject, queue=self.service, cb=reply)
        with contextlib.suppress(BusError):  # Away: whoever connects again subscribes again.
            await heard(self._client)
        try:
            yield
        finally:
            with contextlib.suppress(BusError, TimeoutError):
                async with asyncio.timeout(LAST_ANSWERS if self.connected_now else 0):
                    await subscription.drain()  # type: ignore[no-untyped-call]

    async def request(self, subject: str, body: bytes) -> bytes:
        """Send a request to one of those that are `answering`. Raises `Unavailable` without a reply in 10 seconds."""
        try:
            return (await self._client.request(subject, body, timeout=REQUEST_TIMEOUT)).data
        except BusError as error:
            raise Unavailable(f"nobody answers on {subject}: {error or type(error).__name__}") from error

    async def consumer_lags(self) -> list[ConsumerLag]:
        """The lag of every durable consumer of every stream."""
        return await consumer_lags(self._js, STREAMS)

    def missed(self, event: type[E]) -> Missed[E]:
        """Reads those events of one type that no replica has handled yet."""
        return Missed(self._client, event)

    async def stored_message(self, stream: str, sequence: int) -> Message | None:
        """A message of a stream, or of its archive; None if neither has it."""
        return await read_one(self._js, stream, sequence) or await self._archive.find(stream, sequence)

    def stored_messages(self, stream: str, *subjects: str, archived: bool = True) -> AsyncGenerator[Message, None]:
        """Every message of a stream (with one of `subjects`, if any is given), from the first to the newest now.

        Those that the stream has no longer come from the archive, unless they need not be `archived`.
        """
        return read_all(self._client, self._js, stream, subjects, archive=self._archive if archived else None)

    async def stored_events(self, *events: type[E], archived: bool = True) -> AsyncGenerator[E, None]:
        """Every event of these types (of one stream), from the first to the newest now, in order, see above."""
        [stream] = {event.stream for event in events}
        subjects = [event.subject for event in events]
        async with aclosing(self.stored_messages(stream, *subjects, archived=archived)) as messages:
            async for message in messages:
                try:
                    yield cast("E", message.event())
                except ValidationError:
                    continue  # Its consumer has made it a dead letter.


async def heard(client: Client) -> None:
    """Return once the server has got what was sent before, such as a subscription. Raises `BusError` if it hangs.

    The PING of `flush` overtakes what nats-py has yet to write; by the answer to it, that is written.
    """
    for _ in range(2):
        await client.flush(timeout=2)


async def _close(client: Client) -> None:
    """Close the client. What it could not send to a bus that is away is lost with it: nobody waits for it any more."""
    with contextlib.suppress(OSError):
        await client.close()


async def _connect(url: str, service: str, on_reconnect: Callable[[], None]) -> Client:
    """A client that reconnects for as long as it is open."""

    async def reconnected() -> None:
        log.info("connected to the bus again")
        on_reconnect()

    async def disconnected() -> None:
        if not client.is_closed:
            log.warning("lost the bus; reconnecting")

    async def failed(error: Exception) -> None:
        log.warning("bus: %s", error or type(error).__name__)

    client = await nats.connect(
        **address(url),
        name=service,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,
        connect_timeout=2,
        ping_interval=PING_INTERVAL,
        max_outstanding_pings=MAX_OUTSTANDING_PINGS,
        reconnected_cb=reconnected,
        disconnected_cb=disconnected,
        error_cb=failed,
    )
    return client
