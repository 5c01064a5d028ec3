"""Three servers of a kind: what is acknowledged survives the loss of one."""

from collections.abc import AsyncIterator
from contextlib import suppress

import nats
import pytest
import pytest_asyncio
from nats.errors import Error as NatsError

from common.mongo.client import Database
from infra.servers.mongo_trio import MongoTrio
from infra.servers.nats_trio import NatsTrio
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


@pytest_asyncio.fixture
async def nats_trio(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsTrio]:
    trio = NatsTrio(tmp_path_factory.mktemp("nats-trio"))
    await trio.start()
    yield trio
    await trio.stop()


async def test_a_cluster_of_the_bus_keeps_what_it_acknowledged_when_a_member_dies(nats_trio: NatsTrio) -> None:
    client = await nats.connect(nats_trio.url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    js = client.jetstream(timeout=2)
    await js.add_stream(name="THINGS", subjects=["things.>"], num_replicas=3)
    await js.publish("things.one", b"1")
    leader = (await js.stream_info("THINGS")).cluster
    assert leader is not None

    [victim] = [member for member in nats_trio.members if member.name == leader.leader]
    await victim.kill()

    async def kept() -> bytes | None:
        with suppress(NatsError, TimeoutError):  # Until the others have elected a leader.
            return (await js.get_msg("THINGS", 1)).data
        return None

    assert await eventually(kept, seconds=60) == b"1"
    await client.close()


async def test_a_replica_set_keeps_what_it_acknowledged_when_its_primary_dies(
    mongo_trio: MongoTrio, replicated_db: Database
) -> None:
    await replicated_db.things.insert_one({"_id": 1})
    killed = await mongo_trio.fail_over()
    assert await mongo_trio.primary() is not killed
    assert await replicated_db.things.count_documents({}) == 1
