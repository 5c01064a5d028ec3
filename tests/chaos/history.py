"""The requests of a run and their answers: promises are about what clients see."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Json = dict[str, Any]

AWAY = frozenset({None, 429, 502, 503, 504})
"""No answer, or one that says: try again. Whether the request was carried out is unknown."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One request and its answer; `status` is None where none came. Times are Unix seconds."""

    number: int
    who: str
    kind: str
    about: Json
    """The body of the request, and the order or item that it is about."""
    key: str | None
    sent: float
    answered: float
    status: int | None
    body: Any
    retry_after: str | None = None
    """The header of the answer."""

    @property
    def known(self) -> bool:
        """Whether the answer says what was done, as opposed to `AWAY`."""
        return self.status not in AWAY

    @property
    def code(self) -> str:
        """The `code` of a problem, else an empty string."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) and (self.status or 0) >= 400 else ""

    @property
    def outcome(self) -> str:
        """The answer in a few words."""
        return "no answer" if self.status is None else f"{self.status} {self.code}".strip()


@dataclass
class History:
    """Every operation of a run, and the people who took part."""

    people: dict[str, str] = field(default_factory=dict)
    """Mail address by user id."""
    operations: list[Operation] = field(default_factory=list)
    began: float = field(default_factory=time.time)

    def add(
        self,
        *,
        who: str,
        kind: str,
        about: Json,
        key: str | None,
        sent: float,
        status: int | None,
        body: Any,
        retry_after: str | None = None,
    ) -> Operation:
        """Record an answer, or with `status` None that none came."""
        operation = Operation(
            len(self.operations) + 1, who, kind, about, key, sent, time.time(), status, body, retry_after
        )
        self.operations.append(operation)
        return operation

    @property
    def orders(self) -> int:
        """The number of orders that were answered with 201."""
        return len({operation.body["id"] for operation in self.of("place") if operation.status == 201})

    def of(self, *kinds: str) -> Iterator[Operation]:
        """Operations of these kinds, in the order of their answers."""
        return (operation for operation in self.operations if operation.kind in kinds)

    def write(self, file: Path) -> None:
        """Write one line of JSON for each operation."""
        with file.open("w") as out:
            for operation in self.operations:
                out.write(json.dumps(asdict(operation)) + "\n")
