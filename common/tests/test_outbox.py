"""State and events in one guarded write; every event reaches the bus, whatever dies on the way."""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from common import outbox as module
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.errors import Conflict, StaleWrite, Unavailable
from common.events import StockChanged
from common.mongo.client import Database, database
from common.outbox import SWEEP_AFTER, UPDATE_ATTEMPTS, Outbox, Relay, write_of
from common.telemetry import BEHIND, BEHIND_FOR, caused_by, new_cause
from infra.servers.nats import NatsServer
from infra.servers.process import free_port
from tests.support.bus import Events
from tests.support.shelf import Shelf
from tests.support.waiting import eventually


@pytest.fixture
async def bus(bus_url: str) -> AsyncIterator[Bus]:
    async with Bus.connected(bus_url, "orders") as bus:
        yield bus


@pytest.fixture
async def relay(bus: Bus, db: Database) -> AsyncIterator[Relay]:
    await db.shelves.create_index([("name", ASCENDING)], unique=True)
    async with Relay.running(bus, db.shelves) as relay:
        yield relay


@pytest.fixture
def sweeper(bus: Bus, db: Database) -> Relay:
    """A relay that sweeps only when a test says so."""
    return Relay(bus, [db.shelves], sweep_every=3600)


@pytest.fixture
def outbox(db: Database, relay: Relay) -> Outbox:
    return Outbox(db.shelves, relay)


async def kept(db: Database, shelf: Shelf) -> dict[str, Any]:
    """The shelf as it is in the database."""
    document = await db.shelves.find_one({"_id": shelf.id})
    assert document is not None
    return document


async def loaded(db: Database, shelf: Shelf) -> Shelf:
    return Shelf.from_document(await kept(db, shelf))


async def counts(events: Events, count: int) -> list[int]:
    """What was on the shelves according to the published events, in order."""
    return [event.available for event in await events.published(StockChanged, count)]


async def nothing_pending(db: Database) -> bool:
    return not await db.shelves.count_documents({"pending.0": {"$exists": True}})


async def written(db: Database, shelf: Shelf, *, ago: timedelta) -> None:
    """Save as a process does that is killed before it can publish."""
    envelopes = [Envelope.of(event) for event in shelf.recorded]
    await db.shelves.bulk_write([write_of(shelf, [replace(e, time=e.time - ago) for e in envelopes])])


# Saving


async def test_state_and_events_are_saved_together_and_the_events_leave(
    db: Database, outbox: Outbox, events: Events
) -> None:
    shelf = Shelf.new()
    shelf.put()
    shelf.put()
    await outbox.save(shelf)
    assert (shelf.version, shelf.recorded) == (1, ())

    assert await counts(events, 2) == [1, 2]
    await eventually(lambda: nothing_pending(db))
    assert await kept(db, shelf) == {"_id": shelf.id, "name": shelf.name, "count": 2, "version": 1, "pending": []}


async def test_publishing_leaves_the_version_alone(db: Database, outbox: Outbox, events: Events) -> None:
    shelf = Shelf.new()
    for version in range(1, 6):
        shelf.put()
        await outbox.save(shelf)
        assert shelf.version == version
    await eventually(lambda: nothing_pending(db))
    assert (await kept(db, shelf))["version"] == 5
    assert await counts(events, 5) == [1, 2, 3, 4, 5]


async def test_an_event_carries_the_id_of_its_request(outbox: Outbox, events: Events) -> None:
    first, second = Shelf.new(), Shelf.new()
    for request, shelf in (("request-1", first), ("request-2", second)):
        shelf.put()
        with caused_by(new_cause(request)):
            await outbox.save(shelf)
    await events.published(StockChanged, 2)
    messages = await events.messages("ORDERS", StockChanged.subject)
    assert {m.headers["ce-requestid"] for m in messages} == {"request-1", "request-2"}


async def test_what_another_writer_saved_first_is_not_overwritten(db: Database, outbox: Outbox, events: Events) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    mine, theirs = await loaded(db, shelf), await loaded(db, shelf)
    theirs.put()
    await outbox.save(theirs)

    mine.put()
    mine.name = "mine"
    with pytest.raises(StaleWrite):
        await outbox.save(mine)

    assert (await loaded(db, shelf)).name == shelf.name
    await eventually(lambda: nothing_pending(db))
    assert await counts(events, 1) == [1], "and no event is published"
    assert (mine.version, len(mine.recorded)) == (1, 1), "it is as it was"


async def test_a_new_aggregate_never_replaces_one_that_is_there(db: Database, outbox: Outbox) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    with pytest.raises(StaleWrite):
        await outbox.save(Shelf(id=shelf.id, name="another"))
    assert (await loaded(db, shelf)).name == shelf.name


async def test_in_a_batch_each_member_has_its_own_result(db: Database, outbox: Outbox, events: Events) -> None:
    good, stale, taken = Shelf.new(), Shelf.new(), Shelf.new()
    for shelf in (good, stale, taken):
        await outbox.save(shelf)
    await outbox.save(await loaded(db, stale))
    for shelf in (good, stale, taken):
        shelf.put()
    taken.name = good.name
    new, new_taken = Shelf.new(), Shelf.new(good.name)

    results = await asyncio.gather(
        *(outbox.save(shelf) for shelf in (stale, good, taken, new, new_taken)), return_exceptions=True
    )

    assert [type(result) for result in results] == [
        StaleWrite,
        type(None),
        DuplicateKeyError,
        type(None),
        DuplicateKeyError,
    ]
    error = results[2]
    assert isinstance(error, DuplicateKeyError)
    assert (error.details or {})["keyPattern"] == {"name": 1}, "it says which index refuses"
    assert [(await kept(db, shelf))["count"] for shelf in (stale, good, taken, new)] == [0, 1, 0, 0]
    assert await db.shelves.count_documents({}) == 4
    assert [e.item_id for e in await events.published(StockChanged)] == [good.id]


async def test_of_two_saves_of_one_version_in_one_batch_one_wins(db: Database, outbox: Outbox) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    copies = [await loaded(db, shelf) for _ in range(10)]
    for copy in copies:
        copy.put()

    results = await asyncio.gather(*(outbox.save(copy) for copy in copies), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["NoneType", *["StaleWrite"] * 9]
    assert (await loaded(db, shelf)).count == 1


async def test_a_field_that_is_none_is_not_there(db: Database, outbox: Outbox) -> None:
    shelf = Shelf.new()
    shelf.note = "dusty"
    await outbox.save(shelf)
    assert (await kept(db, shelf))["note"] == "dusty"

    shelf.note = None
    await outbox.save(shelf)
    assert "note" not in await kept(db, shelf)
    assert (await loaded(db, shelf)).note is None


# Updating


def loading(db: Database, shelf: Shelf) -> Callable[[], Awaitable[Shelf]]:
    return lambda: loaded(db, shelf)


async def test_many_concurrent_updates_count_exactly(db: Database, outbox: Outbox, events: Events) -> None:
    writers = UPDATE_ATTEMPTS  # Each loses once to every other at most, however slow the machine is.
    shelf = Shelf.new()
    await outbox.save(shelf)

    await asyncio.gather(*(outbox.update(loading(db, shelf), Shelf.put) for _ in range(writers)))

    assert (await loaded(db, shelf)).count == writers
    assert sorted(await counts(events, writers)) == list(range(1, writers + 1)), "one event for each that counted"


async def test_an_update_that_lost_a_race_decides_on_the_newest_state(db: Database, outbox: Outbox) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    stale = await loaded(db, shelf)
    await outbox.update(loading(db, shelf), Shelf.put)
    decided_on: list[int] = []

    def put(mine: Shelf) -> None:
        decided_on.append(mine.count)
        mine.put()

    updated = await outbox.update(loading(db, shelf), put, loaded=stale)

    assert decided_on == [0, 1]
    assert (updated.count, updated.version, updated.recorded) == (2, 3, ())
    assert await loaded(db, shelf) == updated


async def test_an_update_that_keeps_losing_raises_stale_write(
    db: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RETRY_DELAY", 0.01)
    shelf = Shelf.new()
    await outbox.save(shelf)
    loads: list[Shelf] = []

    async def load_too_early() -> Shelf:
        loads.append(await loaded(db, shelf))
        await db.shelves.update_one({"_id": shelf.id}, {"$inc": {"version": 1}})
        return loads[-1]

    with pytest.raises(StaleWrite):
        await outbox.update(load_too_early, Shelf.put)

    assert len(loads) == module.UPDATE_ATTEMPTS
    assert (await loaded(db, shelf)).count == 0


@pytest.mark.parametrize("decide", [lambda _: None, lambda shelf: setattr(shelf, "note", None)])
async def test_an_update_that_changes_nothing_saves_nothing(
    decide: Callable[[Shelf], None], db: Database, outbox: Outbox
) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    assert (await outbox.update(loading(db, shelf), decide)).version == 1
    assert (await loaded(db, shelf)).version == 1


async def test_an_update_saves_a_change_without_an_event(db: Database, outbox: Outbox) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    await outbox.update(loading(db, shelf), lambda mine: setattr(mine, "note", "dusty"))
    assert (await loaded(db, shelf)).note == "dusty"


async def test_a_refused_decision_is_not_retried(db: Database, outbox: Outbox) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    asked: list[Shelf] = []

    def refuse(mine: Shelf) -> None:
        asked.append(mine)
        mine.put()
        raise Conflict("the shelf is full")

    with pytest.raises(Conflict, match="full"):
        await outbox.update(loading(db, shelf), refuse)
    assert len(asked) == 1
    assert (await loaded(db, shelf)).version == 1


async def test_without_room_a_command_is_refused_but_an_outcome_is_recorded(
    db: Database, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf.new()
    await outbox.save(shelf)
    monkeypatch.setattr(module, "MAX_PENDING", 0)

    with pytest.raises(Unavailable):
        await outbox.update(loading(db, shelf), Shelf.put)
    assert (await loaded(db, shelf)).count == 0

    await outbox.update(loading(db, shelf), Shelf.put, command=False)
    assert (await loaded(db, shelf)).count == 1


# Relaying


async def test_what_a_crash_left_behind_is_published_oldest_first_and_once(
    db: Database, bus: Bus, events: Events
) -> None:
    shelf = Shelf.new()
    shelf.put()
    await written(db, shelf, ago=2 * SWEEP_AFTER)
    shelf.saved()
    shelf.put()
    await written(db, shelf, ago=2 * SWEEP_AFTER)
    older = Shelf.new()
    older.put()
    await written(db, older, ago=3 * SWEEP_AFTER)

    async with Relay.running(bus, db.shelves):
        await eventually(lambda: nothing_pending(db))

    published = await events.published(StockChanged, 3)
    assert [(e.item_id, e.available) for e in published] == [(older.id, 1), (shelf.id, 1), (shelf.id, 2)]
    assert (await kept(db, shelf))["version"] == 2


async def test_two_sweepers_at_once_publish_each_event_once(
    db: Database, bus: Bus, bus_url: str, events: Events
) -> None:
    for _ in range(50):
        shelf = Shelf.new()
        shelf.put()
        await written(db, shelf, ago=2 * SWEEP_AFTER)
    async with (
        Bus.connected(bus_url, "orders") as another,
        Relay.running(bus, db.shelves),
        Relay.running(another, db.shelves),
    ):
        await eventually(lambda: nothing_pending(db))
    assert len(await events.published(StockChanged, 50)) == 50


async def test_a_backlog_of_large_events_is_swept_without_holding_all_of_it(db: Database, sweeper: Relay) -> None:
    count, note = 1_200, "x" * 60_000
    for _ in range(count // 50):
        shelves = [Shelf.new() for _ in range(50)]
        await db.shelves.insert_many(
            [{"_id": shelf.id, "name": shelf.name, "pending": [large_event(shelf, note)]} for shelf in shelves]
        )

    tracemalloc.start()
    try:
        while await sweeper.sweep():
            """There may be more."""
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert await nothing_pending(db)
    assert peak < count * len(note) * 0.5


def large_event(shelf: Shelf, note: str) -> dict[str, Any]:
    """An old event of this shelf, with a long text."""
    shelf.put()
    [event] = shelf.recorded
    envelope = replace(Envelope.of(event), time=datetime.now(UTC) - timedelta(minutes=1))
    stored = envelope.to_document()
    return {**stored, "body": f'{stored["body"][:-1]},"note":"{note}"}}'}


async def test_a_database_that_is_away_is_a_warning_to_the_sweeper(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    async def logged() -> list[str]:
        return [record.levelname for record in caplog.records if record.name == "common.outbox"]

    async with database(f"mongodb://127.0.0.1:{free_port()}/away", 0.2) as away:
        relay = Relay(bus, [away.shelves], sweep_every=3600)
        sweeping = asyncio.create_task(relay._keep_sweeping())
        assert await eventually(logged) == ["WARNING"]
        relay._over = True
        relay._wake.set()
        await sweeping


async def test_what_was_written_a_moment_ago_is_left_to_its_writer(
    db: Database, sweeper: Relay, events: Events
) -> None:
    shelf = Shelf.new()
    shelf.put()
    await written(db, shelf, ago=timedelta(0))

    assert await sweeper.sweep() == 0
    assert await events.published(StockChanged, 0) == []
    assert await sweeper.sweep(grace=timedelta(0)) == 1
    assert await counts(events, 1) == [1]
    await eventually(lambda: nothing_pending(db))


async def test_leaving_publishes_what_was_saved(db: Database, bus: Bus, events: Events) -> None:
    async with Relay.running(bus, db.shelves, sweep_every=3600) as relay:
        outbox = Outbox(db.shelves, relay)
        shelves = [Shelf.new() for _ in range(200)]
        for shelf in shelves:
            shelf.put()
        await asyncio.gather(*(outbox.save(shelf) for shelf in shelves))
    assert len(await events.published(StockChanged, 0)) == 200
    assert await nothing_pending(db)


async def test_while_the_bus_is_away_commands_succeed_and_their_events_leave_when_it_is_back(
    db: Database, nats_server: Callable[[], NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 20)
    server = nats_server()
    await server.start()
    try:
        async with Bus.connected(server.url, "orders") as bus, Relay.running(bus, db.shelves, sweep_every=0.2) as relay:
            outbox = Outbox(db.shelves, relay)
            await server.kill()
            await eventually(lambda: is_connected(bus, False))

            shelves = [Shelf.new() for _ in range(20)]
            for shelf in shelves:
                shelf.put()
                await outbox.save(shelf)
                assert len((await kept(db, shelf))["pending"]) == 1
            await eventually(lambda: is_refused(outbox), why="the sweeper sees how far behind the bus is")
            assert BEHIND._value.get() == 20
            assert SWEEP_AFTER.total_seconds() < BEHIND_FOR._value.get() < 120

            await server.start()
            await eventually(lambda: nothing_pending(db), seconds=30)
            late = Shelf.new()
            late.put()
            await outbox.save(late)
            await eventually(lambda: nothing_pending(db))
            published = [event async for event in bus.stored_events(StockChanged)]
    finally:
        await server.stop()
    assert sorted(event.item_id for event in published if isinstance(event, StockChanged)) == sorted(
        shelf.id for shelf in (*shelves, late)
    )


async def test_many_small_changes_of_one_document_stay_far_below_what_mongodb_takes(
    db: Database, nats_server: Callable[[], NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENT_BYTES", 40_000)
    monkeypatch.setattr(module, "MUCH_WAITS", 10_000, raising=False)
    monkeypatch.setattr(module, "SWEEP_AFTER", timedelta(0))
    server = nats_server()
    await server.start()
    try:
        async with (
            Bus.connected(server.url, "orders") as bus,
            Relay.running(bus, db.shelves, sweep_every=0.05) as relay,
        ):
            outbox = Outbox(db.shelves, relay)
            shelf = Shelf.new()
            await outbox.save(shelf)
            await server.kill()
            await eventually(lambda: is_connected(bus, False))

            async def put_often() -> None:
                for _ in range(500):
                    await outbox.update(loading(db, shelf), Shelf.put)

            with pytest.raises(Unavailable, match="wait for the bus"):
                await put_often()
            before = await kept(db, shelf)
            await outbox.update(loading(db, shelf), Shelf.put, command=False)
            assert len(bson.encode(before)) >= 40_000
            assert (await kept(db, shelf))["count"] == before["count"] + 1
            await server.start()
            await eventually(lambda: nothing_pending(db), seconds=30)
    finally:
        await server.stop()


async def is_connected(bus: Bus, connected: bool) -> bool:
    return bus.connected_now is connected


async def is_refused(outbox: Outbox) -> bool:
    """Whether a command is refused because too much waits for the bus already."""
    try:
        outbox.relay.check_room()
    except Unavailable:
        return True
    return False


async def test_one_event_that_cannot_be_read_stops_no_other(db: Database, sweeper: Relay, events: Events) -> None:
    shelves = [Shelf.new() for _ in range(3)]
    for shelf in shelves:
        shelf.put()
        await written(db, shelf, ago=timedelta(minutes=1))
    await db.shelves.update_one({"_id": shelves[0].id}, {"$unset": {"pending.0.traceparent": ""}})

    assert await sweeper.sweep() == 2
    assert len(await events.published(StockChanged, 0)) == 2


async def test_a_stream_that_refuses_closes_the_room_and_does_not_make_the_sweeper_spin(
    db: Database, sweeper: Relay, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 5)
    for _ in range(6):
        shelf = Shelf.new()
        shelf.put()
        await written(db, shelf, ago=timedelta(minutes=1))
    await events.js.delete_stream("ORDERS")  # like one on a full disk: connected, and nothing is stored

    assert await sweeper.sweep() == 0
    with pytest.raises(Unavailable):
        sweeper.check_room()
    await Outbox(db.shelves, sweeper).save(Shelf.new())  # what only records an outcome is written all the same
