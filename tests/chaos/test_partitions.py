"""Members of a replica set and of a cluster of the bus that cannot talk to each other, while clients reach them all."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress

import nats
import pytest
import pytest_asyncio
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ClusterInfo
from nats.js.errors import BadRequestError
from pymongo import WriteConcern
from pymongo.errors import OperationFailure

from common.mongo.client import AWAY, Database, database
from infra.servers.mongo_trio import MongoMember, MongoTrio
from infra.servers.nats_trio import NatsMember, NatsTrio
from infra.servers.process import free_port
from tests.chaos.fronts import Front, sources_are_known
from tests.chaos.partitions import lose, part, reunite, wires_between
from tests.chaos.proxy import Wire
from tests.support.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

PRIMARY = 1
"""The state in which MongoDB's members take writes."""

PEER_OFFLINE = 10005
"""The server's error where a member counts as offline, as it may for a moment after its start."""

ALONE: WriteConcern = WriteConcern(w=1)

on_linux = pytest.mark.skipif(not sources_are_known(), reason="only Linux shows whose a connection is")


class PartedMongo:
    """A replica set whose members know each other by their fronts."""

    def __init__(self, trio: MongoTrio, wires: dict[str, Wire]) -> None:
        self.trio = trio
        self.wires = wires

    def others(self, member: MongoMember) -> list[str]:
        return [other.name for other in self.trio.members if other is not member]

    async def leads(self, member: MongoMember) -> bool:
        return bool((await member.ask("replSetGetStatus"))["myState"] == PRIMARY)

    async def heal(self) -> None:
        reunite(self.wires, [member.name for member in self.trio.members])
        await self.trio.heal()


@pytest_asyncio.fixture
async def mongo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PartedMongo]:
    async with AsyncExitStack() as exits:
        ports = [free_port() for _ in range(3)]
        names = [f"mongod-{n}" for n in (1, 2, 3)]
        fronts = [Front(port, lambda: {member.name: member.pid for member in trio.members}) for port in ports]
        wires = {f"{a}:{b}": front.wires[a] for a in names for b, front in zip(names, fronts, strict=True)}
        trio = MongoTrio(tmp_path_factory.mktemp("parted"), ports, told=[front.port for front in fronts])
        for front in fronts:
            await front.open()
            exits.push_async_callback(front.close)
        exits.push_async_callback(trio.stop)
        await trio.start()
        yield PartedMongo(trio, wires)


@pytest_asyncio.fixture
async def db(mongo: PartedMongo) -> AsyncIterator[Database]:
    async with database(mongo.trio.url_for("test"), 5) as opened:
        yield opened


@on_linux
async def test_every_connection_between_members_goes_over_their_own_wire(mongo: PartedMongo) -> None:
    names = [member.name for member in mongo.trio.members]

    async def all_are_used() -> bool:
        return all(mongo.wires[f"{a}:{b}"].connections > 0 for a in names for b in names if a != b)

    await eventually(all_are_used, why="two members do not talk to each other")


@on_linux
@pytest.mark.prove
async def test_a_primary_without_the_others_is_deposed_and_undoes_what_it_alone_had(
    mongo: PartedMongo, db: Database
) -> None:
    await db.things.insert_one({"_id": "before"})
    old = await mongo.trio.primary()
    part(mongo.wires, old.name, mongo.others(old))
    async with old.administrator() as alone:
        await alone.test.get_collection("things", write_concern=ALONE).insert_one({"_id": "alone"})

    new = await mongo.trio.primary(but=old)
    await eventually(lambda: is_kept(db, "after"), seconds=60)
    assert not await mongo.leads(old)
    await mongo.heal()

    assert await mongo.trio.primary() is new
    assert await ids_of(old) == ["after", "before"]


@on_linux
@pytest.mark.prove
async def test_a_pair_that_cannot_talk_keeps_nobody_from_writing_or_from_what_was_written(
    mongo: PartedMongo, db: Database
) -> None:
    primary, [other, _] = await mongo.trio.primary(), await mongo.trio.secondaries()

    part(mongo.wires, primary.name, [other.name])

    await eventually(lambda: is_kept(db, "meanwhile"), seconds=60)
    await eventually(lambda: has(other, "meanwhile"), seconds=60)
    await mongo.heal()


@on_linux
@pytest.mark.prove
async def test_a_primary_that_the_others_do_not_hear_is_deposed(mongo: PartedMongo, db: Database) -> None:
    old = await mongo.trio.primary()

    for other in mongo.others(old):
        lose(mongo.wires, old.name, other)

    await mongo.trio.primary(but=old)
    await eventually(lambda: is_kept(db, "after"), seconds=60)
    await mongo.heal()
    assert await ids_of(old) == ["after"]


async def is_kept(db: Database, thing: str) -> bool:
    """Whether a majority has the thing; it is written if it is not there."""
    with suppress(*AWAY, OperationFailure):
        await db.things.update_one({"_id": thing}, {"$set": {"kept": True}}, upsert=True)
        return True
    return False


async def ids_of(member: MongoMember) -> list[str]:
    """All that this member has."""
    async with member.administrator() as client:
        return [thing["_id"] async for thing in client.test.things.find().sort("_id")]


async def has(member: MongoMember, thing: str) -> bool:
    return thing in await ids_of(member)


class PartedNats:
    """A cluster whose members call each other over wires."""

    def __init__(self, trio: NatsTrio) -> None:
        self.trio = trio
        self.wires: dict[str, Wire] = wires_between(trio)

    def others(self, member: NatsMember) -> list[str]:
        return [other.name for other in self.trio.members if other is not member]

    def heal(self) -> None:
        reunite(self.wires, [member.name for member in self.trio.members])


@pytest_asyncio.fixture
async def bus(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PartedNats]:
    async with AsyncExitStack() as exits:
        trio = NatsTrio(tmp_path_factory.mktemp("parted-bus"))
        parted = PartedNats(trio)
        for wire in parted.wires.values():
            await wire.open()
            exits.push_async_callback(wire.close)
        exits.push_async_callback(trio.stop)
        await trio.start()
        yield parted


@pytest_asyncio.fixture
async def js(bus: PartedNats) -> AsyncIterator[JetStreamContext]:
    """JetStream as a client of every member sees it, with a stream of three replicas."""
    client = await nats.connect(bus.trio.url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    js = client.jetstream(timeout=10)

    async def made() -> bool:
        try:
            await js.add_stream(name="THINGS", subjects=["things.>"], num_replicas=3)
        except BadRequestError as error:
            if error.err_code != PEER_OFFLINE:
                raise
            return False
        return True

    await eventually(made, why="all members are there for a stream")
    yield js
    await client.close()


async def test_every_pair_of_members_of_the_bus_talks_over_its_wires(bus: PartedNats) -> None:
    pairs = [(one.name, other) for one in bus.trio.members for other in bus.others(one)]

    async def all_are_used() -> bool:
        return all(bus.wires[f"{a}:{b}"].connections + bus.wires[f"{b}:{a}"].connections > 0 for a, b in pairs)

    await eventually(all_are_used, why="two members do not talk to each other")


@pytest.mark.prove
async def test_a_leader_of_a_stream_without_the_others_accepts_nothing_and_another_leads(
    bus: PartedNats, js: JetStreamContext
) -> None:
    old = await leader_of(bus, js)
    part(bus.wires, old.name, bus.others(old))
    alone = await nats.connect(old.url, allow_reconnect=False)

    with pytest.raises((NatsError, TimeoutError)):
        await alone.jetstream(timeout=3).publish("things.alone", b"")
    [first, _] = [member for member in bus.trio.members if member is not old]
    outside = await nats.connect(first.url)
    there = outside.jetstream(timeout=10)
    await eventually(lambda: is_published(there, "things.after"), seconds=60)
    assert await leader_of(bus, there) is not old
    bus.heal()

    await eventually(lambda: all_have_all(there), seconds=60)
    for client in (alone, outside):
        await client.close()


async def is_published(js: JetStreamContext, subject: str) -> bool:
    with suppress(NatsError, TimeoutError):
        await js.publish(subject, b"")
        return True
    return False


async def cluster_of(js: JetStreamContext) -> ClusterInfo:
    cluster = (await js.stream_info("THINGS")).cluster
    assert cluster is not None
    return cluster


async def leader_of(bus: PartedNats, js: JetStreamContext) -> NatsMember:
    [leader] = [member for member in bus.trio.members if member.name == (await cluster_of(js)).leader]
    return leader


async def all_have_all(js: JetStreamContext) -> bool:
    with suppress(NatsError, TimeoutError):
        others = (await cluster_of(js)).replicas or []
        return len(others) == 2 and all(one.current and not one.lag for one in others)
    return False
