"""The only file of payments that builds things."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from common.auth import Sessions
from common.bus import Bus
from common.http import Running, create_app, serve
from common.mongo import AWAY, database
from common.outbox import Relay
from common.settings import load
from payments.cashier import Cashier
from payments.consumers import consumers
from payments.routes import router
from payments.sandbox import SandboxGateway
from payments.settings import PaymentsSettings
from payments.store import DueStore, PaymentStore


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything payments needs, for as long as it runs."""
    settings = load(PaymentsSettings)
    async with (
        database(settings.mongo_url) as db,
        Bus.connected(settings.nats_url, "payments", replicas=settings.nats_replicas, away=AWAY) as bus,
        Relay.running(bus, db.payments) as relay,
        SandboxGateway.open(db.sandbox_charges, settings.webhook_secret, settings.webhook_url) as gateway,
    ):
        payments, dues = PaymentStore(db, relay), DueStore(db)
        await payments.prepare()
        cashier = Cashier(payments, dues, gateway)
        parts = [payments, dues, cashier, Sessions(settings.jwt_public_keys)]
        async with cashier.settling(), bus.consuming(consumers, parts):
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("payments", router, start)

if __name__ == "__main__":
    serve(app, PaymentsSettings, "payments")
