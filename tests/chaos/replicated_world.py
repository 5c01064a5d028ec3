"""The stack for chaos runs, as in production: three mongods, three nats-servers, streams with three replicas."""

import asyncio
import functools
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import nats

from infra.bus import PROVISIONER
from infra.servers.mongo import MongoServer
from infra.servers.mongo_trio import MongoTrio
from infra.servers.nats import NatsServer
from infra.servers.nats_trio import NatsTrio
from infra.servers.process import Child, StartFailed
from infra.services import Service
from tests.chaos.plan import Fault, Kind, replicated
from tests.chaos.proxy import Proxy
from tests.chaos.world import ROOM, World

START_ATTEMPTS = 3


class ReplicatedWorld(World):
    """A world with proxies to Redis and to every nats-server (`orders:nats-2`).

    MongoDB's clients find the members by the addresses in the replica set's configuration, so they have no proxies.
    """

    stream_copies = 3
    disk_sizes: Mapping[str, int] = {"nats": 160}

    @functools.cached_property
    def _replica_set(self) -> asyncio.Lock:
        return asyncio.Lock()

    def mongo_url(self, service: str) -> str:
        """See `Stack`."""
        return self.mongo.url_for(service)

    def nats_url(self, service: str) -> str:
        """See `Stack`: the addresses of all three."""
        return self.nats.url_for(service)

    def more_faults(self) -> Mapping[str, Callable[[Fault], Awaitable[object]]]:
        """See `World`."""
        return {
            **super().more_faults(),
            "unreplicated writes": self._lose_unreplicated_writes,
            "lag": self._lag,
            "step down": lambda _: self.mongo.step_down(),
            "lost disk": self._lose_disk,
            "new leader": self._move_leader,
        }

    def _all_kinds(self) -> Mapping[str, Kind]:
        return replicated([m.name for m in self.mongo.members], [m.name for m in self.nats.members])

    async def heal(self) -> None:
        """See `World`."""
        await super().heal()
        await self.mongo.let_go()
        async with asyncio.timeout(120):
            await self.mongo.whole()

    async def _lose_unreplicated_writes(self, fault: Fault) -> None:
        async with self._one_at_a_time():
            await self.mongo.hold_back()
            await asyncio.sleep(fault.seconds)
            await self.mongo.roll_back()

    async def _lag(self, fault: Fault) -> None:
        async with self._one_at_a_time():
            await self.mongo.hold_back()
            await asyncio.sleep(fault.seconds)
            await self.mongo.let_go()

    async def _lose_disk(self, fault: Fault) -> None:
        """A member loses all it has while the replica set is whole, and gets it back: two lost disks are too many."""
        async with self._one_at_a_time():
            child = self.supervisors[fault.target].child
            await child.kill()
            shutil.rmtree(child.folder / "data")

    @asynccontextmanager
    async def _one_at_a_time(self) -> AsyncIterator[None]:
        """A fault of the replica set begins once it is whole: of three members, it can do without one at a time."""
        async with self._replica_set:
            async with asyncio.timeout(60):
                await self.mongo.whole(caught_up=False)
            yield

    async def _move_leader(self, fault: Fault) -> None:
        client = await nats.connect(self.bus_url.split(","))
        try:
            await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{fault.target}", b"", timeout=3)
        finally:
            await client.close()

    def _make_servers(self) -> dict[str, Child]:
        servers = super()._make_servers()
        match servers["mongod"], servers["nats"]:
            case MongoServer(users=owners), NatsServer(users=users):
                self.mongo = MongoTrio(self.data_dir / "mongo", users=owners)
                self.nats = NatsTrio(self.data_dir / "nats", users)
        (self.data_dir / "mongo").mkdir(exist_ok=True, mode=0o700)
        (self.data_dir / "nats").mkdir(exist_ok=True, mode=0o700)
        for nats_server in self.nats.members:
            nats_server.most_bytes = ROOM
        self.mongo.share_key()
        members = {member.name: member for member in (*self.mongo.members, *self.nats.members)}
        others = ("redis", "provider-mongod", "provider")
        return {**members, **{name: servers[name] for name in others}}

    def _env(self, service: Service) -> dict[str, str]:
        return {**super()._env(service), "NATS_REPLICAS": "3"}

    def _through_proxy(self, service: str, server: str, url: str) -> str:
        match server:
            case "mongod":
                return url
            case "nats":
                for member in self.nats.members:
                    wire = self.wires.setdefault(f"{service}:{member.name}", Proxy(member.port))
                    url = re.sub(rf":{member.port}\b", f":{wire.port}", url)
                return url
        return super()._through_proxy(service, server, url)

    async def _start(self, children: Sequence[Child]) -> None:
        """See `Stack`. A service that JetStream's cluster does not answer in time ends, and is started again."""
        for _ in range(START_ATTEMPTS - 1):
            try:
                await super()._start([child for child in children if child.pid is None])
            except StartFailed as failed:
                self._say_souk(str(failed))
            else:
                break
        else:
            await super()._start([child for child in children if child.pid is None])
        if self.mongo.members[0] in children:
            await self.mongo.initiate()
            await self.nats.settled(PROVISIONER)
