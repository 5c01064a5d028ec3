"""The base of everything that is loaded, changed by one method, and saved. No I/O."""

from typing import Self

from pydantic import BaseModel, PrivateAttr

from common.events import Event


class Aggregate(BaseModel):
    """A unit of consistency with one version. Its methods check, change the state and record what happened.

    `version` counts the saves; 0 means never saved. Saving an aggregate also saves its recorded events.
    """

    id: str
    version: int = 0
    _recorded: list[Event] = PrivateAttr(default_factory=list)

    @property
    def next_version(self) -> int:
        """The version that this aggregate has after the next save; events carry it."""
        return self.version + 1

    @property
    def recorded(self) -> tuple[Event, ...]:
        """Events since the last save, oldest first."""
        return tuple(self._recorded)

    def record(self, event: Event) -> None:
        """Record an event, to be saved and published with the next save."""
        self._recorded.append(event)

    def restated(self) -> list[Event]:
        """The events that say what this is now, with its present version, for readers whose copies may be older.

        They are published after the bus lost its streams. Their `restated` is set.
        """
        return []

    def saved(self) -> None:
        """Call this after a save: it counts the version and clears the recorded events."""
        self.version += 1
        self._recorded.clear()

    def to_document(self) -> dict[str, object]:
        """The state as MongoDB stores it, without id, version and recorded events. None means that a field is unset."""
        return self.model_dump(exclude={"id", "version"})

    @classmethod
    def from_document(cls, document: dict[str, object]) -> Self:
        """The aggregate in a document of MongoDB, without its `pending` events."""
        return cls.model_validate({**document, "id": document["_id"]})
