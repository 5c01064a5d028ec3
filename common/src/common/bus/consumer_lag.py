"""What the readers of the streams have not handled yet."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class ConsumerLag:
    """A durable consumer: how many messages wait for it or are with it, and the oldest of them, if there is one."""

    stream: str
    consumer: str
    messages: int
    oldest: int | None = None
    """The sequence in the stream."""
    since: datetime | None = None


async def consumer_lags(js: JetStreamContext, streams: Sequence[str]) -> list[ConsumerLag]:
    """Every durable consumer of these streams."""
    return [await _lag(js, stream, info) for stream in streams for info in await _durable(js, stream)]


async def _durable(js: JetStreamContext, stream: str) -> list[ConsumerInfo]:
    found: list[ConsumerInfo] = []
    while page := await js.consumers_info(stream, offset=len(found)):
        found += page
    return [info for info in found if info.config.durable_name]


async def _lag(js: JetStreamContext, stream: str, info: ConsumerInfo) -> ConsumerLag:
    messages = (info.num_pending or 0) + (info.num_ack_pending or 0)
    first: tuple[int, datetime | None] | None = None
    if messages:
        done = info.ack_floor.stream_seq if info.ack_floor else 0
        single = [info.config.filter_subject] if info.config.filter_subject else []
        for subject in info.config.filter_subjects or single or [">"]:
            with contextlib.suppress(NotFoundError):
                message = await js.get_msg(stream, seq=done + 1, subject=subject, next=True)
                if message.seq and (first is None or message.seq < first[0]):
                    first = message.seq, message.time
    oldest, since = first or (None, None)
    return ConsumerLag(stream, info.name, messages, oldest, since)
