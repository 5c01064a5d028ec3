"""Reads the messages that a stream holds, without consuming them."""

import contextlib
from collections.abc import AsyncGenerator, Sequence

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from common.bus.message import Message
from common.bus.subscription import delivered

FETCH_TIMEOUT = 5.0
"""Seconds until a fetch without messages fails."""

FETCH_SIZE = 500
"""Messages that one fetch asks for."""


async def read_one(js: JetStreamContext, stream: str, sequence: int) -> Message | None:
    """A message of a stream; None if the stream no longer has it."""
    try:
        found = await js.get_msg(stream, sequence)
    except NotFoundError:
        return None
    assert found.subject  # noqa: S101 - every stored message has one
    assert found.time  # noqa: S101 - every stored message has one
    return Message(stream, sequence, found.subject, found.time, found.headers or {}, found.data or b"")


async def read_all(js: JetStreamContext, stream: str, subjects: Sequence[str]) -> AsyncGenerator[Message, None]:
    """Every message of a stream (with one of `subjects`, if any is given), from the first to the newest now."""
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.NONE,
        filter_subjects=list(subjects),
        inactive_threshold=60,
    )
    subscription = await js.pull_subscribe("", stream=stream, config=config)
    info = await subscription.consumer_info()
    remaining = info.num_pending or 0
    try:
        while remaining > 0:
            for msg in await subscription.fetch(min(remaining, FETCH_SIZE), timeout=FETCH_TIMEOUT):
                remaining -= 1
                yield delivered(msg)
    finally:
        await subscription.unsubscribe()
        with contextlib.suppress(NatsError):  # If the bus is lost, the server deletes the consumer after 60 s.
            await js.delete_consumer(stream, info.name)
