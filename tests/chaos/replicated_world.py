"""The stack for chaos runs, as in production: three mongods, three nats-servers, streams with three replicas."""

import asyncio
import functools
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self

import nats

from infra.bus import PROVISIONER
from infra.servers.mongo import MongoServer
from infra.servers.mongo_trio import MongoMember, MongoTrio
from infra.servers.nats import NatsServer
from infra.servers.nats_trio import NatsMember, NatsTrio
from infra.servers.process import Child, StartFailed, free_port
from infra.services import Service
from tests.chaos.fronts import Front, sources_are_known
from tests.chaos.partitions import lose, part, reunite, wires_between
from tests.chaos.plan import Fault, Kind, replicated
from tests.chaos.world import ROOM, World

START_ATTEMPTS = 3


class ReplicatedWorld(World):
    """A world with wires to Redis and to every member (`orders-2:nats-2`), and between the members of a cluster.

    MongoDB's clients and members find each other by the addresses in the replica set's configuration: there are fronts.
    """

    stream_copies = 3
    disk_sizes: Mapping[str, int] = {"nats": 160}

    @functools.cached_property
    def _locks(self) -> Mapping[str, asyncio.Lock]:
        return {"mongod": asyncio.Lock(), "nats": asyncio.Lock()}

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
            "partition": self._part_from_all,
            "partial partition": self._part_pair,
            "one-way partition": self._lose_one_way,
        }

    def _all_kinds(self) -> Mapping[str, Kind]:
        return replicated(self._mongods, self._nats_members, self._mongods if self._fronts else ())

    @property
    def _mongods(self) -> list[str]:
        return [member.name for member in self.mongo.members]

    @property
    def _nats_members(self) -> list[str]:
        return [member.name for member in self.nats.members]

    def _others(self, member: str) -> list[str]:
        """The other members of a cluster."""
        cluster = self._mongods if member in self._mongods else self._nats_members
        return [other for other in cluster if other != member]

    async def heal(self) -> None:
        """See `World`."""
        await super().heal()
        await self.mongo.whole(120)
        await self.restart_stuck()
        await self.nats.whole(PROVISIONER, 120)

    async def __aenter__(self) -> Self:
        """See `World`."""
        for front in self._fronts:
            await front.open()
        return await super().__aenter__()

    async def _stop(self) -> None:
        await super()._stop()
        for front in self._fronts:
            await front.close()

    async def _part_from_all(self, fault: Fault) -> str:
        """A member and the others hear nothing of each other, while clients reach them all.

        The target `primary` is the primary of now, which must be deposed. Returns who was no longer in touch.
        """
        async with self._one_at_a_time(fault.target):
            old = await self.mongo.primary() if fault.target == "primary" else None
            member = old.name if old else fault.target
            async with self._parted(member, fault, lambda: part(self.wires, member, self._others(member))):
                if old is None:
                    return f"out of touch: {await self._out_of_touch(member) or 'nobody yet'}"
                return f"{member} was deposed by {(await self.mongo.primary(but=old)).name}"

    async def _part_pair(self, fault: Fault) -> None:
        """Two members hear nothing of each other, while the third one is in touch with both."""
        one, other = fault.target.split(":")
        async with self._one_at_a_time(one), self._parted(one, fault, lambda: part(self.wires, one, [other])):
            pass

    async def _lose_one_way(self, fault: Fault) -> None:
        """What one member sends to another is lost, while what that one sends arrives."""
        one, other = fault.target.split(":")
        async with self._one_at_a_time(one), self._parted(one, fault, lambda: lose(self.wires, one, other)):
            pass

    @asynccontextmanager
    async def _parted(self, member: str, fault: Fault, begin: Callable[[], None]) -> AsyncIterator[None]:
        """Inside, the time of the fault is over, and its end has not yet come."""
        begin()
        try:
            await asyncio.sleep(fault.seconds)
            yield
        finally:
            reunite(self.wires, [member, *self._others(member)])

    async def _out_of_touch(self, member: str) -> str:
        """Which members are so, in the view of one of the others."""
        match self.supervisors[self._others(member)[0]].child:
            case MongoMember() as other:
                status = await other.ask("replSetGetStatus")
                return " ".join(self._mongods[one["_id"]] for one in status["members"] if not one["health"])
            case NatsMember() as other:
                return " ".join(await self.nats.out_of_touch(PROVISIONER, other))
        raise AssertionError

    async def _lose_unreplicated_writes(self, fault: Fault) -> None:
        async with self._one_at_a_time("mongod"):
            await self.mongo.hold_back()
            await asyncio.sleep(fault.seconds)
            await self.mongo.roll_back()

    async def _lag(self, fault: Fault) -> None:
        async with self._one_at_a_time("mongod"):
            await self.mongo.hold_back()
            await asyncio.sleep(fault.seconds)
            await self.mongo.let_go()

    async def _lose_disk(self, fault: Fault) -> None:
        """A member loses all it has while its cluster is whole, and gets it back: two lost disks are too many."""
        async with self._one_at_a_time(fault.target):
            child = self.supervisors[fault.target].child
            await child.kill()
            for lost in (child.folder / "data").iterdir():  # The folder itself may be a small disk.
                shutil.rmtree(lost) if lost.is_dir() else lost.unlink()

    @asynccontextmanager
    async def _one_at_a_time(self, member: str) -> AsyncIterator[None]:
        """A fault of a cluster begins once it is whole: of three members, it can do without one at a time."""
        cluster = "nats" if member in self._nats_members else "mongod"
        async with self._locks[cluster]:
            if cluster == "nats":
                await self.nats.whole(PROVISIONER)
            else:
                await self.mongo.in_touch()
            yield

    async def _move_leader(self, fault: Fault) -> None:
        client = await nats.connect(self.bus_url.split(","))
        try:
            await client.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{fault.target}", b"", timeout=20)
        finally:
            await client.close()

    def _make_servers(self) -> dict[str, Child]:
        servers = super()._make_servers()
        match servers["mongod"], servers["nats"]:
            case MongoServer(users=owners), NatsServer(users=users):
                self.mongo = self._make_mongo(owners)
                self.nats = NatsTrio(self.data_dir / "nats", users)
                self.wires |= wires_between(self.nats)
                for source in self._mongods:
                    self._lay_to_mongods(source)
        (self.data_dir / "mongo").mkdir(exist_ok=True, mode=0o700)
        (self.data_dir / "nats").mkdir(exist_ok=True, mode=0o700)
        for nats_server in self.nats.members:
            nats_server.most_bytes = ROOM
        self.mongo.share_key()
        members = {member.name: member for member in (*self.mongo.members, *self.nats.members)}
        others = ("redis", "provider-mongod", "provider")
        return {**members, **{name: servers[name] for name in others}}

    def _make_mongo(self, owners: Mapping[str, str] | None) -> MongoTrio:
        """Where nobody can tell whose a connection is, the members tell each other their own addresses."""
        ports = [free_port() for _ in range(3)]
        if sources_are_known():
            self._fronts = [Front(port, lambda: {child.name: child.pid for child in self.children}) for port in ports]
        else:
            self._fronts = []
            self.left_out["partitions of mongods"] = "only Linux shows whose a connection is"
        return MongoTrio(self.data_dir / "mongo", ports, owners, told=[front.port for front in self._fronts])

    def _env(self, service: Service) -> dict[str, str]:
        return {**super()._env(service), "NATS_REPLICAS": "3"}

    def _through_wire(self, source: str, server: str, url: str) -> str:
        match server:
            case "mongod":
                self._lay_to_mongods(source)
                return url
            case "nats":
                for member in self.nats.members:
                    url = self._lay(f"{source}:{member.name}", member.port, url)
                return url
        return super()._through_wire(source, server, url)

    def _lay_to_mongods(self, source: str) -> None:
        for member, front in zip(self.mongo.members, self._fronts, strict=False):
            self.wires[f"{source}:{member.name}"] = front.wires[source]

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
