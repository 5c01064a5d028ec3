"""How far the durable consumers of the streams are behind."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, SequenceInfo
from nats.js.errors import NotFoundError

from common.errors import Unavailable


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
    """The lag of every durable consumer of these streams. Raises `Unavailable` if not all of them are known."""
    return [lag for stream in streams for lag in await _lags(js, stream)]


async def _lags(js: JetStreamContext, stream: str) -> list[ConsumerLag]:
    state = (await js.stream_info(stream)).state
    found: list[ConsumerInfo] = []
    while len(found) < state.consumer_count and (page := await js.consumers_info(stream, offset=len(found))):
        found += page
    if len(found) < state.consumer_count:  # The list leaves out those whose leaders have not answered.
        missing = f"{state.consumer_count - len(found)} of {state.consumer_count}"
        raise Unavailable(f"the bus says nothing about {missing} consumers of {stream}")
    return [await _lag(js, stream, state.last_seq, info) for info in found if info.config.durable_name]


async def _lag(js: JetStreamContext, stream: str, last: int, info: ConsumerInfo) -> ConsumerLag:
    """The lag of one. `last` is the sequence of the stream's last message.

    A consumer's leader counts in its own copy of the stream, which may lack messages for as long as it likes. So that
    it counts none is believed only if it has come to the end of the stream; else the stream's leader knows of the
    first message that it has not delivered, and that one counts.
    """
    counted = (info.num_pending or 0) + (info.num_ack_pending or 0)
    done = (info.ack_floor if counted else info.delivered) or SequenceInfo(0, 0)
    if not counted and done.stream_seq >= last:
        return ConsumerLag(stream, info.name, 0)
    oldest, since = await _oldest(js, stream, info, done.stream_seq + 1)
    return ConsumerLag(stream, info.name, counted or int(oldest is not None), oldest, since)


async def _oldest(
    js: JetStreamContext, stream: str, info: ConsumerInfo, start: int
) -> tuple[int | None, datetime | None]:
    """Sequence and time of the first message from `start` on that is for this consumer."""
    single = [info.config.filter_subject] if info.config.filter_subject else []
    found: list[tuple[int, datetime | None]] = []
    for subject in info.config.filter_subjects or single or [">"]:
        with contextlib.suppress(NotFoundError):
            message = await js.get_msg(stream, seq=start, subject=subject, next=True)
            if message.seq:
                found.append((message.seq, message.time))
    return min(found, key=lambda one: one[0], default=(None, None))
