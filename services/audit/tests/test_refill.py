"""A bus that lost its streams gets back what audit knows, each message in its old place."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nats.js.errors import NoStreamResponseError

from audit.event_log.domain import Entry
from audit.event_log.store import EventLog
from audit.refill import refill_events, run
from audit.settings import AuditSettings
from common.bus.connection import Bus
from common.bus.message import Message
from common.bus.provision import provision
from common.bus.stream_refill import Refilled, refilling
from common.bus.streams import EVERY_STREAM, stream_config
from common.events import Event, ItemListed
from common.mongo.client import Database
from common.settings import load
from tests.support.bus import Events, emptied
from tests.support.waiting import eventually

from .conftest import World


async def lose_every_stream(events: Events) -> None:
    """What a server without its disk has left."""
    await events.js.add_stream(name="NOTHING", subjects=["nothing"])  # The last one takes the folder around it along.
    for stream in EVERY_STREAM:
        await emptied(events.js, stream)
        await events.js.delete_stream(stream)


async def stored(events: Events, stream: str) -> list[Entry]:
    """The entries of the messages that a stream has now."""
    found = await events.messages(stream, f"{stream.lower()}.>")
    return [Entry.of(Message(stream, m.seq, m.subject, m.time, m.headers or {}, m.data)) for m in found]


def printed(capsys: pytest.CaptureFixture[str], *endings: str) -> list[str]:
    """What a command printed: lines that end so. A stack that this process has for other tests prints too."""
    return [line for line in capsys.readouterr().out.splitlines() if line.endswith(endings)]


@pytest_asyncio.fixture
async def known(audit: World) -> list[Entry]:
    """Ten events of items in audit's log: the third place is empty, and the last message is not an event."""
    for _ in range(9):
        await audit.publish(audit.item())
    await audit.events.js.publish("items.changed", b"{broken")
    await audit.events.handled("ITEMS")
    await audit.db.events.delete_one({"stream": "ITEMS", "sequence": 3})
    return [entry async for [entry] in EventLog(audit.db).places("ITEMS")]


@pytest_asyncio.fixture
async def items(bus_url: str) -> AsyncIterator[Refilled]:
    """The stream of items, to be refilled."""
    async with refilling(bus_url, "ITEMS", 1) as stream:
        yield stream


async def test_everything_is_back_in_its_place_and_nothing_is_in_it_twice(
    audit: World, known: list[Entry], bus_url: str, environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    letter_id = await audit.dead_letter()
    letter = await audit.letter(letter_id)
    logged = await audit.kept()
    await lose_every_stream(audit.events)

    await run(load(AuditSettings), bus_url)
    assert printed(capsys, "put back", "anew") == [
        "EXPIRATION: 0 events put back",
        "ITEMS: 9 events put back",
        "ORDERS: 0 events put back",
        "PAYMENTS: 0 events put back",
        "TICKETS: 0 events put back",
        "USERS: 0 events put back",
        "DEAD_LETTERS: 1 put back",
        "LETTERS: begun anew",
    ]

    await provision(bus_url)  # it accepts what it finds
    assert await stored(audit.events, "ITEMS") == known
    [dead] = await audit.events.dead_letters()
    assert dead.headers["Nats-Msg-Id"] == letter_id
    assert await audit.letter(letter_id) == letter
    assert (await audit.events.js.publish("items.changed", b"{new")).seq == 11
    await run(load(AuditSettings), bus_url)
    assert "ITEMS: 0 events put back" in printed(capsys, "put back")
    assert (await stored(audit.events, "ITEMS"))[:-1] == known
    assert {d["_id"] for d in logged["events"]} <= {d["_id"] for d in (await audit.kept())["events"]}


async def test_a_refill_that_was_interrupted_goes_on_and_meanwhile_nobody_else_gets_in(
    audit: World, known: list[Entry], items: Refilled, db: Database
) -> None:
    await lose_every_stream(audit.events)

    async def first_four() -> AsyncIterator[Message]:
        for entry in known[:4]:
            yield entry.to_message()

    await items.open()
    assert await items.put(first_four()) == 4
    with pytest.raises(NoStreamResponseError):
        await audit.events.js.publish("items.changed", b"{too early")

    assert await refill_events(items, EventLog(db)) == 5
    assert await stored(audit.events, "ITEMS") == known


async def test_events_that_were_published_after_the_loss_follow_behind_the_older_ones(
    audit: World, known: list[Entry], items: Refilled, db: Database
) -> None:
    await lose_every_stream(audit.events)
    await audit.events.js.add_stream(stream_config("ITEMS"))
    later, unlogged = audit.item(), audit.item()
    for event in (later, unlogged):
        await audit.events.deliver(event, event_id=event.item_id)
    [entry, _] = await stored(audit.events, "ITEMS")
    await db.events.insert_one(entry.to_document())  # audit had time to keep this one

    assert await refill_events(items, EventLog(db)) == 9

    *older, moved, newest = await stored(audit.events, "ITEMS")
    assert older == known
    assert [(one.id, one.sequence) for one in (moved, newest)] == [(later.item_id, 11), (unlogged.item_id, 12)]
    assert Entry.from_document(await db.events.find_one({"_id": later.item_id}) or {}) == moved
    assert await refill_events(items, EventLog(db)) == 0
    assert await stored(audit.events, "ITEMS") == [*older, moved, newest]


async def test_what_is_put_back_is_no_news(
    audit: World, known: list[Entry], items: Refilled, db: Database, bus_url: str
) -> None:
    heard: list[Event] = []
    new = audit.item()
    async with Bus.connected(bus_url, "web") as web, web.listening(heard.append, ItemListed):
        await lose_every_stream(audit.events)
        await refill_events(items, EventLog(db))

        async def hears() -> bool:
            await audit.events.deliver_raw(new.subject, new.model_dump_json().encode())
            return bool(heard)

        await eventually(hears)
    assert set(map(type, heard)) == {ItemListed}
    assert [event for event in heard if event != new] == []


@pytest.mark.parametrize("lost", [slice(0, 2), slice(4, 6)], ids=["beginning", "middle"])
async def test_events_that_a_damaged_disk_lost_are_back_in_their_places(
    audit: World, known: list[Entry], items: Refilled, db: Database, lost: slice
) -> None:
    """A block of the bus that cannot be read leaves gaps; the events behind it are there."""
    await lose_every_stream(audit.events)

    async def rest() -> AsyncIterator[Message]:
        for entry in known:
            if entry not in known[lost]:
                yield entry.to_message()

    await items.open()
    await items.put(rest())
    await items.close()
    later = audit.item()
    await audit.events.deliver(later, event_id=later.item_id)

    assert await refill_events(items, EventLog(db)) == 9

    *older, newest = await stored(audit.events, "ITEMS")
    assert older == known
    assert (newest.id, newest.sequence) == (later.item_id, 11)
    assert await refill_events(items, EventLog(db)) == 0
