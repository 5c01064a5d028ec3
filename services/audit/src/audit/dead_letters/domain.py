"""Failures of handlers: retries, and dead letters with what operators decide about them. No I/O."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel

from audit.event_log.domain import id_of, keys_of, moment, text_of
from common.aggregate import Aggregate
from common.bus.message import Message
from common.errors import NotFound
from common.events import DeadLetterDecided, DeadLetterDiscarded, DeadLetterReplayed, Event


class DeadLetterNotFound(NotFound):
    """There is no such dead letter."""

    code = "letter_not_found"


class Failure(BaseModel):
    """A handler of a service failed on a message. `about` is the id of the message's event.

    The message is in `source_stream`, with the sequence number `source_sequence`.
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
    """A failure after which the message was delivered again."""

    id: str

    @classmethod
    def of(cls, message: Message) -> Self:
        """The retry in a message of the stream of retries."""
        return cls(id=message_id_of(message), **failure_in(message))


class DeadLetterState(StrEnum):
    """What was decided about a dead letter."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"


class DeadLetter(Failure, Aggregate):
    """A message that its handler could not handle, and the decision about it. The first decision is final."""

    sequence: int
    """Its sequence number in the stream of dead letters."""
    body: str
    keys: dict[str, str]
    state: DeadLetterState = DeadLetterState.OPEN
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None

    @classmethod
    def of(cls, message: Message) -> Self:
        """The dead letter in a message of the stream of dead letters."""
        body = text_of(message.body)
        failure = failure_in(message)
        return cls(id=message_id_of(message), sequence=message.sequence, body=body, keys=keys_of(body), **failure)

    def to_message(self) -> Message:
        """The message again, for a stream of dead letters that lost it. It is the same dead letter."""
        headers = {
            "Nats-Msg-Id": self.id,
            "ce-id": self.about,
            "Souk-Subject": self.subject,
            "Souk-Stream": self.source_stream,
            "Souk-Sequence": str(self.source_sequence),
            "Souk-Consumer": f"{self.service}-{self.handler}",
            "Souk-Error": self.error,
            "Souk-Deliveries": str(self.deliveries),
            "Souk-Failed-At": self.failed_at.isoformat(),
        }
        subject = f"dead_letters.{self.service}.{self.handler}"
        return Message("DEAD_LETTERS", self.sequence, subject, self.failed_at, headers, self.body.encode())

    def restated(self) -> list[Event]:
        """The decision about it, if there is one."""
        match self.state:
            case DeadLetterState.OPEN:
                return []
            case DeadLetterState.REPLAYED:
                return [DeadLetterReplayed(**self._decision(self.version), restated=True)]
            case DeadLetterState.DISCARDED:
                return [DeadLetterDiscarded(**self._decision(self.version), restated=True)]

    def replay(self, by: str, now: datetime) -> None:
        """Give the message to its handler again. Changes nothing after a decision."""
        if self.state is DeadLetterState.OPEN:
            self._decide(DeadLetterState.REPLAYED, by, now, None)
            self.record(DeadLetterReplayed(**self._decision(self.next_version)))

    def discard(self, by: str, now: datetime, reason: str) -> None:
        """Close it without a replay. Changes nothing after a decision."""
        if self.state is DeadLetterState.OPEN:
            self._decide(DeadLetterState.DISCARDED, by, now, reason)
            self.record(DeadLetterDiscarded(**self._decision(self.next_version)))

    def _decide(self, state: DeadLetterState, by: str, now: datetime, reason: str | None) -> None:
        self.state, self.decided_by, self.decided_at, self.reason = state, by, now, reason

    def _decision(self, version: int) -> dict[str, Any]:
        return {
            "letter_id": self.id,
            "letter_version": version,
            "service": self.service,
            "handler": self.handler,
            "source_stream": self.source_stream,
            "source_sequence": self.source_sequence,
            "by": self.decided_by,
            "at": self.decided_at,
            "reason": self.reason,
        }


def state_after(event: DeadLetterDecided) -> DeadLetterState:
    """The state after a decision."""
    return DeadLetterState.REPLAYED if isinstance(event, DeadLetterReplayed) else DeadLetterState.DISCARDED


def failure_in(message: Message) -> dict[str, Any]:
    """The fields of a `Failure`, from the subject and headers of a retry or dead letter."""
    headers = message.headers
    _, service, handler = [*message.subject.split(".", 2), "", ""][:3]
    stream, sequence = headers.get("Souk-Stream", ""), number_in(headers.get("Souk-Sequence"))
    return {
        "about": id_of(headers, stream, sequence),
        "service": service,
        "handler": handler,
        "subject": headers.get("Souk-Subject", message.subject),
        "source_stream": stream,
        "source_sequence": sequence,
        "error": headers.get("Souk-Error", ""),
        "deliveries": number_in(headers.get("Souk-Deliveries")),
        "failed_at": moment(headers.get("Souk-Failed-At"), message.time),
    }


def message_id_of(message: Message) -> str:
    """The id of a retry or dead letter. One that was published twice has one id."""
    return message.headers.get("Nats-Msg-Id") or f"{message.stream}:{message.sequence}"


def number_in(text: str | None) -> int:
    """The number in a header, or 0 if there is none."""
    return int(text) if text and text.isascii() and text.isdecimal() else 0
