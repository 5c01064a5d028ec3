"""Items: builds its parts and serves them."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from common.bus.connection import Bus
from common.directory import Directory
from common.http.app import Running, create_app, serve
from common.live_sessions import live_sessions
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.settings import load
from items.catalogue_store import CatalogueStore
from items.consumers import consumers
from items.favourites.routes import router
from items.favourites.store import FavouriteStore
from items.index.feed import IndexFeed
from items.memory import ItemMemory
from items.pictures import PictureConverter
from items.records import records
from items.settings import ItemsSettings
from items.store import ItemStore

MAX_BODY = 256 * 1024
"""Bytes. A description of 10,000 characters fits, even if each is escaped as two \\uXXXX."""

PICTURES = re.compile(r"/api/items/[^/]+/pictures")
MAX_PICTURE = 5 * 1024 * 1024
"""Bytes of an upload."""


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything items needs, for the life of the process."""
    settings = load(ItemsSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "items", away=AWAY) as bus,
        live_sessions(bus, settings) as sessions,
        Relay.running(bus, db.items) as relay,
        PictureConverter.running() as converter,
    ):
        memory = ItemMemory()
        store = ItemStore(db, relay, memory)
        index = IndexFeed(db, memory)
        catalogue = CatalogueStore(db, index)
        await store.prepare()
        kept = FavouriteStore(db)
        await catalogue.prepare()
        await kept.prepare()
        parts = [store, memory, catalogue, kept, converter, Directory(bus), sessions]
        async with (
            store.sweeping(),
            records.answering(bus, parts),
            bus.consuming(consumers, parts),
            memory.following(bus),
            index.running(),
        ):
            yield Running(parts, {"mongo": partial(db.command, "ping"), "bus": bus.check})


app = create_app("items", router, start, away=AWAY, max_body=MAX_BODY, larger_bodies={PICTURES: MAX_PICTURE})

if __name__ == "__main__":
    serve(app, ItemsSettings, "items")
