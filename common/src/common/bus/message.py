"""A message as it lies in its stream. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from common.events import EVENTS, Event


@dataclass(frozen=True, slots=True)
class Message:
    """A message, whether or not it is an event that anybody can read. `time` is when it was stored."""

    stream: str
    sequence: int
    subject: str
    time: datetime
    headers: Mapping[str, str]
    body: bytes

    def event(self) -> Event:
        """The event in it. Raises `KeyError` for a subject that nobody knows, `ValidationError` for a body."""
        return EVENTS[self.subject].model_validate_json(self.body)
