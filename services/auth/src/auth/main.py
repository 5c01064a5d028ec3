"""Auth: builds its parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from auth.passwords import Passwords
from auth.routes import router
from auth.sessions import SessionIssuer, signing_key
from auth.settings import AuthSettings
from auth.store import AccountStore
from auth.throttle import Throttle
from common.bus.connection import Bus
from common.http.app import Running, create_app, serve
from common.http.sessions import Sessions
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.settings import load


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything auth needs, for the life of the process."""
    settings = load(AuthSettings)
    key = signing_key(settings.jwt_private_key.get_secret_value())
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.connected(settings.nats_url.get_secret_value(), "auth", replicas=settings.nats_replicas, away=AWAY) as bus,
        Relay.running(bus, db.users) as relay,
        Passwords.ready(settings.password_backlog, settings.passwords_per_network) as passwords,
    ):
        accounts = AccountStore(db, relay)
        await accounts.prepare()
        throttle = Throttle(
            db,
            failures_per_account=settings.signin_failures_per_account,
            failures_per_network=settings.signin_failures_per_network,
            signups_per_network=settings.signups_per_network,
        )
        await throttle.prepare()
        issuer = SessionIssuer(key, settings.session_seconds, settings.cookie_secure)
        parts = [accounts, passwords, issuer, throttle, Sessions(settings.jwt_public_keys)]
        yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("auth", router, start, away=AWAY)

if __name__ == "__main__":
    serve(app, AuthSettings, "auth")
