"""The archive: old events that their stream no longer has. Audit keeps them, and answers for them on the bus.

Who reads a stream from the first event on reads these first, and need not know it (docs/decisions/years.md).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Self

from nats.js import JetStreamContext
from nats.js.api import StreamInfo
from pydantic import BaseModel

from common.bus.message import Message
from common.events import EVENTS, DeadLetterDecided

ARCHIVED = tuple(sorted({event.stream for event in EVENTS.values() if not issubclass(event, DeadLetterDecided)}))
"""The streams whose old events move to the archive: those of events. Decisions about dead letters are few."""

DECLARED = "souk_archived"
"""The metadata of a stream that tells the number of the newest archived event, before the stream gives it up."""

Request = Callable[[str, bytes], Awaitable[bytes]]
"""Sends a request on a subject, and returns the answer. Raises `Unavailable`."""


class Wanted(BaseModel):
    """Which archived messages of a stream somebody asks for: numbers from `start` to below `before`."""

    subjects: list[str]
    """Empty for all."""
    start: int
    before: int


class Archived(BaseModel):
    """A message of the archive."""

    sequence: int
    subject: str
    time: datetime
    headers: dict[str, str]
    body: str

    @classmethod
    def of(cls, message: Message) -> Self:
        """The message, to be sent."""
        headers, body = dict(message.headers), message.body.decode()
        return cls(sequence=message.sequence, subject=message.subject, time=message.time, headers=headers, body=body)

    def message(self, stream: str) -> Message:
        """The message as its stream had it."""
        return Message(stream, self.sequence, self.subject, self.time, self.headers, self.body.encode())


class Page(BaseModel):
    """The first of the messages that somebody asked for, by ascending number, and whether there are more."""

    messages: list[Archived]
    more: bool


def archive_subject(stream: str) -> str:
    """The subject on which audit answers for a stream."""
    return f"archive.{stream.lower()}"


def room_in(payload: int) -> int:
    """The bytes that archived messages may have in an answer of at most `payload` bytes."""
    return payload - 4_096


def fits(message: Message, payload: int) -> bool:
    """Whether the archive can answer with this message, so that it may leave its stream. JSON in JSON is longer."""
    return len(Archived.of(message).model_dump_json().encode()) <= room_in(payload)


def kept_from(info: StreamInfo) -> int:
    """The number from which on a stream has its events. Those below are in the archive, if anywhere."""
    declared = int((info.config.metadata or {}).get(DECLARED, 0))
    return max(info.state.first_seq, declared + 1)


class Archive:
    """The archive, as readers of streams see it."""

    def __init__(self, js: JetStreamContext, request: Request) -> None:
        self._js = js
        self._request = request

    async def ends(self, stream: str) -> int:
        """The number below which a stream's events are in the archive, as the stream's leader says; 0 if none are."""
        return kept_from(await self._js.stream_info(stream)) if stream in ARCHIVED else 0

    async def read(
        self, stream: str, subjects: Sequence[str], start: int, before: int
    ) -> AsyncGenerator[Message, None]:
        """The archived messages with a number from `start` to below `before`, ascending. Raises `Unavailable`."""
        wanted = [subject for subject in subjects if subject != f"{stream.lower()}.>"]
        more = start < before
        while more:
            asked = Wanted(subjects=wanted, start=start, before=before)
            page = Page.model_validate_json(
                await self._request(archive_subject(stream), asked.model_dump_json().encode())
            )
            for one in page.messages:
                yield one.message(stream)
                start = one.sequence + 1
            more = page.more

    async def find(self, stream: str, sequence: int) -> Message | None:
        """The archived message with this number; None if there is none."""
        if sequence >= await self.ends(stream):
            return None
        async for message in self.read(stream, (), sequence, sequence + 1):
            return message
        return None
