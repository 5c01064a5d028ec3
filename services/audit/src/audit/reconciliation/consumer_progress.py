"""Whether every consumer has handled every event, and every dead letter is settled."""

from collections.abc import AsyncIterator, Collection, Sequence

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.log_reader import LogReader
from audit.reconciliation.sections import Outcome
from common.bus.connection import Bus
from common.clock import now

MAX_DEAD_LETTERS = 1_000
"""Open dead letters that are checked."""


class ConsumerProgress:
    """Every durable consumer has handled every message. `messages` and `seconds` are the largest lag seen."""

    name = "readers"

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.messages = 0
        self.seconds = 0.0

    async def scan(self, _only: Collection[str] | None = None) -> AsyncIterator[Outcome]:
        """Check every consumer."""
        yield await self.recheck(())

    async def recheck(self, _ids: Sequence[str], /) -> Outcome:
        """Check every consumer again: they are few."""
        outcome = Outcome()
        for lag in await self._bus.consumer_lags():
            outcome.checked += 1
            if not lag.messages:
                continue
            age = (now() - lag.since).total_seconds() if lag.since else 0.0
            self.messages = max(self.messages, lag.messages)
            self.seconds = max(self.seconds, age)
            waiting = Finding(
                rule=Rule.EVERYTHING_READ,
                subject={"consumer": lag.consumer},
                expected=f"message {lag.oldest} of {lag.stream} handled",
                found=f"it has waited since {lag.since}, with {lag.messages - 1} more",
            )
            outcome.add(lag.consumer, [waiting])
        return outcome


class OpenDeadLetters:
    """Every dead letter was replayed or discarded."""

    name = "letters"

    def __init__(self, log: LogReader) -> None:
        self._log = log

    async def scan(self, _only: Collection[str] | None = None) -> AsyncIterator[Outcome]:
        """Check every open dead letter."""
        yield await self.recheck(())

    async def recheck(self, _ids: Sequence[str], /) -> Outcome:
        """Check every open dead letter again: there should be few."""
        outcome = Outcome()
        for letter in await self._log.open_letters(MAX_DEAD_LETTERS):
            outcome.checked += 1
            open_letter = Finding(
                rule=Rule.LETTERS_SETTLED,
                subject={"letter": letter["_id"]},
                expected="replayed or discarded",
                found=f"{letter['service']} could not handle {letter['subject']}: {letter['error']}"[:300],
                certain=True,
            )
            outcome.add(letter["_id"], [open_letter])
        return outcome
