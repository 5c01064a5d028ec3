"""Reads the messages that a stream holds, without a consumer: by batched direct gets of NATS ADR-31.

Any member that has the stream answers a direct get, also one that lags behind. So the leader says where the end is.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from common.bus.archive import Archive
from common.bus.message import Message

FETCH_TIMEOUT = 5.0
"""Seconds without an answer after which reading fails."""

FETCH_SIZE = 1_000
"""Messages that one request asks for."""

FETCH_BYTES = 8_000_000
"""Bytes of messages after which the answer to one request ends."""

LAG_PAUSE = 0.1
"""Seconds until the next request, where the member that answered lags behind."""

PLACE = ("Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp", "Nats-Num-Pending", "Nats-Last-Sequence")
"""Headers that the server adds to a message that it reads."""


async def read_one(js: JetStreamContext, stream: str, sequence: int) -> Message | None:
    """A message of a stream; None if the stream no longer has it."""
    try:
        found = await js.get_msg(stream, sequence)
    except NotFoundError:
        return None
    assert found.subject  # noqa: S101 - every stored message has one
    assert found.time  # noqa: S101 - every stored message has one
    return Message(stream, sequence, found.subject, found.time, found.headers or {}, found.data or b"")


async def in_batches(messages: AsyncIterator[Message], size: int) -> AsyncGenerator[list[Message], None]:
    """The messages, `size` at a time; the last ones may be fewer."""
    batch: list[Message] = []
    async for message in messages:
        batch.append(message)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


async def read_all(
    client: Client,
    js: JetStreamContext,
    stream: str,
    subjects: Sequence[str],
    start: int = 1,
    archive: Archive | None = None,
) -> AsyncGenerator[Message, None]:
    """Every message of a stream (with one of `subjects`, if any is given), from `start` to the newest now.

    With an `archive`, those that the stream no longer has come from there.
    """
    wanted = subjects[0] if len(subjects) == 1 else f"{stream.lower()}.>"
    newest = (await js.stream_info(stream)).state.last_seq
    async with _inbox(client) as answers:
        while start <= newest:
            batch = [message async for message in _batch(client, answers, stream, wanted, {"seq": start})]
            # Asked afterwards: events may have left the stream before it answered.
            if archive and start < (kept := await archive.ends(stream)):
                async with aclosing(archive.read(stream, subjects, start, min(kept, newest + 1))) as archived:
                    async for message in archived:
                        yield message
                start = kept
                continue
            for message in batch:
                if message.sequence > newest:
                    return
                start = message.sequence + 1
                if len(subjects) < 2 or message.subject in subjects:
                    yield message
            if not batch:
                if not await _has_more(js, stream, wanted, start, newest):
                    return
                await asyncio.sleep(LAG_PAUSE)


async def first_since(client: Client, js: JetStreamContext, stream: str, moment: datetime) -> int | None:
    """The sequence of the first message that a stream stored at or after `moment`; None if there is none."""
    request = {**_from(moment), "next_by_subj": f"{stream.lower()}.>", "batch": 1}
    async with _inbox(client) as answers:
        while True:
            await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=answers.subject)
            headers = (await answers.next_msg(FETCH_TIMEOUT)).headers or {}
            if "Nats-Sequence" in headers:
                return int(headers["Nats-Sequence"])
            last = (await js.stream_info(stream)).state.last_seq
            newest = await read_one(js, stream, last) if last else None
            if newest is None or newest.time < moment:
                return None
            await asyncio.sleep(LAG_PAUSE)


async def read_since(client: Client, stream: str, subject: str, moment: datetime) -> list[Message]:
    """The first messages that a stream stored at or after `moment` under a subject, `FETCH_SIZE` at most.

    The member that answers may lag behind and have fewer.
    """
    async with _inbox(client) as answers:
        return [message async for message in _batch(client, answers, stream, subject, _from(moment))]


@asynccontextmanager
async def _inbox(client: Client) -> AsyncIterator[Subscription]:
    """Where the answers to direct gets arrive."""
    answers = await client.subscribe(client.new_inbox())
    try:
        yield answers
    finally:
        if not client.is_closed:
            await answers.unsubscribe()


def _from(moment: datetime) -> Mapping[str, object]:
    """Where a direct get begins: at the first message that was stored at `moment` or after it."""
    return {"start_time": moment.astimezone(UTC).isoformat()}


async def _batch(
    client: Client, answers: Subscription, stream: str, subject: str, start: Mapping[str, object]
) -> AsyncGenerator[Message, None]:
    """Up to `FETCH_SIZE` messages from `start` on; fewer than there are if the member that answers lags behind."""
    request = {**start, "next_by_subj": subject, "batch": FETCH_SIZE, "max_bytes": FETCH_BYTES}
    await client.publish(f"$JS.API.DIRECT.GET.{stream}", json.dumps(request).encode(), reply=answers.subject)
    while "Nats-Sequence" in ((msg := await answers.next_msg(FETCH_TIMEOUT)).headers or {}):
        yield stored(msg)


def stored(msg: Msg) -> Message:
    """The message that a stream has stored and passes on, as news or in answer to a direct get."""
    headers = dict(msg.headers or {})
    stream, subject, sequence, time, *_ = (headers.pop(name, "") for name in PLACE)
    return Message(stream, int(sequence), subject, _moment(time), headers, msg.data)


def _moment(text: str) -> datetime:
    """A time of the server, with nine digits of a second, to the microsecond that nats-py makes of it elsewhere."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    whole = int(datetime.fromisoformat(f"{seconds}+00:00").timestamp())
    return datetime.fromtimestamp((whole * 10**9 + int(fraction.ljust(9, "0"))) / 1e9, UTC)


async def _has_more(js: JetStreamContext, stream: str, subject: str, start: int, newest: int) -> bool:
    """Whether the leader has such a message between two sequences."""
    try:
        found = await js.get_msg(stream, seq=start, subject=subject, next=True)
    except NotFoundError:
        return False
    return (found.seq or 0) <= newest
