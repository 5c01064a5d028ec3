"""The only file of audit that builds things."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from audit.consumers import consumers
from audit.dead_letters.store import DeadLetterStore, RetryStore
from audit.event_log.archive import answering_for_archive
from audit.event_log.backfill import backfilling
from audit.event_log.store import EventLog
from audit.history.histories import Histories
from audit.reconciliation.checker import Checker
from audit.reconciliation.schedule import Schedule
from audit.reconciliation.store import ReportStore
from audit.routes import router
from audit.security.store import SecurityStore
from audit.settings import AuditSettings
from audit.watch import watching
from common.bus.connection import Bus
from common.directory import Directory
from common.http.app import Running, create_app, serve
from common.live_sessions import live_sessions
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.settings import load


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything audit needs, for as long as it runs."""
    settings = load(AuditSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "audit", away=AWAY) as bus,
        live_sessions(bus, settings) as sessions,
        Relay.running(bus, db.letters) as relay,
    ):
        log, retries, letters = EventLog(db), RetryStore(db), DeadLetterStore(db, relay)
        security = SecurityStore(db)
        for store in (log, retries, letters, security):
            await store.prepare()
        kept, reports = [log, retries, letters, security], ReportStore(db)
        parts = [*kept, reports, Histories(log, retries, letters, Directory(bus)), sessions]
        checker = Checker(bus, db, settings.reconcile_grace)
        schedule = Schedule(checker, reports, settings.reconcile_every, settings.reconcile_whole_every)
        async with (
            answering_for_archive(bus, log),
            bus.consuming(consumers, parts),
            backfilling(bus, log, kept),
            schedule.running(),
            watching(bus, letters),
        ):
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("audit", router, start, away=AWAY)

if __name__ == "__main__":
    serve(app, AuditSettings, "audit")
