"""The fault "full bus" ends as an operator ends it: make room, then start the members again that are stuck."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import pytest
import pytest_asyncio

from infra.servers.nats import NatsServer
from tests.chaos.faults import FILLER, Faults
from tests.chaos.history import History
from tests.chaos.plan import Fault
from tests.chaos.replicated_world import ReplicatedWorld
from tests.chaos.world import World

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[ReplicatedWorld]:
    """Of its processes, only the members of the bus run."""
    world = ReplicatedWorld(tmp_path, hold_seconds=4)
    async with AsyncExitStack() as running:
        for member in world.nats.members:
            supervisor = world.supervisors[member.name]
            await supervisor.start()
            running.push_async_callback(member.kill)
            running.callback(supervisor.release)
        yield world


def is_now_stuck(member: NatsServer) -> None:
    with member.output.open("a") as log:
        log.write("[ERR] JetStream stream 'SOUK > EXPIRATION' critical write error: insufficient resources (10023)\n")


async def test_only_a_member_that_no_longer_stores_a_stream_is_started_again_and_once(world: ReplicatedWorld) -> None:
    stuck = world.nats.members[1]
    is_now_stuck(stuck)
    before = {member.name: member.pid for member in world.nats.members}

    await world.restart_stuck()
    after = {member.name: member.pid for member in world.nats.members}
    await world.restart_stuck()

    assert {name for name in before if before[name] != after[name]} == {"nats-2"}
    assert await stuck.answers()
    assert {member.name: member.pid for member in world.nats.members} == after


async def test_a_run_that_heals_does_not_wait_for_a_member_that_is_stuck(
    world: ReplicatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = world.nats.members[0]
    is_now_stuck(stuck)
    before, waited_for = stuck.pid, []

    async def whole(*_: object) -> None:
        waited_for.append(stuck.pid)

    monkeypatch.setattr(World, "heal", whole)
    monkeypatch.setattr(world.mongo, "whole", whole)
    monkeypatch.setattr(world.nats, "whole", whole)
    await world.heal()

    assert waited_for[-1] not in (None, before)


async def test_members_are_started_again_once_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(tmp_path, hold_seconds=4)
    server = world.servers["nats"]
    assert isinstance(server, NatsServer)
    server.most_bytes = 4_000_000
    streams: list[list[str | None]] = []

    async def restart_stuck() -> None:
        client = await nats.connect(world.bus_url)
        streams.append([info.config.name for info in await client.jetstream().streams_info()])
        await client.close()

    monkeypatch.setattr(world, "restart_stuck", restart_stuck)
    await server.start()
    try:
        async with Faults.connected(world, History(), seed=1, results=[]) as faults:
            await faults.cause(Fault(0, "full bus"))
            [result] = faults.results
    finally:
        await server.kill()

    assert (result.happened, result.note) == (True, "4 of them")
    assert streams == [[]], f"{FILLER} is gone by then"
