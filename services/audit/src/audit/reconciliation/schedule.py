"""Reconciliation on a schedule: one replica checks, and every replica exports the newest report to Prometheus."""

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
from common.bus.connection import BusError
from common.clock import now
from common.errors import Unavailable
from common.mongo.client import AWAY

log = logging.getLogger(__name__)

VIOLATIONS = Gauge("souk_reconciliation_violations", "Violations that the newest reconciliation found", ["rule"])
RECORDS = Gauge("souk_reconciliation_rows", "Records that the newest reconciliation checked", ["kind"])
SECONDS = Gauge("souk_reconciliation_seconds", "Duration of the newest reconciliation, in seconds")
AGE = Gauge("souk_reconciliation_age_seconds", "Time since the newest reconciliation began, in seconds")

STARTUP_SECONDS = 60.0
"""Seconds after the start of the process in which services that do not answer yet are no reason for a warning."""

POLL_SECONDS = 5.0
"""Seconds between two questions whether a check is due, at most."""

STOP_SECONDS = 5.0
"""Seconds that a running check has to end when the process stops. The next turn starts it again."""


class Schedule:
    """Checks what has changed every `every` seconds, and everything every `whole_every` seconds.

    A process begins with everything: by the rules of its release, older ones may have been right.
    """

    def __init__(self, checker: Checker, reports: ReportStore, every: float, whole_every: float) -> None:
        self._checker = checker
        self._reports = reports
        self._every = every
        self._whole_every = whole_every
        self._first = True
        self._stopped = asyncio.Event()
        self._began = float("nan")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check in the background."""
        AGE.set_function(lambda: time.time() - self._began)
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._stopped.set()
            task.cancel()
            await asyncio.wait([task], timeout=STOP_SECONDS)  # Python 3.11 may lose one cancellation.

    async def _run(self) -> None:
        started = time.monotonic()
        while not self._stopped.is_set():
            try:
                if await self._reports.take_turn(now(), timedelta(seconds=self._every)):
                    await self._check()
                if report := await self._reports.newest():
                    self._export(report)
            except (*AWAY, BusError, Unavailable) as error:
                starting = time.monotonic() - started < STARTUP_SECONDS
                log.log(logging.INFO if starting else logging.WARNING, "could not read all records: %s", error)
                with contextlib.suppress(*AWAY):
                    await self._reports.give_back(now() + timedelta(seconds=POLL_SECONDS))
            except Exception:
                log.exception("reconciliation failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), min(POLL_SECONDS, self._every))

    async def _check(self) -> None:
        known, checkpoint = await self._reports.newest(), None
        if not self._first:
            checkpoint = await self._reports.checkpoint(now() - timedelta(seconds=self._whole_every))
        await self._reports.keep(*await self._checker.check_since(checkpoint, known=known))
        self._first = False

    def _export(self, report: Report) -> None:
        if (began := report.checked_at.timestamp()) == self._began:
            return
        self._began = began
        for rule, count in report.totals.items():
            VIOLATIONS.labels(rule).set(count)
        for kind, count in report.counts.items():
            RECORDS.labels(kind).set(count)
        SECONDS.set(report.seconds)
        for violation in report.violations[:10]:
            log.error(
                "%s: %s expected, %s found",
                violation.rule,
                violation.expected,
                violation.found,
                extra=violation.subject,
            )
