"""Old events leave their stream, and whoever reads it from the first event on gets each of them as before."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from audit.archive import archive
from audit.event_log.domain import Entry
from audit.event_log.store import EventLog
from audit.projections import opened
from audit.refill import LOGGED, refill_events
from common import projections as projections_module
from common.bus import stream_reader
from common.bus.archive import ARCHIVED
from common.bus.connection import Bus
from common.bus.consumers import Consumers
from common.bus.durables import Durable
from common.bus.provision import provision
from common.bus.stream_refill import refilling
from common.bus.stream_trim import Trimmed, trimming
from common.clock import now
from common.events import ItemListed, StockChanged
from common.mongo.client import Database
from common.projections import rebuild
from tests.support.member import DEADLY, Member
from tests.support.waiting import eventually

from .conftest import World

OLD = 5
"""Events of the stream that are older than `Shop.moment`. Four are not."""


class Shop:
    """The stream of items with nine events, all in audit's log."""

    def __init__(self, audit: World, db: Database, stream: Trimmed, bus: Bus) -> None:
        self.audit = audit
        self.log = EventLog(db)
        self.stream = stream
        self.bus = bus
        self.titles = [f"Lamp {number}" for number in range(1, 10)]
        self.moment = now()

    async def open(self) -> None:
        """Publish the events."""
        for number, title in enumerate(self.titles):
            if number == OLD:
                await self.pass_a_moment()
            await self.audit.publish(self.audit.item(title))

    async def pass_a_moment(self) -> None:
        """What is in the stream is old from now on."""
        newest = (await self.audit.events.js.get_last_msg("ITEMS", "items.>")).time
        assert newest

        async def later() -> bool:
            self.moment = now()
            return self.moment > newest + timedelta(milliseconds=2)

        await eventually(later)

    async def read(self) -> list[str]:
        """The titles of all events, as a service reads them that knows nothing."""
        return [event.title async for event in self.bus.stored_events(ItemListed)]

    async def in_the_stream(self) -> list[int]:
        """The numbers of the events that the stream has itself."""
        return [message.seq for message in await self.audit.events.messages("ITEMS", "items.>")]


@pytest_asyncio.fixture
async def shop(audit: World, db: Database, bus_url: str) -> AsyncIterator[Shop]:
    """The stream of items, with old events and newer ones."""
    async with trimming(bus_url, "ITEMS") as stream, Bus.connected(bus_url, "orders") as bus:
        shop = Shop(audit, db, stream, bus)
        await shop.open()
        yield shop


async def entries(bus: Bus) -> list[Entry]:
    """What a reader of the stream of items gets, as audit would store it."""
    return [Entry.of(message) async for message in bus.stored_messages("ITEMS")]


def test_every_stream_of_the_log_is_archived() -> None:
    assert list(ARCHIVED) == LOGGED


async def test_old_events_leave_the_stream_and_readers_get_each_as_before(shop: Shop) -> None:
    before = await entries(shop.bus)

    done = await archive(shop.stream, shop.log, shop.moment)

    assert (done.count, done.until, done.missing) == (OLD, OLD, None)
    assert await shop.in_the_stream() == [6, 7, 8, 9]
    assert await entries(shop.bus) == before
    assert await shop.read() == shop.titles
    found = await shop.bus.stored_message("ITEMS", 2)
    assert found
    assert Entry.of(found) == before[1]
    assert await shop.bus.stored_message("ITEMS", 10) is None
    assert (await archive(shop.stream, shop.log, shop.moment)).count == 0


async def test_what_is_archived_does_not_differ_from_the_streams(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(projections_module, "SETTLE_SECONDS", 0.1)
    await archive(shop.stream, shop.log, shop.moment)
    async with opened() as [log]:
        assert await rebuild(log, swap=False) == 0
    assert "audit.events: 4 in the streams, 4 here" in capsys.readouterr().out


async def test_a_dry_run_changes_nothing(shop: Shop) -> None:
    info = await shop.audit.events.js.stream_info("ITEMS")
    done = await archive(shop.stream, shop.log, shop.moment, dry=True)
    assert str(done) == "ITEMS: 5 events, up to number 5"
    after = await shop.audit.events.js.stream_info("ITEMS")
    assert (after.state, after.config) == (info.state, info.config)
    assert await shop.log.archived("ITEMS") == 0


async def test_a_stream_without_events_has_none_to_archive(shop: Shop, bus_url: str) -> None:
    async with trimming(bus_url, "TICKETS") as stream:
        done = await archive(stream, shop.log, now())

    assert (done.count, done.until) == (0, 0)


async def test_a_stream_that_is_old_as_a_whole_is_read_from_the_archive_and_goes_on(shop: Shop) -> None:
    await shop.pass_a_moment()
    assert (await archive(shop.stream, shop.log, shop.moment)).count == 9
    assert await shop.in_the_stream() == []
    assert await shop.read() == shop.titles
    await shop.audit.publish(shop.audit.item("Another"))
    assert await shop.in_the_stream() == [10]
    assert await shop.read() == [*shop.titles, "Another"]


async def test_what_the_log_lacks_stays_with_all_behind_it(shop: Shop, db: Database) -> None:
    await db.events.delete_one({"stream": "ITEMS", "sequence": 3})
    done = await archive(shop.stream, shop.log, shop.moment)
    assert (done.count, done.missing) == (2, 3)
    assert await shop.in_the_stream() == [3, 4, 5, 6, 7, 8, 9]
    await db.events.update_one({"stream": "ITEMS", "sequence": 4}, {"$set": {"body": "{}"}})
    entry = Entry.of([m async for m in shop.bus.stored_messages("ITEMS")][2])
    await shop.log.keep(entry)
    assert (await archive(shop.stream, shop.log, shop.moment)).missing == 4


async def test_what_a_durable_has_not_handled_stays(shop: Shop, bus_url: str) -> None:
    durable = Durable("items", "forget", "ITEMS", "items.listed")
    idle = Durable("items", "withdraw", "ITEMS", "items.withdrawn")
    await provision(bus_url, [durable, idle])
    pull = await shop.audit.events.js.pull_subscribe_bind(durable.name, "ITEMS")
    first, second, third = await pull.fetch(3)
    for message in (first, third):
        await message.ack_sync()

    done = await archive(shop.stream, shop.log, shop.moment)

    assert (done.count, done.slowest) == (1, durable.name)
    await second.ack_sync()
    assert (await archive(shop.stream, shop.log, shop.moment)).until == 3


@pytest.mark.parametrize("step", ["declare", "give_up"])
async def test_whoever_is_killed_between_two_steps_loses_nothing(
    shop: Shop, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    async def killed(self: Trimmed, until: int) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Trimmed, step, killed)
        with pytest.raises(Killed):
            await archive(shop.stream, shop.log, shop.moment)

    assert await shop.read() == shop.titles
    assert (await archive(shop.stream, shop.log, shop.moment)).count == OLD
    assert await shop.read() == shop.titles


async def test_events_that_leave_while_somebody_reads_are_read_once_and_in_order(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "FETCH_SIZE", 2)
    titles: list[str] = []
    async with aclosing(shop.bus.stored_events(ItemListed)) as reading:
        async for event in reading:
            titles.append(event.title)
            if len(titles) == 3:
                assert (await archive(shop.stream, shop.log, shop.moment)).count == OLD
    assert titles == shop.titles


class Catalogue:
    """What a new service makes of the events."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.refusing: set[str] = set()


def new_service() -> Consumers:
    """A service that was added years later, with one handler."""
    consumers = Consumers("catalogue")

    @consumers.on(ItemListed)
    async def note_title(event: ItemListed, catalogue: Catalogue) -> None:
        if event.title in catalogue.refusing:
            catalogue.refusing.discard(event.title)
            raise ValueError("not at the first try")
        catalogue.titles.append(event.title)

    return consumers


async def test_a_new_service_is_built_from_the_first_event_on(shop: Shop, bus_url: str) -> None:
    await archive(shop.stream, shop.log, shop.moment)
    consumers, catalogue = new_service(), Catalogue()
    catalogue.refusing = {"Lamp 2", "Lamp 8"}
    await provision(bus_url, consumers.durables)
    async with Bus.connected(bus_url, "catalogue", delays=(0.01, 0.01)) as bus:
        async with bus.consuming(consumers, [catalogue]):

            async def has_all() -> bool:
                return sorted(catalogue.titles) == shop.titles

            await eventually(has_all)
            await shop.audit.events.handled("ITEMS")
        assert catalogue.titles.index("Lamp 5") < catalogue.titles.index("Lamp 6")

        catalogue.titles.clear()
        async with bus.consuming(consumers, [catalogue]):  # It has begun: the archive is not read again.
            await shop.audit.publish(shop.audit.item("Another"))
        assert catalogue.titles == ["Another"]


async def test_a_new_service_that_is_killed_in_the_archive_begins_there_again(shop: Shop, bus_url: str) -> None:
    await archive(shop.stream, shop.log, shop.moment)
    consumers, catalogue, hanging = Consumers("catalogue"), Catalogue(), asyncio.Event()

    @consumers.on(ItemListed)
    async def note_title(event: ItemListed, catalogue: Catalogue) -> None:
        if event.title == "Lamp 4" and not hanging.is_set():
            hanging.set()
            await asyncio.sleep(60)
        if event.title not in catalogue.titles:
            catalogue.titles.append(event.title)

    await provision(bus_url, consumers.durables)
    async with Bus.connected(bus_url, "catalogue") as bus, bus.consuming(consumers, [catalogue]):
        await asyncio.wait_for(hanging.wait(), 30)
    assert "Lamp 4" not in catalogue.titles
    assert "Lamp 9" not in catalogue.titles

    await archive(shop.stream, shop.log, now())  # What it has not handled stays for it.
    assert await shop.in_the_stream() == [6, 7, 8, 9]
    async with Bus.connected(bus_url, "catalogue") as bus, bus.consuming(consumers, [catalogue]):

        async def has_all() -> bool:
            return sorted(catalogue.titles) == shop.titles

        await eventually(has_all)


async def test_an_archived_event_that_kills_its_process_is_dead_lettered_and_its_neighbours_arrive(
    audit: World, db: Database, bus_url: str, tmp_path: Path
) -> None:
    neighbours = [1, 2, 3, 4]
    for version in (1, 2, DEADLY, 3, 4):
        await audit.publish(StockChanged(item_id="chair", stock_version=version, quantity=1, available=0))
    async with trimming(bus_url, "ORDERS") as stream:

        async def all_are_archived() -> bool:
            return (await archive(stream, EventLog(db), now())).until == 5

        await eventually(all_are_archived)
    await audit.publish(StockChanged(item_id="chair", stock_version=5, quantity=1, available=0))
    member, deaths = Member(bus_url, tmp_path), 0

    async def dead_or_lettered() -> bool:
        return member.is_dead or bool(await audit.events.dead_letters(0))

    await member.start()
    while not await audit.events.dead_letters(0):
        assert await member.death() == -signal.SIGKILL
        deaths += 1
        assert deaths < 6
        await member.start()
        await eventually(dead_or_lettered, 40)

    async def has_the_rest() -> bool:
        return set(member.versions()) == {*neighbours, 5}

    await eventually(has_the_rest, 30)
    member.send(signal.SIGKILL)
    await member.death()
    [letter] = await audit.events.dead_letters()
    assert StockChanged.model_validate_json(letter.data).stock_version == DEADLY
    assert "never finished" in letter.headers["Souk-Error"]
    assert member.versions("begun").count(DEADLY) == deaths


async def test_a_bus_that_was_lost_gets_back_what_is_not_archived(shop: Shop, bus_url: str) -> None:
    before = await entries(shop.bus)
    await archive(shop.stream, shop.log, shop.moment)
    async with refilling(bus_url, "ITEMS", 1) as stream:
        assert await refill_events(stream, shop.log) == 0  # It has lost nothing.
        await shop.audit.events.js.delete_stream("ITEMS")
        assert await refill_events(stream, shop.log) == 4
        assert await shop.in_the_stream() == [6, 7, 8, 9]
        assert await entries(shop.bus) == before
        assert await refill_events(stream, shop.log) == 0
    await provision(bus_url)
    assert (await shop.audit.events.js.publish("items.changed", b"{new")).seq == 10
