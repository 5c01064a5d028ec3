"""Failures of handlers, and what becomes of the messages that they gave up. No I/O."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel

from audit.event_log.domain import id_of, keys_of, moment, text_of
from common.aggregate import Aggregate
from common.bus.message import Message
from common.errors import NotFound
from common.events import DeadLetterDecided, DeadLetterDiscarded, DeadLetterReplayed


class LetterNotFound(NotFound):
    """There is no such dead letter."""

    code = "letter_not_found"


class Failure(BaseModel):
    """A handler of a service could not handle a message, of which `about` is the event's id.

    The message lies in `source_stream` under `source_sequence`.
    """

    about: str
    service: str
    handler: str
    subject: str
    source_stream: str
    source_sequence: int
    error: str
    deliveries: int
    failed_at: datetime


class Retry(Failure):
    """It was to come again."""

    id: str

    @classmethod
    def of(cls, message: Message) -> Self:
        """The retry that a note tells of."""
        return cls(id=place_of(message), **failure_in(message))


class LetterState(StrEnum):
    """What became of a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class Letter(Failure, Aggregate):
    """The message was given up; and what an operator decided about it. He decides once."""

    sequence: int
    """Its place in the stream of dead letters."""
    body: str
    keys: dict[str, str]
    state: LetterState = LetterState.OPEN
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None

    @classmethod
    def of(cls, message: Message) -> Self:
        """The letter in the stream of dead letters."""
        body = text_of(message.body)
        told = failure_in(message)
        return cls(id=place_of(message), sequence=message.sequence, body=body, keys=keys_of(body), **told)

    def replay(self, by: str, now: datetime) -> None:
        """The handler is to see the message again. Changes nothing once it is decided."""
        if self.state is LetterState.OPEN:
            self._decide(LetterState.REPLAYED, by, now, None)
            self.record(DeadLetterReplayed(**self._decision()))

    def discard(self, by: str, now: datetime, reason: str) -> None:
        """Nothing is to be done about it. Changes nothing once it is decided."""
        if self.state is LetterState.OPEN:
            self._decide(LetterState.DISCARDED, by, now, reason)
            self.record(DeadLetterDiscarded(**self._decision()))

    def _decide(self, state: LetterState, by: str, now: datetime, reason: str | None) -> None:
        self.state, self.decided_by, self.decided_at, self.reason = state, by, now, reason

    def _decision(self) -> dict[str, Any]:
        return {
            "letter_id": self.id,
            "letter_version": self.next_version,
            "service": self.service,
            "handler": self.handler,
            "source_stream": self.source_stream,
            "source_sequence": self.source_sequence,
            "by": self.decided_by,
            "at": self.decided_at,
            "reason": self.reason,
        }


def state_after(event: DeadLetterDecided) -> LetterState:
    """The state that a decision leads to."""
    return LetterState.REPLAYED if isinstance(event, DeadLetterReplayed) else LetterState.DISCARDED


def failure_in(message: Message) -> dict[str, Any]:
    """What a note of a retry or a dead letter says in its subject and headers."""
    headers = message.headers
    _, service, handler = [*message.subject.split(".", 2), "", ""][:3]
    stream, sequence = headers.get("Souk-Stream", ""), number(headers.get("Souk-Sequence"))
    return {
        "about": id_of(headers, stream, sequence),
        "service": service,
        "handler": handler,
        "subject": headers.get("Souk-Subject", message.subject),
        "source_stream": stream,
        "source_sequence": sequence,
        "error": headers.get("Souk-Error", ""),
        "deliveries": number(headers.get("Souk-Deliveries")),
        "failed_at": moment(headers.get("Souk-Failed-At"), message.time),
    }


def place_of(message: Message) -> str:
    """The id of a message that is about another: the server's own, so that one told twice is one."""
    return message.headers.get("Nats-Msg-Id") or f"{message.stream}:{message.sequence}"


def number(text: str | None) -> int:
    """The number in a header, or 0."""
    return int(text) if text and text.isascii() and text.isdecimal() else 0
