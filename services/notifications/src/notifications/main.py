"""Notifications: builds its parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from common.bus.connection import Bus
from common.directory import Directory
from common.http.app import Running, create_app, serve
from common.live_sessions import live_sessions
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
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "notifications", away=AWAY) as bus,
        live_sessions(bus, settings) as sessions,
    ):
        directory = Directory(bus)
        people, mails, sales = PersonStore(db, directory), MailStore(db), SaleStore(db)
        await mails.prepare()
        await sales.prepare()
        tokens, transfers = MailTokens(settings.mail_token_key), MailTokens(settings.transfer_token_key)
        letters = Letters(settings.public_url, tokens, transfers)
        server = SmtpServer(settings.smtp_url)
        mailer = Mailer(mails, people, sales, letters, server, sender=settings.mail_from, bus=bus)
        desk = MailDesk(mails, sales, mailer, settings.seller_mails)
        parts = [people, mails, desk, directory, sessions]
        async with mailer.running(), bus.consuming(consumers, parts):
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("notifications", router, start, away=AWAY)

if __name__ == "__main__":
    serve(app, NotificationsSettings, "notifications")
