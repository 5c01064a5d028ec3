"""Payments: builds its parts and serves them."""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from common.bus.connection import Bus
from common.events import OrderPlaced
from common.http.app import Running, create_app, serve
from common.live_sessions import live_sessions
from common.mongo.client import AWAY, Database, database
from common.outbox import Relay
from common.settings import load
from payments.cashier import Cashier
from payments.consumers import consumers
from payments.gateways.port import PaymentGateway
from payments.gateways.sandbox import SandboxGateway
from payments.gateways.sandbox_remote import RemoteSandbox
from payments.records import records
from payments.routes import router
from payments.settings import PaymentsSettings
from payments.store import DueStore, PaymentStore


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything payments needs, for as long as it runs."""
    settings = load(PaymentsSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "payments", away=AWAY) as bus,
        live_sessions(bus, settings) as sessions,
        Relay.running(bus, db.payments) as relay,
        opened_gateway(settings, db) as gateway,
    ):
        payments, dues = PaymentStore(db, relay), DueStore(db, bus.missed(OrderPlaced))
        await payments.prepare()
        cashier = Cashier(payments, dues, gateway)
        parts = [payments, dues, cashier, sessions]
        async with cashier.settling(), records.answering(bus, parts), bus.consuming(consumers, parts):
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


def opened_gateway(settings: PaymentsSettings, db: Database) -> AbstractAsyncContextManager[PaymentGateway]:
    """The gateway that the settings choose."""
    if settings.payment_gateway == "sandbox":
        secret = settings.webhook_secret.get_secret_value()
        if settings.sandbox_url:
            return RemoteSandbox.open(settings.sandbox_url, secret)
        return SandboxGateway.open(db.sandbox_charges, secret, settings.webhook_url)
    from payments.gateways.stripe import StripeGateway  # The SDK is large; the sandbox does not need it.

    return StripeGateway.open(
        settings.stripe_secret_key.get_secret_value(),
        settings.stripe_webhook_secret.get_secret_value(),
        settings.stripe_api_url,
        db,
        list_seconds=settings.stripe_list_seconds,
    )


# The provider's webhooks are signed, and come as fast as people pay.
app = create_app("payments", router, start, away=AWAY, unlimited=re.compile("/api/payments/webhook"))

if __name__ == "__main__":
    serve(app, PaymentsSettings, "payments")
