"""A message as a stream holds it. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from common.events import EVENTS, Event


@dataclass(frozen=True, slots=True)
class Message:
    """A message, whether or not it is a valid event. `time` is when the stream stored it."""

    stream: str
    sequence: int
    subject: str
    time: datetime
    headers: Mapping[str, str]
    body: bytes

    def event(self) -> Event:
        """The event in the message. Raises `KeyError` for an unknown subject, `ValidationError` for a wrong body."""
        return EVENTS[self.subject].model_validate_json(self.body)
