"""Refilling a stream that the bus has lost: every message goes back to the sequence number that it had.

While a stream is refilled it takes messages on another subject, under which no service publishes. The server puts them
under their own subject (a subject transform) and refuses a batch that would not land exactly in its old place.
"""

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import StreamConfig, SubjectTransform
from nats.js.errors import NotFoundError

from common.bus.address import connected_to
from common.bus.message import Message
from common.bus.stream_reader import read_all
from common.bus.streams import stream_config
from common.ids import new_id

PREFIX = "refill"
"""The first word of the subjects that a stream takes while it is refilled. Only the refill may publish there."""

BATCH = 500
"""Messages of one atomic batch, at most."""

ANSWER_SECONDS = 30.0
"""How long the server may take to store a batch, or to create a stream."""

EPOCH = datetime.fromtimestamp(0, UTC)


class Refilled:
    """A stream that is refilled. Get one from `refilling`."""

    def __init__(self, client: Client, stream: str, replicas: int) -> None:
        self._client = client
        self._js = client.jetstream(timeout=ANSWER_SECONDS)
        self._config = stream_config(stream, replicas)
        self.name = stream
        self.last = 0
        """The sequence number of its newest message."""
        self.gaps = False
        """Whether a place before that one is empty."""
        self.archived = 0
        """The number up to which its messages are in the archive and not in the stream. Set it before `find`."""

    async def find(self) -> bool:
        """Look at the stream; return whether it is being refilled. One that is not there has no message."""
        try:
            found = await self._js.stream_info(self.name)
        except NotFoundError:
            return False
        self.last = found.state.last_seq
        self.gaps = found.state.messages != self.last - self.archived
        return found.config.subject_transform is not None

    async def read(self) -> AsyncGenerator[Message, None]:
        """What the stream holds, oldest first; nothing if there is no stream."""
        with contextlib.suppress(NotFoundError):
            async with aclosing(read_all(self._client, self._js, self.name, ())) as messages:
                async for message in messages:
                    yield message

    async def open(self) -> None:
        """Create the stream anew, without messages and durables. From now on it takes old messages and nothing else.

        What it takes is not passed on as news, and may be deleted until it is closed.
        """
        first = self.archived + 1 if self.archived else None
        await self._create(self._refillable().evolve(deny_delete=False, first_seq=first))
        self.last = self.archived

    async def shut(self) -> None:
        """Take no more messages from services; those that the stream has stay."""
        await self._js.update_stream(self._refillable())

    def _refillable(self) -> StreamConfig:
        own = f"{self.name.lower()}.>"
        transform = SubjectTransform(src=f"{PREFIX}.{own}", dest=own)
        return self._config.evolve(subjects=[f"{PREFIX}.{own}"], subject_transform=transform, republish=None)

    async def close(self) -> None:
        """Take the services' messages again."""
        await self._js.update_stream(self._config)

    async def begin(self, first: int) -> None:
        """Create the stream anew as services use it, empty; its first message gets the number `first`."""
        await self._create(self._config.evolve(first_seq=first))

    async def _create(self, config: StreamConfig) -> None:
        with contextlib.suppress(NotFoundError):
            await self._js.delete_stream(self.name)
        await self._js.add_stream(config)

    async def put(self, messages: AsyncIterable[Message]) -> int:
        """Store messages, ascending by sequence number, in their places; return how many were not there yet.

        Places between them stay empty. Raises `NatsError` if somebody else publishes meanwhile.
        """
        count, run = 0, list[Message]()
        async for message in messages:
            if message.sequence <= self.last:
                continue
            if run and (len(run) == BATCH or message.sequence != run[-1].sequence + 1):
                await self._put(run)
                run = []
            run.append(message)
            count += 1
        if run:
            await self._put(run)
        return count

    async def _put(self, run: Sequence[Message]) -> None:
        await self._skip_to(run[0].sequence)
        await self._store(run)

    async def append(self, message: Message) -> int:
        """Store a message behind all others; return its place."""
        await self._store([message])
        return self.last

    async def _skip_to(self, sequence: int) -> None:
        """Leave the places before `sequence` empty, by storing something there and deleting it."""
        while (first := self.last + 1) < sequence:
            count = min(sequence - first, BATCH)
            await self._store([Message(self.name, 0, f"{self.name.lower()}.nothing", EPOCH, {}, b"")] * count)
            for one in range(first, first + count):
                await self._js.delete_msg(self.name, one)

    async def _store(self, messages: Sequence[Message]) -> None:
        """Store messages right behind the newest one, in one atomic batch as in NATS ADR-50."""
        batch, count = new_id(), len(messages)
        for number, message in enumerate(messages, 1):
            headers = {**message.headers, "Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == 1:
                headers["Nats-Expected-Last-Sequence"] = str(self.last)
            if number == count:
                headers["Nats-Batch-Commit"] = "1"
                answer = await self._client.request(
                    f"{PREFIX}.{message.subject}", message.body, timeout=ANSWER_SECONDS, headers=headers
                )
            else:
                await self._client.publish(f"{PREFIX}.{message.subject}", message.body, headers=headers)
        if refused := json.loads(answer.data).get("error"):
            raise NatsError(f"{self.name} refused messages {self.last + 1} to {self.last + count}: {refused}")
        self.last += count


@asynccontextmanager
async def refilling(url: str, stream: str, replicas: int) -> AsyncIterator[Refilled]:
    """A stream to refill, as a user of the bus who may do that. It is not opened yet, and it is not closed at the end.

    If the refill fails, the stream stays closed for the services: their events wait, and the next refill goes on.
    """
    async with connected_to(url, "refill") as client:
        yield Refilled(client, stream, replicas)
