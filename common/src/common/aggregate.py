"""The base of everything that is loaded, asked to do one thing, and saved. No I/O."""

from typing import Self

from pydantic import BaseModel, PrivateAttr

from common.events import Event


class Aggregate(BaseModel):
    """A consistent whole with one version. A method checks, changes state and records what happened.

    `version` counts the saves: 0 means never saved. Whoever saves an aggregate takes its recorded events with it.
    """

    id: str
    version: int = 0
    _recorded: list[Event] = PrivateAttr(default_factory=list)

    @property
    def next_version(self) -> int:
        """The version this aggregate will have once it is saved; events carry it."""
        return self.version + 1

    @property
    def recorded(self) -> tuple[Event, ...]:
        """Events since the last save, oldest first."""
        return tuple(self._recorded)

    def record(self, event: Event) -> None:
        """Remember that something happened; it leaves with the next save."""
        self._recorded.append(event)

    def saved(self) -> None:
        """State and events are durable: one version on, nothing recorded."""
        self.version += 1
        self._recorded.clear()

    def to_document(self) -> dict[str, object]:
        """The state as Mongo keeps it, without id, version and recorded events. None means: not there."""
        return self.model_dump(exclude={"id", "version"})

    @classmethod
    def from_document(cls, document: dict[str, object]) -> Self:
        """The aggregate as it was saved. `pending` is never part of it."""
        return cls.model_validate({**document, "id": document["_id"]})
