"""The durable consumers of a service: one for each handler and subject, shared by its replicas.

The subject is part of a durable's identity (docs/decisions/pull-consumers.md). A handler that gets one more subject
gets one more durable, which delivers that subject from its beginning; no replica changes what another reads.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy
from nats.js.errors import NotFoundError, ServiceUnavailableError

log = logging.getLogger(__name__)

ACK_WAIT = 10.0
"""Seconds without a sign of life after which the server delivers again: how long a killed process delays messages."""

MAX_UNACKED = 5_000
"""Messages of one durable that may be unacknowledged. Those that wait for their next try are among them."""

UNUSED = 7 * 24 * 3600.0
"""Seconds after which the server removes a durable that no replica asks: one of a handler or subject that is gone."""

WAIT = 0.5
"""Seconds between two looks whether a stream or a durable is there."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Durable:
    """One durable consumer. `subject` is an event's, or `orders.>` for a whole stream."""

    service: str
    handler: str
    stream: str
    subject: str

    @property
    def reader(self) -> str:
        """The handler's name among those of all services. Dead letters carry it."""
        return f"{self.service}-{self.handler}"

    @property
    def name(self) -> str:
        """`orders-follow_item-items_listed`; for a whole stream `audit-keep_items-items`."""
        return f"{self.reader}-{self.subject.removesuffix('.>').replace('.', '_')}"

    def config(self, start: int = 1) -> ConsumerConfig:
        """Its definition. It delivers from sequence `start` of the stream on."""
        return ConsumerConfig(
            durable_name=self.name,
            deliver_policy=DeliverPolicy.ALL if start == 1 else DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=None if start == 1 else start,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            max_deliver=-1,
            max_ack_pending=MAX_UNACKED,
            filter_subject=self.subject,
            inactive_threshold=UNUSED,
        )


async def wait_for(js: JetStreamContext, durable: Durable) -> None:
    """Wait until a durable is there. No service creates one: that takes a right that none has."""
    await until_there(
        lambda: js.consumer_info(durable.stream, durable.name), f"durable {durable.name} of {durable.stream}"
    )


async def until_there(look: Callable[[], Awaitable[T]], what: str) -> T:
    """What `look` returns as soon as it finds something and the bus answers. Logs once each what it waits for."""
    logged = set[str]()
    while True:
        try:
            return await look()
        except NotFoundError:
            waiting = f"waiting for the {what}: run the provisioning step"
        except (ServiceUnavailableError, TimeoutError):
            waiting = f"waiting for the bus: it does not say whether the {what} is there"
        if waiting not in logged:
            log.warning(waiting)
        logged.add(waiting)
        await asyncio.sleep(WAIT)


async def create(js: JetStreamContext, durable: Durable) -> None:
    """Create a durable unless it is there; one that is there stays as it is.

    It begins where the push durable of the revision before is, if that one reads the subject; else at the beginning.
    """
    with contextlib.suppress(NotFoundError):
        await js.consumer_info(durable.stream, durable.name)
        return
    await js.add_consumer(durable.stream, durable.config(await _start(js, durable)))


async def _start(js: JetStreamContext, durable: Durable) -> int:
    """The sequence after which the push durable has acknowledged nothing or not everything."""
    before = await _push_durable(js, durable.stream, durable.reader)
    if before is None or before.ack_floor is None or durable.subject not in (before.config.filter_subjects or []):
        return 1
    return before.ack_floor.stream_seq + 1


async def _push_durable(js: JetStreamContext, stream: str, name: str) -> ConsumerInfo | None:
    try:
        info: ConsumerInfo = await js.consumer_info(stream, name)
    except NotFoundError:
        return None
    return info


async def remove_push_durables(js: JetStreamContext, durables: Collection[Durable]) -> None:
    """Remove those push durables of the revision before that no replica is bound to.

    Their messages are safe: all that they have not acknowledged comes through the new durables too.
    """
    for stream, name in sorted({(durable.stream, durable.reader) for durable in durables}):
        info = await _push_durable(js, stream, name)
        if info and not info.push_bound:
            await js.delete_consumer(stream, name)
            log.info("removed the push durable %s", name)
