"""Publishing: events go to JetStream as one atomic batch, or one by one."""

import asyncio
import json
import logging
from collections.abc import Sequence

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from common.bus.envelope import Envelope
from common.ids import new_id

log = logging.getLogger(__name__)

ACK_TIMEOUT = 5.0
"""Seconds until a publish without an acknowledgement counts as failed. nats-py would wait forever."""

HEADER_BYTES = 8_192
"""Bytes of the server's largest payload that are reserved for a message's headers."""

MIN_BATCH = 8
"""Fewer events go one by one: a batch costs one more round trip (measured: it is faster from 8 events on)."""


class Publisher:
    """Publishes the events of one service."""

    def __init__(self, client: Client, js: JetStreamContext, service: str) -> None:
        self._client = client
        self._js = js
        self._service = service

    @property
    def largest_body(self) -> int:
        """The largest body of a message, in bytes."""
        return self._client.max_payload - HEADER_BYTES

    async def publish(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        """Publish events; return those that JetStream has acknowledged as stored.

        Many events go as one atomic batch, which the server syncs to disk once (docs/decisions/atomic-batches.md). If
        the server refuses the batch, because it has one of the events already, they go one by one.
        """
        envelopes = [envelope for envelope in envelopes if self._fits(envelope)]
        if not envelopes or not self._client.is_connected:
            return []
        if len(envelopes) >= MIN_BATCH and await self._publish_batch(envelopes):
            return list(envelopes)
        return await self._publish_each(envelopes)

    def _fits(self, envelope: Envelope) -> bool:
        """Whether the server accepts a body of this size. It closes the connection on one that is too large."""
        fits = len(envelope.body.encode()) <= self.largest_body
        if not fits:
            log.error("%s %s is too large for the bus and stays in its outbox", envelope.subject, envelope.id)
        return fits

    async def _publish_batch(self, envelopes: Sequence[Envelope]) -> bool:
        """Publish an atomic batch as in NATS ADR-50: the server stores all of it or nothing."""
        batch = new_id()
        try:
            for number, e in enumerate(envelopes, 1):
                headers = {**e.headers(self._service), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                if number < len(envelopes):
                    await self._client.publish(e.subject, e.body.encode(), headers=headers)
            headers["Nats-Batch-Commit"] = "1"
            answer = await self._client.request(e.subject, e.body.encode(), timeout=ACK_TIMEOUT, headers=headers)
        except NatsError as error:
            log.warning("no answer to a batch of %s: %s", len(envelopes), error or type(error).__name__)
            return False
        refused = json.loads(answer.data).get("error")
        if refused:
            log.info("publishing a batch of %s one by one: %s", len(envelopes), refused.get("description"))
        return not refused

    async def _publish_each(self, envelopes: Sequence[Envelope]) -> list[Envelope]:
        acks = []
        try:
            for e in envelopes:
                headers = e.headers(self._service)
                acks.append(
                    await self._js.publish_async(e.subject, e.body.encode(), wait_stall=ACK_TIMEOUT, headers=headers)
                )
        except NatsError as error:
            log.warning("the bus accepts no more events for now: %s", error or type(error).__name__)
        if acks:
            await asyncio.wait(acks, timeout=ACK_TIMEOUT)
        stored = []
        for envelope, ack in zip(envelopes, acks, strict=False):  # Fewer acks than events if the bus failed midway.
            if not ack.done():
                ack.cancel()
            elif refused := ack.exception():
                log.warning("could not publish %s: %s", envelope.subject, refused)
            else:
                stored.append(envelope)
        return stored
