"""Every process receives every new event; the server keeps no state for it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from pydantic import ValidationError

from common.events import EVENTS, Event

log = logging.getLogger(__name__)

HEARTBEAT = 1.0
"""Seconds without a message after which the server sends a heartbeat. Three missing ones restart the listener."""


class Listener:
    """Calls `receive` with every new event of the types `events` (of one stream), in order.

    Events stored while the bus was unavailable follow when it is back. The listener reads the stream, not the subjects:
    an event of an atomic batch arrives once the batch is committed.
    """

    def __init__(
        self, client: Client, js: JetStreamContext, events: Sequence[type[Event]], receive: Callable[[Event], None]
    ) -> None:
        [self._stream] = {event.stream for event in events}
        self._subjects = [event.subject for event in events]
        self._client = client
        self._js = js
        self._receive = receive
        self._next = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen. No event is missed from the moment of entering on."""
        self._next = (await self._js.stream_info(self._stream)).state.last_seq + 1
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            while not task.done():  # Python 3.11 loses a cancellation that arrives with a message: cancel again.
                task.cancel()
                await asyncio.wait([task], timeout=0.1)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:  # Whatever it was: a listener that stops would leave old news on every page.
                log.info("listening to %s again: %s", self._stream, error or type(error).__name__)
                await asyncio.sleep(HEARTBEAT / 4)

    async def _follow(self) -> None:
        """Pass events on until something is wrong: heartbeats are missing, or numbers have a gap."""
        deliver = self._client.new_inbox()
        subscription = await self._client.subscribe(deliver)
        try:
            await self._js.add_consumer(self._stream, self._config(deliver))
            received = 0
            while True:
                msg = await subscription.next_msg(timeout=3 * HEARTBEAT)
                if last := (msg.headers or {}).get("Nats-Last-Consumer"):
                    if int(last) > received:
                        return
                    continue
                if msg.metadata.sequence.consumer != received + 1:
                    return
                received += 1
                self._next = msg.metadata.sequence.stream + 1
                self._pass_on(msg)
        finally:
            with contextlib.suppress(NatsError):  # The server deletes the consumer by itself.
                await subscription.unsubscribe()

    def _config(self, deliver: str) -> ConsumerConfig:
        return ConsumerConfig(
            deliver_subject=deliver,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._next,
            ack_policy=AckPolicy.NONE,
            idle_heartbeat=HEARTBEAT,
            inactive_threshold=10 * HEARTBEAT,
            filter_subjects=self._subjects,
            mem_storage=True,
            num_replicas=1,
        )

    def _pass_on(self, msg: Msg) -> None:
        try:
            event = EVENTS[msg.subject].model_validate_json(msg.data)
        except (ValidationError, KeyError):
            return  # Its consumers make it a dead letter.
        try:
            self._receive(event)
        except Exception:
            log.exception("could not pass on %s", msg.subject)
