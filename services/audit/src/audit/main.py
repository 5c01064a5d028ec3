"""The only file of audit that builds things."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from audit.consumers import consumers
from audit.event_log.backfill import refilling
from audit.event_log.store import EventLog, LetterStore
from audit.history.history import Stories
from audit.reconciliation.checker import Checker
from audit.reconciliation.schedule import Watch
from audit.reconciliation.store import ReportStore
from audit.routes import router
from audit.settings import AuditSettings
from common.bus.connection import Bus
from common.http.app import Running, create_app, serve
from common.http.sessions import Sessions
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.settings import load


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything audit needs, for as long as it runs."""
    settings = load(AuditSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.connected(settings.nats_url.get_secret_value(), "audit", replicas=settings.nats_replicas, away=AWAY) as bus,
        Relay.running(bus, db.letters) as relay,
    ):
        log, letters = EventLog(db), LetterStore(db, relay)
        await log.prepare()
        await letters.prepare()
        reports = ReportStore(db)
        parts = [log, letters, reports, Stories(log, letters), Sessions(settings.jwt_public_keys)]
        watch = Watch(Checker(bus, db, settings.reconcile_grace), reports, settings.reconcile_every)
        async with bus.consuming(consumers, parts), refilling(bus, log, letters), watch.running():
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("audit", router, start, away=AWAY)

if __name__ == "__main__":
    serve(app, AuditSettings, "audit")
