"""Three members: nothing is decided, answered or published that the majority does not have."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pymongo import ASCENDING

from common.bus.connection import Bus
from common.events import StockChanged
from common.mongo.client import AWAY, Database, look_up
from common.outbox import Outbox, Relay
from infra.servers.mongo_trio import MongoTrio
from tests.support.bus import Events
from tests.support.shelf import Shelf

NOW = timedelta(0)


@pytest.fixture
async def relay(bus_url: str, replicated_db: Database) -> AsyncIterator[Relay]:
    """A relay whose sweeper only sweeps when a test says so."""
    await replicated_db.shelves.create_index([("name", ASCENDING)], unique=True)
    async with (
        Bus.connected(bus_url, "orders") as bus,
        Relay.running(bus, replicated_db.shelves, sweep_every=3600) as relay,
    ):
        yield relay


@pytest.fixture
def outbox(replicated_db: Database, relay: Relay) -> Outbox:
    return Outbox(replicated_db.shelves, relay)


class Handler:
    """Puts one thing on a shelf, however often its message comes."""

    def __init__(self, outbox: Outbox, shelf: Shelf) -> None:
        self._outbox = outbox
        self._shelf = shelf
        self._find = look_up(outbox.collection)

    async def __call__(self) -> Shelf:
        return await self._outbox.update(self._load, lambda shelf: shelf.put() if not shelf.count else None)

    async def _load(self) -> Shelf:
        document = await self._find(self._shelf.id)
        assert document is not None
        return Shelf.from_document(document)


@pytest.mark.prove
async def test_a_handler_that_finds_its_own_unreplicated_write_is_not_done(
    mongo_trio: MongoTrio, outbox: Outbox, events: Events
) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    handle = Handler(outbox, shelf)

    await mongo_trio.hold_back()
    with pytest.raises(AWAY):
        await handle()  # The primary has it, the others do not.
    with pytest.raises(AWAY):
        await handle()  # Delivered again: to return here is to acknowledge what the next primary does not know.
    await mongo_trio.fail_over()

    assert (await handle()).count == 1
    assert [event.available for event in await events.published(StockChanged, 1)] == [1]


@pytest.mark.prove
async def test_what_the_majority_does_not_have_is_not_published(
    mongo_trio: MongoTrio, outbox: Outbox, relay: Relay, events: Events, replicated_db: Database
) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    shelf.put()

    await mongo_trio.hold_back()
    with pytest.raises(AWAY):
        await outbox.save(shelf)
    assert await relay.sweep(NOW) == 0, "the sweeper has published an event that may never have been"
    await mongo_trio.fail_over()

    assert await relay.sweep(NOW) == 0
    assert await events.published(StockChanged, 0) == []
