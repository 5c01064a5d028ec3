"""Whether every event was handled by every reader, or is a dead letter that somebody has settled."""

from collections.abc import AsyncIterator, Sequence

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.log_reader import Told
from audit.reconciliation.sections import Seen
from common.bus.connection import Bus
from common.clock import now

MOST_LETTERS = 1_000
"""Open dead letters that are listed."""


class Readers:
    """Every durable consumer has handled all there is. `messages` and `seconds`: how far they were behind at most."""

    name = "readers"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.messages = 0
        self.seconds = 0.0

    async def scan(self) -> AsyncIterator[Seen]:
        """Look at every consumer."""
        yield await self.look(())

    async def look(self, _ids: Sequence[str], /) -> Seen:
        """Look at every consumer, whichever are asked for: they are few."""
        seen = Seen()
        for backlog in await self._bus.consumer_lags():
            seen.rows += 1
            if not backlog.messages:
                continue
            age = (now() - backlog.since).total_seconds() if backlog.since else 0.0
            self.messages = max(self.messages, backlog.messages)
            self.seconds = max(self.seconds, age)
            waiting = Finding(
                rule=Rule.EVERYTHING_READ,
                subject={"consumer": backlog.consumer},
                expected=f"message {backlog.oldest} of {backlog.stream} handled",
                found=f"it waits since {backlog.since}, with {backlog.messages - 1} more",
            )
            seen.add(backlog.consumer, [waiting])
        return seen


class Letters:
    """Every dead letter was replayed or discarded."""

    name = "letters"

    def __init__(self, told: Told) -> None:
        self._told = told

    async def scan(self) -> AsyncIterator[Seen]:
        """Look at every open letter."""
        yield await self.look(())

    async def look(self, _ids: Sequence[str], /) -> Seen:
        """Look at every open letter, whichever are asked for: they should be few."""
        seen = Seen()
        for letter in await self._told.open_letters(MOST_LETTERS):
            seen.rows += 1
            open_letter = Finding(
                rule=Rule.LETTERS_SETTLED,
                subject={"letter": letter["_id"]},
                expected="replayed or discarded",
                found=f"{letter['service']} could not handle {letter['subject']}: {letter['error']}"[:300],
                certain=True,
            )
            seen.add(letter["_id"], [open_letter])
        return seen
