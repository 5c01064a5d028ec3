"""The security log: what an operator looks at after an attack. Ids and networks only, no names and no addresses.

`note("exported", user_id=...)` is all that a caller does. An entry becomes a line of the logger `souk.security` at once
and soon a message of the stream SECURITY, where audit reads it (docs/decisions/security-log.md).
"""

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from common.clock import now
from common.ids import new_id

Kind = Literal[
    "signed_in",
    "sign_in_failed",
    "throttled",
    "denied",
    "forged_token",
    "session_ended",
    "password_changed",
    "email_changed",
    "passkeys_changed",
    "roles_changed",
    "key_rotated",
    "operator_acted",
    "exported",
    "erased",
]

WINDOW = 60.0
"""Seconds in which entries that say the same are counted instead of repeated."""

DISTINCT = 20
"""Entries of one kind in a window that say different things. All others of that kind are counted together."""

MOST_WAITING = 2_000
"""Entries that wait for the bus; the oldest go first."""

log = logging.getLogger("souk.security")


class SecurityEntry(BaseModel):
    """What happened `count` times, to whom and from where as far as that is known."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    kind: Kind
    at: datetime
    user_id: Annotated[str, Field(max_length=64)] | None = None
    network: Annotated[str, Field(max_length=64)] | None = None
    """An IPv4 /24 or IPv6 /64."""
    detail: Annotated[str, Field(max_length=200)] | None = None
    count: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True, slots=True)
class _Said:
    """What makes two entries the same."""

    kind: Kind
    user_id: str | None = None
    network: str | None = None
    detail: str | None = None


@dataclass
class SecurityLog:
    """The entries of one process that wait to be published. A flood makes few of them: see `WINDOW` and `DISTINCT`."""

    waiting: deque[SecurityEntry] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    _ends: float = 0.0
    _seen: dict[Kind, dict[_Said, int]] = field(default_factory=dict)

    def note(
        self, kind: Kind, user_id: str | None = None, network: str | None = None, detail: str | None = None
    ) -> None:
        """Something has happened that an operator may want to see."""
        self.close_window()
        said = _Said(kind, user_id, network[:64] if network else None, detail[:200] if detail else None)
        seen = self._seen.setdefault(kind, {})
        if said not in seen and len(seen) >= DISTINCT:
            said = _Said(kind)
        if said in seen:
            seen[said] += 1
        else:
            seen[said] = 0
            self._add(said, 1)

    def close_window(self, *, early: bool = False) -> None:
        """If its time is over, write down how often each entry was repeated in it, and begin the next one."""
        if not early and time.monotonic() < self._ends:
            return
        repeated = [(said, count) for seen in self._seen.values() for said, count in seen.items() if count]
        self._seen.clear()
        self._ends = time.monotonic() + WINDOW
        for said, count in repeated:
            self._add(said, count)

    def _add(self, said: _Said, count: int) -> None:
        entry = SecurityEntry(
            id=new_id(),
            kind=said.kind,
            at=now(),
            user_id=said.user_id,
            network=said.network,
            detail=said.detail,
            count=count,
        )
        known = {name: value for name, value in entry.model_dump(mode="json").items() if value is not None}
        log.info(said.kind, extra=known)
        self.waiting.append(entry)


SECURITY_LOG = SecurityLog()
"""That of this process, as loggers and metrics are."""

note = SECURITY_LOG.note
