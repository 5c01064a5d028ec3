"""Checks every record once, and what breaks a rule again until it is right or has lasted too long."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Protocol

from audit.reconciliation.changes import Changes, Ids
from audit.reconciliation.consumer_progress import ConsumerProgress, OpenDeadLetters
from audit.reconciliation.findings import Checkpoint, Finding, Lag, Money, Report, Rule, Violation
from audit.reconciliation.log_reader import LogReader
from audit.reconciliation.record_reader import RecordReader
from audit.reconciliation.sections import Bookings, Charges, Items, Orders, Outcome, Payments, Stocks
from audit.reconciliation.store import ReportStore
from common.bus.connection import COMMAND_PATIENCE, Bus
from common.clock import now
from common.errors import Unavailable
from common.mongo.client import AWAY, Database, database
from common.records import ChangesLost

log = logging.getLogger(__name__)

MAX_SUSPECTS = 10_000
"""Suspects of one section that are checked again. More than that means that something is very wrong."""

MAX_LISTED = 1_000
"""Violations that a report lists. It counts them all."""

MAX_AGAIN = 100_000
"""Records that a checkpoint names. With more, the next check is one of everything."""

RECHECK_SECONDS = 1.0
"""Seconds between two checks of the suspects, at most."""

Progress = Callable[[str, int], None]
"""Takes a section's name and how many of its records were checked."""


class Checkable(Protocol):
    """A section of the check."""

    @property
    def name(self) -> str:
        """The kind of its records."""

    def scan(self, only: Collection[str] | None = None, /) -> AsyncIterator[Outcome]:
        """Check everything, or `only` these, page by page. What is few is checked in any case."""

    async def recheck(self, ids: Sequence[str], /) -> Outcome:
        """Check these again."""


class Checker:
    """Compares the records of all services with each other and with the log. It writes nothing."""

    def __init__(self, bus: Bus, db: Database, grace: float) -> None:
        """A difference that lasts longer than `grace` seconds is a violation."""
        reader, log = RecordReader(bus), LogReader(db)
        self._changes = Changes(reader, log)
        self._progress = ConsumerProgress(bus)
        self._sections: list[Checkable] = [
            Items(reader, log),
            Stocks(reader, log),
            Orders(reader, log),
            Bookings(reader, log),
            Payments(reader, log),
            Charges(reader, log),
            self._progress,
            OpenDeadLetters(log),
        ]
        self._grace = grace

    async def check(self, progress: Progress = lambda _name, _count: None, *, known: Report | None = None) -> Report:
        """Check everything. Raises `Unavailable` if a service does not answer.

        What `known`, an earlier report, names as a violation has lasted already: it is not waited for.
        """
        report, _ = await self.check_since(None, progress, known=known)
        return report

    async def check_since(
        self,
        checkpoint: Checkpoint | None,
        progress: Progress = lambda _name, _count: None,
        *,
        known: Report | None = None,
    ) -> tuple[Report, Checkpoint | None]:
        """Check what has changed since the checkpoint, and what it names. Without one, or if it is too old: everything.

        Also returns what the next check can go on from; None if it has to check everything.
        """
        began = time.monotonic()
        checked_at = now()
        # Before anything is read: what is written meanwhile may be missed here, but not by the next check.
        marks, only = await self._begin(checkpoint)
        passes = []
        for section in self._sections:
            one = Pass(section)
            await one.begin(progress, None if only is None else only.get(section.name))
            passes.append(one)
        deadline = time.monotonic() + self._grace
        suspected = sum(len(one.suspects) for one in passes)
        lasted = {violation.key for violation in known.violations} if known else set()
        while any(one.may_clear(lasted) for one in passes) and time.monotonic() < deadline:
            await asyncio.sleep(min(RECHECK_SECONDS, self._grace / 4))
            for one in passes:
                await one.recheck()
        lasting = [finding for one in passes for finding in one.lasting]
        if checkpoint and only is not None:
            whole_at, balances = checkpoint.whole_at, checkpoint.balances
        else:
            whole_at, balances = checked_at, _balances(passes)
        report = Report(
            checked_at=checked_at,
            whole_at=whole_at,
            seconds=round(time.monotonic() - began, 3),
            grace=self._grace,
            counts={one.section.name: one.checked for one in passes},
            totals={rule: sum(finding.rule is rule for finding in lasting) for rule in Rule},
            violations=[Violation(**dict(finding), since=checked_at) for finding in lasting[:MAX_LISTED]],
            balances=balances,
            lag=Lag(
                messages=self._progress.messages,
                seconds=round(self._progress.seconds, 3),
                cleared=suspected - sum(len(one.suspects) for one in passes),
            ),
        )
        again = {one.section.name: sorted(one.again) for one in passes}
        if marks is None or any(one.overflowed for one in passes) or sum(map(len, again.values())) > MAX_AGAIN:
            return report, None
        return report, Checkpoint(whole_at=whole_at, marks=marks, again=again, balances=balances)

    async def _begin(self, checkpoint: Checkpoint | None) -> tuple[dict[str, str] | None, Ids | None]:
        """The marks of now, and what to check, by section: None is everything."""
        if checkpoint:
            try:
                return await self._changes.since(checkpoint)
            except (ChangesLost, Unavailable) as error:
                log.info("checking everything, since nobody can tell what has changed: %s", error)
        return await self._changes.marks(), None


def _balances(passes: Sequence["Pass"]) -> dict[str, Money]:
    """Where all money is."""
    balances: dict[str, Money] = {}
    for one in passes:
        for currency, money in one.money():
            balances[currency] = balances.get(currency, Money()) + money
    return balances


class Pass:
    """One section in one check."""

    def __init__(self, section: Checkable) -> None:
        self.section = section
        self.checked = 0
        self.suspects: dict[str, dict[str, Finding]] = {}
        """Findings of every round so far, by record and by key."""
        self.overflowed = False
        """Whether there were too many suspects to remember them all."""
        self._again: set[str] = set()
        self._certain: dict[str, Finding] = {}
        self._sums: dict[str, Money] = {}
        self._open: dict[str, tuple[str, Money]] = {}

    @property
    def lasting(self) -> list[Finding]:
        """Certain findings, and those that are still suspect."""
        return [*self._certain.values(), *(f for found in self.suspects.values() for f in found.values())]

    @property
    def again(self) -> set[str]:
        """What has to be checked again though nothing about it changes: what breaks a rule, or is open."""
        return self._again | self.suspects.keys()

    def may_clear(self, lasted: set[str]) -> bool:
        """Whether a suspect may still turn out to be lag: those in `lasted` do not."""
        return any(found.keys() - lasted for found in self.suspects.values())

    def money(self) -> list[tuple[str, Money]]:
        """Where the money is: pairs of currency and sums."""
        return [*self._sums.items(), *self._open.values()]

    async def begin(self, progress: Progress, only: Collection[str] | None = None) -> None:
        """Check everything, or `only` these."""
        async for outcome in self.section.scan(only):
            self.checked += outcome.checked
            self._keep_certain(outcome)
            for key, findings in outcome.findings.items():
                if len(self.suspects) < MAX_SUSPECTS:
                    self._suspect(key, findings)
                else:
                    self.overflowed = True
            for key, (currency, money) in outcome.money.items():
                if key in outcome.findings:
                    self._open[key] = currency, money
                else:
                    self._sums[currency] = self._sums.get(currency, Money()) + money
            progress(self.section.name, self.checked)

    async def recheck(self) -> None:
        """Check the suspects again. What is not found again was only lag."""
        if not self.suspects:
            return
        outcome = await self.section.recheck(sorted(self.suspects))
        self._keep_certain(outcome)
        before, self.suspects = self.suspects, {}
        for key, known in before.items():
            self._suspect(key, [f for f in outcome.findings.get(key, []) if f.key in known])
        self._open |= outcome.money

    def _suspect(self, key: str, findings: Sequence[Finding]) -> None:
        if unsure := {finding.key: finding for finding in findings if not finding.certain}:
            self.suspects[key] = unsure

    def _keep_certain(self, outcome: Outcome) -> None:
        self._again |= outcome.open
        for key, findings in outcome.findings.items():
            if certain := {finding.key: finding for finding in findings if finding.certain}:
                self._again.add(key)
                self._certain |= certain


async def reconcile(
    nats_url: str,
    mongo_url: str,
    *,
    grace: float = 10.0,
    replicas: int = 1,
    progress: Progress = lambda _name, _count: None,
    since_last: bool = False,
) -> Report:
    """Check a running Souk with the credentials of audit: its user of the bus, its database.

    With `since_last`, only what has changed since the newest check that audit itself made. `replicas` is the number of
    copies of each stream. Raises `Unavailable` if a service does not answer.
    """
    async with (
        database(mongo_url) as db,
        Bus.connected(nats_url, "audit", replicas=replicas, away=AWAY, within=COMMAND_PATIENCE) as bus,
    ):
        reports, checkpoint, known = ReportStore(db), None, None
        if since_last:
            checkpoint, known = await reports.checkpoint(), await reports.newest()
        report, _ = await Checker(bus, db, grace).check_since(checkpoint, progress, known=known)
        return report
