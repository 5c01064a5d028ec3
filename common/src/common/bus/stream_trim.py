"""Trimming a stream: it gives up its oldest events once they are archived. Only the privileged user of the bus may.

First the stream declares in its metadata that they are in the archive, and only then it gives them up: who reads it
meanwhile notices (`common.bus.archive.kept_from`).
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from common.bus.address import connected_to
from common.bus.archive import DECLARED, fits
from common.bus.message import Message
from common.bus.stream_reader import first_since, read_all

TIMEOUT = 60.0
"""Seconds that the server may take to give up the events of a stream."""


class Trimmed:
    """A stream that is trimmed. Get one from `trimming`."""

    def __init__(self, client: Client, stream: str) -> None:
        self._client = client
        self._js = client.jetstream(timeout=TIMEOUT)
        self.name = stream

    async def first(self) -> int:
        """The number of its oldest message, 1 if it never had one. Raises `NatsError` while the stream is refilled."""
        info = await self._js.stream_info(self.name)
        if info.config.subject_transform:
            raise NatsError(f"{self.name} is being refilled: run `make republish` to its end first")
        return max(info.state.first_seq, 1)

    async def last_before(self, moment: datetime) -> int:
        """The number of the newest message that was stored before `moment`, or a smaller one; 0 if there is none."""
        newest = (await self._js.stream_info(self.name)).state.last_seq
        since = await first_since(self._client, self._js, self.name, moment)
        return newest if since is None else since - 1

    async def messages(self) -> AsyncGenerator[Message, None]:
        """What it holds, oldest first."""
        async for message in read_all(self._client, self._js, self.name, ()):
            yield message

    def fits(self, message: Message) -> bool:
        """Whether the archive can answer with this message."""
        return fits(message, self._client.max_payload)

    async def declare(self, until: int) -> None:
        """Say that the messages up to a number are in the archive. Readers find them there from now on."""
        config = (await self._js.stream_info(self.name)).config
        metadata = dict(config.metadata or {})
        if until > int(metadata.get(DECLARED, 0)):
            await self._js.update_stream(config.evolve(metadata=metadata | {DECLARED: str(until)}))

    async def handled(self) -> tuple[int, str]:
        """The number up to which every durable has handled its messages, and the durable that is furthest behind."""
        lowest, slowest = (await self._js.stream_info(self.name)).state.last_seq, ""
        for info in await self._durables():
            if (done := await self._handled_by(info, lowest)) < lowest:
                lowest, slowest = done, info.name
        return lowest, slowest

    async def _durables(self) -> list[ConsumerInfo]:
        found: list[ConsumerInfo] = []
        while page := await self._js.consumers_info(self.name, offset=len(found)):
            found += page
        return found

    async def _handled_by(self, info: ConsumerInfo, upto: int) -> int:
        """The number before the first message that a durable has not acknowledged; `upto` if there is none before."""
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        subject = info.config.filter_subject or f"{self.name.lower()}.>"
        try:
            found = await self._js.get_msg(self.name, seq=floor + 1, subject=subject, next=True)
        except NotFoundError:
            return upto
        return min((found.seq or 1) - 1, upto)

    async def give_up(self, until: int) -> None:
        """Remove the messages up to a number, for good."""
        await self._js.purge_stream(self.name, seq=until + 1)


@asynccontextmanager
async def trimming(url: str, stream: str) -> AsyncIterator[Trimmed]:
    """A stream to trim, as a user of the bus who may do that."""
    async with connected_to(url, "archive") as client:
        yield Trimmed(client, stream)
