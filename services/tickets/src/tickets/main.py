"""Tickets: builds its parts and serves them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from common.bus.connection import Bus
from common.directory import RECIPIENTS, Directory, answering
from common.events import ItemListed
from common.http.app import Running, create_app, serve
from common.http.write_limit import WriteLimit
from common.live_sessions import live_sessions
from common.mail_tokens import MailTokens
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.papers import printing
from common.settings import load
from tickets.codes import TicketCodes
from tickets.consumers import consumers
from tickets.door.routes import SCANS_PER_MINUTE
from tickets.door.scanning import ScanDesk
from tickets.door.store import DeviceStore, GateStore
from tickets.printing import Printer
from tickets.records import records
from tickets.routes import router
from tickets.settings import TicketsSettings
from tickets.store import BookingStore, EventStore, PersonStore
from tickets.views import Views


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything tickets needs, for the life of the process."""
    settings = load(TicketsSettings)
    codes = TicketCodes(settings.ticket_private_key.get_secret_value(), settings.ticket_public_keys)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "tickets", away=AWAY) as bus,
        live_sessions(bus, settings) as sessions,
        Relay.running(bus, db.bookings) as relay,
    ):
        bookings, events = BookingStore(db, relay), EventStore(db, bus.missed(ItemListed))
        people, gates, devices = PersonStore(db), GateStore(db), DeviceStore(db)
        for store in (bookings, events, gates, devices):
            await store.prepare()
        tokens = MailTokens(settings.transfer_token_key)
        views, desk = Views(events, people, codes), ScanDesk(bookings, codes)
        limit = WriteLimit(SCANS_PER_MINUTE)
        parts = [bookings, events, people, gates, devices, codes, tokens, views, desk, limit, sessions, Directory(bus)]
        async with (
            records.answering(bus, parts),
            answering(bus, {RECIPIENTS: bookings.recipients}),
            printing(bus, Printer(bookings, events, views).papers),
            bookings.lapsing(),
            bus.consuming(consumers, parts),
        ):
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


# All gates of a place share a network, and a queue does not wait: scans are limited by gate.
app = create_app("tickets", router, start, away=AWAY, unlimited=re.compile("/api/tickets/scans?"))

if __name__ == "__main__":
    serve(app, TicketsSettings, "tickets")
