"""Checks the books: everything once, what looks wrong again until it is right or has lasted too long."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from audit.reconciliation.consumer_progress import Letters, Readers
from audit.reconciliation.findings import Finding, Lag, Money, Report, Rule, Violation
from audit.reconciliation.log_reader import Told
from audit.reconciliation.record_reader import Books
from audit.reconciliation.sections import Charges, Items, Orders, Payments, Seen, Stocks
from common.bus.connection import Bus
from common.clock import now
from common.mongo.client import AWAY, Database, database

MOST_SUSPECTS = 10_000
"""Suspects of one section that are looked at again; with more than that, something is very wrong."""

MOST_LISTED = 1_000
"""Violations that a report lists; it counts them all."""

PAUSE = 1.0
"""Seconds between two looks at what looks wrong, at most."""

Progress = Callable[[str, int], None]
"""Takes a section's name and how many of its rows were seen."""


class Look(Protocol):
    """Something to go through."""

    @property
    def name(self) -> str:
        """Of what its rows are."""

    def scan(self) -> AsyncIterator[Seen]:
        """Look at everything, page by page."""

    async def look(self, ids: Sequence[str], /) -> Seen:
        """Look at these again."""


class Checker:
    """Compares the books of all services with each other and with the log. Writes nothing."""

    def __init__(self, bus: Bus, db: Database, grace: float) -> None:
        """What lasts longer than `grace` seconds is no lag."""
        books, told = Books(bus), Told(db)
        self._readers = Readers(bus)
        self._sections: list[Look] = [
            Items(books, told),
            Stocks(books, told),
            Orders(books, told),
            Payments(books, told),
            Charges(books, told),
            self._readers,
            Letters(told),
        ]
        self._grace = grace

    async def check(self, progress: Progress = lambda _name, _rows: None) -> Report:
        """Look at everything. Raises `Unavailable` when a service does not answer."""
        began = time.monotonic()
        checked_at = now()
        passes = []
        for section in self._sections:
            one = Pass(section)
            await one.begin(progress)
            passes.append(one)
        deadline = time.monotonic() + self._grace
        suspected = sum(len(one.suspects) for one in passes)
        while any(one.suspects for one in passes) and time.monotonic() < deadline:
            await asyncio.sleep(min(PAUSE, self._grace / 4))
            for one in passes:
                await one.again()
        lasting = [finding for one in passes for finding in one.lasting]
        balances: dict[str, Money] = {}
        for one in passes:
            for currency, money in one.money():
                balances[currency] = balances.get(currency, Money()) + money
        return Report(
            checked_at=checked_at,
            seconds=round(time.monotonic() - began, 3),
            grace=self._grace,
            counts={one.section.name: one.rows for one in passes},
            totals={rule: sum(finding.rule is rule for finding in lasting) for rule in Rule},
            violations=[Violation(**dict(finding), since=checked_at) for finding in lasting[:MOST_LISTED]],
            balances=balances,
            lag=Lag(
                messages=self._readers.messages,
                seconds=round(self._readers.seconds, 3),
                cleared=suspected - sum(len(one.suspects) for one in passes),
            ),
        )


class Pass:
    """One section in one check."""

    def __init__(self, section: Look) -> None:
        self.section = section
        self.rows = 0
        self.suspects: dict[str, dict[str, Finding]] = {}
        """By row, by key: seen in every look so far."""
        self._certain: dict[str, Finding] = {}
        self._sums: dict[str, Money] = {}
        self._open: dict[str, tuple[str, Money]] = {}

    @property
    def lasting(self) -> list[Finding]:
        """What is certain, and what is still suspect."""
        return [*self._certain.values(), *(f for found in self.suspects.values() for f in found.values())]

    def money(self) -> list[tuple[str, Money]]:
        """Where the money is, by currency."""
        return [*self._sums.items(), *self._open.values()]

    async def begin(self, progress: Progress) -> None:
        """Look at everything."""
        async for seen in self.section.scan():
            self.rows += seen.rows
            self._keep_certain(seen)
            for key, findings in seen.findings.items():
                if len(self.suspects) < MOST_SUSPECTS:
                    self._suspect(key, findings)
            for key, (currency, money) in seen.money.items():
                if key in seen.findings:
                    self._open[key] = currency, money
                else:
                    self._sums[currency] = self._sums.get(currency, Money()) + money
            progress(self.section.name, self.rows)

    async def again(self) -> None:
        """Look at the suspects again; what is not seen again was only lag."""
        if not self.suspects:
            return
        seen = await self.section.look(sorted(self.suspects))
        self._keep_certain(seen)
        before, self.suspects = self.suspects, {}
        for key, known in before.items():
            self._suspect(key, [f for f in seen.findings.get(key, []) if f.key in known])
        self._open |= seen.money

    def _suspect(self, key: str, findings: Sequence[Finding]) -> None:
        if unsure := {finding.key: finding for finding in findings if not finding.certain}:
            self.suspects[key] = unsure

    def _keep_certain(self, seen: Seen) -> None:
        for findings in seen.findings.values():
            self._certain |= {finding.key: finding for finding in findings if finding.certain}


async def reconcile(
    nats_url: str,
    mongo_url: str,
    *,
    grace: float = 10.0,
    replicas: int = 1,
    progress: Progress = lambda _name, _rows: None,
) -> Report:
    """Check the books of a running Souk, with the credentials of audit: its user of the bus, its database.

    `replicas` is how many copies each stream has. Raises `Unavailable` when a service does not answer.
    """
    async with database(mongo_url) as db, Bus.connected(nats_url, "audit", replicas=replicas, away=AWAY) as bus:
        return await Checker(bus, db, grace).check(progress)
