"""A member of the bus that was full while it caught up with a stream no longer stores it until it is started again.

nats-server 2.15 tries a catch-up that found no room never again, see operations.md.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import httpx
import nats
import pytest
import pytest_asyncio
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from common.bus.consumer_lag import ConsumerLag, consumer_lags
from infra.servers.nats_trio import NatsMember, NatsTrio
from infra.servers.process import free_port
from tests.chaos.disks import no_longer_stores
from tests.support.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.prove, pytest.mark.timeout(180)]

MEGABYTE = bytes(1_000_000)
T = TypeVar("T")
OFTEN, RARE = "things.often", "things.rare"


@dataclass
class Stuck:
    """The bus has room again, and the stream THINGS three messages of the subject RARE that `member` did not store."""

    trio: NatsTrio
    member: NatsMember
    js: JetStreamContext

    async def says(self, words: str) -> bool:
        """Whether `/healthz` of the member says so."""
        async with httpx.AsyncClient() as http:
            return words in (await http.get(f"http://127.0.0.1:{self.member.monitoring_port}/healthz")).text

    async def is_left_behind(self) -> bool:
        """Whether the stream's leader says that the member lacks messages."""
        cluster = (await self.js.stream_info("THINGS")).cluster
        [seen] = [one for one in (cluster and cluster.replicas) or [] if one.name == self.member.name]
        return not seen.current and bool(seen.lag)

    async def lead(self, durable: str) -> ConsumerInfo:
        """Let the member lead a durable consumer; return what it says of it."""
        wish = json.dumps({"placement": {"preferred": self.member.name}}).encode()

        async def leads() -> ConsumerInfo | None:
            info: ConsumerInfo = await self.js.consumer_info("THINGS", durable)
            if info.cluster and info.cluster.leader == self.member.name:
                return info
            await self.js._nc.request(f"$JS.API.CONSUMER.LEADER.STEPDOWN.THINGS.{durable}", wish, timeout=5)
            return None

        return await once_led(leads)


@pytest_asyncio.fixture
async def stuck(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stuck]:
    """A member was away, has missed what no log of the others has any more, and has too little room for it."""
    trio = NatsTrio(tmp_path_factory.mktemp("nats-trio"))
    member = trio.members[2]
    member.monitoring_port = free_port()
    await trio.start()
    client = await nats.connect(trio.url.split(","), max_reconnect_attempts=-1, reconnect_time_wait=0.1)
    try:
        js = client.jetstream(timeout=10)
        await js.add_stream(name="FILLER", subjects=["filler.>"], num_replicas=3)
        await js.add_stream(name="THINGS", subjects=["things.>"], num_replicas=3)
        await js.add_consumer("THINGS", durable_name="rare", filter_subject=RARE, ack_policy="explicit")
        for _ in range(20):
            await js.publish("filler.piece", MEGABYTE)
        await trio.whole()

        await member.kill()
        for _ in range(18):
            await once_led(lambda: js.publish(OFTEN, MEGABYTE))
        await forget_their_logs(trio, js)
        member.most_bytes = 32_000_000
        await member.start()
        await eventually(lambda: asyncio.to_thread(no_longer_stores, member), seconds=60)

        await once_led(lambda: is_gone(js, "FILLER"))
        for _ in range(3):
            await once_led(lambda: js.publish(RARE, b"{}"))
        yield Stuck(trio, member, js)
    finally:
        await client.close()
        await trio.stop()


async def once_led(ask: Callable[[], Awaitable[T | None]]) -> T:
    """The answer, once the members have elected who gives it."""

    async def answer() -> T | None:
        with suppress(NatsError, TimeoutError):
            return await ask()
        return None

    return await eventually(answer, seconds=60)


async def is_gone(js: JetStreamContext, stream: str) -> bool:
    with suppress(NotFoundError):
        await js.delete_stream(stream)
    return True


async def forget_their_logs(trio: NatsTrio, js: JetStreamContext) -> None:
    """Stop and start the two others: each makes a snapshot of the stream in place of the log of its changes."""
    for other in trio.members[:2]:
        await other.stop()
        await other.start()

        async def follows() -> bool:
            cluster = (await js.stream_info("THINGS")).cluster
            return 0 in [one.lag or 0 for one in (cluster and cluster.replicas) or [] if one.current]

        # What both have stored proves that they are in touch: one that stops alone would keep its log.
        await once_led(lambda: js.publish(OFTEN, MEGABYTE))
        await once_led(follows)


async def test_it_stays_behind_although_there_is_room_until_it_is_started_again(stuck: Stuck) -> None:
    assert await stuck.is_left_behind()
    await eventually(lambda: stuck.says("stream write error: insufficient resources"))

    await stuck.member.stop()
    await stuck.member.start()

    await stuck.trio.whole()
    await eventually(lambda: stuck.says('"ok"'))
    assert not no_longer_stores(stuck.member)


async def test_what_a_durable_that_it_leads_leaves_undone_counts(stuck: Stuck) -> None:
    """The leader of a durable counts in its own copy of the stream. What it lacks, it neither delivers nor counts."""
    assert (await stuck.lead("rare")).num_pending == 0

    [lag] = await consumer_lags(stuck.js, ["THINGS"])

    first = await stuck.js.get_msg("THINGS", seq=1, subject=RARE, next=True)
    assert lag == ConsumerLag("THINGS", "rare", 1, oldest=first.seq, since=first.time)
