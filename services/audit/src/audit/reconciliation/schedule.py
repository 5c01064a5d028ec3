"""The books are checked again and again, by one replica at a time, and every replica tells Prometheus the outcome."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from prometheus_client import Gauge

from audit.reconciliation.checker import Checker
from audit.reconciliation.findings import Report
from audit.reconciliation.store import ReportStore
from common.clock import now
from common.errors import Unavailable
from common.mongo.client import AWAY

log = logging.getLogger(__name__)

VIOLATIONS = Gauge("souk_reconciliation_violations", "What the newest check of the books found wrong", ["rule"])
ROWS = Gauge("souk_reconciliation_rows", "What the newest check of the books looked at", ["kind"])
SECONDS = Gauge("souk_reconciliation_seconds", "How long the newest check of the books took, in seconds")
AGE = Gauge("souk_reconciliation_age_seconds", "How long ago the newest check of the books began, in seconds")

STARTUP_SECONDS = 60.0
"""Seconds after the start of the process in which services that do not answer yet are no reason for a warning."""

LOOK = 5.0
"""Seconds between two looks whether it is time, at most."""

GOODBYE = 5.0
"""Seconds that a check has to end when the process does; the next turn begins it anew."""


class Watch:
    """Sees to it that the books are checked every so many seconds."""

    def __init__(self, checker: Checker, reports: ReportStore, every: float) -> None:
        self._checker = checker
        self._reports = reports
        self._every = every
        self._over = asyncio.Event()
        self._began = float("nan")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check the books in the background."""
        AGE.set_function(lambda: time.time() - self._began)
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._over.set()
            task.cancel()
            await asyncio.wait([task], timeout=GOODBYE)  # pymongo on Python 3.11 may swallow the cancellation once.

    async def _run(self) -> None:
        started = time.monotonic()
        while not self._over.is_set():
            try:
                if await self._reports.take_turn(now(), timedelta(seconds=self._every)):
                    await self._reports.keep(await self._checker.check())
                if report := await self._reports.newest():
                    self._tell(report)
            except (*AWAY, Unavailable) as error:
                starting = time.monotonic() - started < STARTUP_SECONDS
                log.log(logging.INFO if starting else logging.WARNING, "could not read all records: %s", error)
                with contextlib.suppress(*AWAY):
                    await self._reports.give_back(now() + timedelta(seconds=LOOK))
            except Exception:
                log.exception("the books could not be checked")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), min(LOOK, self._every))

    def _tell(self, report: Report) -> None:
        if (began := report.checked_at.timestamp()) == self._began:
            return
        self._began = began
        for rule, count in report.totals.items():
            VIOLATIONS.labels(rule).set(count)
        for kind, count in report.counts.items():
            ROWS.labels(kind).set(count)
        SECONDS.set(report.seconds)
        for violation in report.violations[:10]:
            log.error(
                "%s: %s expected, %s found",
                violation.rule,
                violation.expected,
                violation.found,
                extra=violation.subject,
            )
