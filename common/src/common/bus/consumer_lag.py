"""How far the durable consumers of the streams are behind."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class ConsumerLag:
    """How many messages a durable consumer has not acknowledged yet, and which is the oldest of them."""

    stream: str
    consumer: str
    messages: int
    oldest: int | None = None
    """Its sequence in the stream."""
    since: datetime | None = None
    """When it was stored."""


async def consumer_lags(js: JetStreamContext, streams: Sequence[str]) -> list[ConsumerLag]:
    """The lag of every durable consumer of these streams."""
    return [await _lag(js, stream, info) for stream in streams for info in await _durable(js, stream)]


async def _durable(js: JetStreamContext, stream: str) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = []
    while page := await js.consumers_info(stream, offset=len(found)):
        found += page
    return [info for info in found if info.config.durable_name]


async def _lag(js: JetStreamContext, stream: str, info: ConsumerInfo) -> ConsumerLag:
    messages = (info.num_pending or 0) + (info.num_ack_pending or 0)
    oldest, since = await _oldest(js, stream, info) if messages else (None, None)
    return ConsumerLag(stream, info.name, messages, oldest, since)


async def _oldest(js: JetStreamContext, stream: str, info: ConsumerInfo) -> tuple[int | None, datetime | None]:
    """Sequence and time of the oldest message that is not acknowledged."""
    done = info.ack_floor.stream_seq if info.ack_floor else 0
    single = [info.config.filter_subject] if info.config.filter_subject else []
    found: list[tuple[int, datetime | None]] = []
    for subject in info.config.filter_subjects or single or [">"]:
        with contextlib.suppress(NotFoundError):
            message = await js.get_msg(stream, seq=done + 1, subject=subject, next=True)
            if message.seq:
                found.append((message.seq, message.time))
    return min(found, key=lambda one: one[0], default=(None, None))
