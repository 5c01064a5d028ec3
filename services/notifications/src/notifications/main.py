"""Notifications: builds its parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from common.bus.connection import Bus
from common.http.app import Running, create_app, serve
from common.http.sessions import ANNOUNCED, REMEMBERED_SECONDS, Sessions
from common.mail_tokens import MailTokens
from common.mongo.client import AWAY, database
from common.settings import load
from notifications.consumers import consumers
from notifications.desk import MailDesk
from notifications.letters import Letters
from notifications.mailer import Mailer
from notifications.routes import router
from notifications.settings import NotificationsSettings
from notifications.smtp import SmtpServer
from notifications.store import MailStore, PersonStore, SaleStore


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything notifications needs, for the life of the process."""
    settings = load(NotificationsSettings)
    url = settings.nats_url.get_secret_value()
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.connected(url, "notifications", replicas=settings.nats_replicas, away=AWAY) as bus,
    ):
        people, mails, sales = PersonStore(db), MailStore(db), SaleStore(db)
        await mails.prepare()
        await sales.prepare()
        letters = Letters(settings.public_url, MailTokens(settings.mail_token_key))
        mailer = Mailer(
            mails,
            people,
            sales,
            letters,
            SmtpServer(settings.smtp_url),
            sender=settings.mail_from,
        )
        desk = MailDesk(mails, sales, mailer, settings.seller_mails)
        sessions = Sessions(settings.jwt_public_keys, secure=settings.cookie_secure)
        parts = [people, mails, desk, sessions]
        async with (
            bus.listening(sessions.receive, *ANNOUNCED, past=REMEMBERED_SECONDS),
            mailer.running(),
            bus.consuming(consumers, parts),
        ):
            yield Running(
                parts, {"mongo": partial(db.command, "ping"), "bus": bus.check}, serves_without=frozenset({"bus"})
            )


app = create_app("notifications", router, start, away=AWAY)

if __name__ == "__main__":
    serve(app, NotificationsSettings, "notifications")
