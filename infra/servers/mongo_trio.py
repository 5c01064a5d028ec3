"""Three mongods as one replica set, as in production, for the tests: members are killed, paused and kept behind."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bson import Timestamp
from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from common.mongo.replica_set import new_key, prepare
from infra.servers.mongo import MongoServer
from infra.servers.process import StartFailed
from infra.servers.server import connection, write_private

_POLL_SECONDS = 0.05
_NOT_INITIALIZED = 94


class MongoMember(MongoServer):
    """A mongod that counts as started once it answers, whether it is primary, secondary or neither yet."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "--setParameter=enableTestCommands=1"]

    async def answers(self) -> bool:
        async with connection(self.port):
            return True

    async def ask(self, command: str, **options: Any) -> dict[str, Any]:
        """The answer of this member, whatever its state, to a command on `admin`."""
        async with self.administrator() as client:
            return await client.admin.command(command, **options)


class MongoTrio:
    """The replica set. `users` as for `MongoServer`. A new primary is elected after `election_seconds`."""

    def __init__(
        self,
        folder: Path,
        ports: Sequence[int] = (0, 0, 0),
        users: Mapping[str, str] | None = None,
        election_seconds: float = 2.0,
        told: Sequence[int] = (),
    ) -> None:
        """`told` are the ports at which the members and their clients reach each member, if they are not its own."""
        self.members = [MongoMember(folder / str(n), port, users) for n, port in enumerate(ports, 1)]
        for number, member in enumerate(self.members, 1):
            member.name = f"mongod-{number}"
        self._folder = folder
        self._users = users
        self._told = told or [member.port for member in self.members]
        self._election_seconds = election_seconds
        self._held_back = set[MongoMember]()

    @property
    def url(self) -> str:
        """The address without credentials, see `MongoServer.url`."""
        return f"mongodb://{self._hosts}/?replicaSet=rs0"

    def url_for(self, name: str) -> str:
        """The address of the database `name`, see `MongoServer.url_for`."""
        [first, *_] = self.members
        return first.url_for(name).replace(f"127.0.0.1:{first.port}", self._hosts)

    @property
    def _hosts(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port in self._told)

    async def start(self, limit: float = 60) -> None:
        """Return once there is a primary with the users, and two secondaries. Raises `StartFailed`."""
        self.share_key()
        try:
            await asyncio.gather(*(member.start(limit) for member in self.members))
            await self.initiate(limit)
        except TimeoutError:
            await self.stop()
            raise StartFailed(f"no replica set:\n{self.members[0].last_lines()}") from None
        except BaseException:
            await self.stop()
            raise

    async def initiate(self, limit: float = 60) -> None:
        """Make running members a replica set with its users, unless they are. Raises `TimeoutError`."""
        async with asyncio.timeout(limit):
            await self._initiate()
            await self._grant()
        await self.whole(limit)

    async def stop(self) -> None:
        """Kill every member: nothing is left to be kept."""
        await asyncio.gather(*(member.kill() for member in self.members))

    async def primary(self, limit: float = 60, but: MongoMember | None = None) -> MongoMember:
        """The member that accepts writes, `but` this one. Waits for an election. Raises `TimeoutError`."""
        async for _ in _looks(limit):
            for member in self.members:
                if member is not but and await _is(member, "isWritablePrimary"):
                    return member
        raise TimeoutError("there is no primary")

    async def secondaries(self) -> list[MongoMember]:
        """The members other than the primary."""
        primary = await self.primary()
        return [member for member in self.members if member is not primary]

    async def roll_back(self) -> MongoMember:
        """Pause the primary until another one is elected, then kill it and return it.

        When it is started again, it undoes what it alone had. Raises `TimeoutError` without an election.
        """
        old = await self.primary()
        old.send(signal.SIGSTOP)
        try:
            await self.let_go(but=old)
            await self.primary(but=old)
        finally:
            await old.kill()
        return old

    async def fail_over(self) -> MongoMember:
        """Kill the primary and return it, once another one is elected: what it alone had is lost."""
        killed = await self.primary()
        await killed.kill()
        await self.let_go()
        await self.primary()
        return killed

    async def step_down(self) -> None:
        """Make the primary a secondary; another one is elected."""
        primary = await self.primary()
        with contextlib.suppress(PyMongoError):  # It refuses while the others lag; connections break otherwise.
            await primary.ask("replSetStepDown", value=5, secondaryCatchUpPeriodSecs=1, force=True)

    async def hold_back(self) -> None:
        """Let the secondaries copy nothing more, while they stay in touch with the primary, which stays primary.

        What is written then is known to the primary alone. Raises `ConnectionFailure` if a secondary is away, and then
        holds none back.
        """
        try:
            for member in await self.secondaries():
                self._held_back.add(member)
                await _fail_point(member, "alwaysOn")
        except ConnectionFailure:
            await self.let_go()
            raise

    async def let_go(self, but: MongoMember | None = None) -> None:
        """End `hold_back` on every member that answers, `but` this one. `whole` and `in_touch` end it on the others."""
        for member in self._held_back - {but}:
            with contextlib.suppress(ConnectionFailure):
                if member.pid is not None:  # One that starts begins without it.
                    await _fail_point(member, "off")
                self._held_back.discard(member)

    async def heal(self, limit: float = 60) -> None:
        """End every fault; return once there is a primary, and the secondaries have all that it has."""
        for member in self.members:
            member.send(signal.SIGCONT)
            if member.pid is None:
                await member.start(limit)
        await self.whole(limit)

    async def whole(self, limit: float = 60) -> None:
        """Wait for a primary that nobody writes to, and two secondaries that have all that it has.

        Nobody is held back any more. Raises `TimeoutError`.
        """
        async for _ in _looks(limit):
            await self.let_go()
            if (optimes := _optimes_of(await self._status())) and optimes[0] == optimes[-1]:
                return
        raise TimeoutError("the replica set is not whole")

    async def in_touch(self, limit: float = 60) -> None:
        """Wait for a primary and two secondaries that have what the majority had a moment ago, see `whole`."""
        committed = None
        async for _ in _looks(limit):
            await self.let_go()
            status = await self._status()
            if optimes := _optimes_of(status):
                if committed is not None and optimes[0] >= committed:
                    return
                committed = committed or status["optimes"]["lastCommittedOpTime"]["ts"]
        raise TimeoutError("a member of the replica set is not in touch with the others")

    async def _status(self) -> dict[str, Any]:
        """What the primary knows of all members; nothing while there is none."""
        with contextlib.suppress(ConnectionFailure, OperationFailure):
            return await (await self.primary()).ask("replSetGetStatus")
        return {}

    def share_key(self) -> None:
        """Give every member the same key file, before they start."""
        if self._users is not None:
            key = new_key()
            for member in self.members:
                member.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                if (file := member.folder / "keyfile").exists():
                    key = file.read_text()
                write_private(file, key)

    async def _initiate(self) -> None:
        [first, *_] = self.members
        members = [{"_id": n, "host": f"127.0.0.1:{port}"} for n, port in enumerate(self._told)]
        settings = {"electionTimeoutMillis": int(self._election_seconds * 1000), "heartbeatIntervalMillis": 500}
        async with first.administrator() as client:
            try:
                await client.admin.command("replSetGetConfig")
            except OperationFailure as error:
                if error.code != _NOT_INITIALIZED:
                    raise
                await client.admin.command("replSetInitiate", {"_id": "rs0", "members": members, "settings": settings})

    async def _grant(self) -> None:
        async with (await self.primary()).administrator() as client:
            while not await prepare(client, "rs0", "", self._users or {}):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)


async def _looks(limit: float) -> AsyncIterator[None]:
    """Looks, for `limit` seconds. Not `asyncio.timeout`: on Python 3.11 pymongo may swallow its cancellation."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        yield
        await asyncio.sleep(_POLL_SECONDS)


def _optimes_of(status: Mapping[str, Any]) -> list[Timestamp]:
    """Up to where each of a primary and two secondaries is, from the last to the first. Nothing if there are others."""
    members = status.get("members", ())
    if sorted(member["stateStr"] for member in members) != ["PRIMARY", "SECONDARY", "SECONDARY"]:
        return []
    return sorted(member["optime"]["ts"] for member in members)


async def _is(member: MongoMember, flag: str) -> bool:
    if member.pid is None:
        return False
    try:
        return bool((await member.ask("hello"))[flag])
    except ConnectionFailure:
        return False


async def _fail_point(member: MongoMember, mode: str) -> None:
    await member.ask("configureFailPoint", value="stopReplProducer", mode=mode)
