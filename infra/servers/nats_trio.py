"""Three nats-servers as one cluster, as in production, for the tests: streams have three replicas."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import nats
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StorageType, StreamInfo
from nats.js.errors import NotFoundError

from infra.servers.nats import NatsServer, NatsUser
from infra.servers.process import free_port
from infra.servers.server import write_private

_POLL_SECONDS = 0.1
_TRIAL = "TRIAL"
"""A stream that is made and deleted to see whether streams can be made."""

A = TypeVar("A")
T = TypeVar("T")
Ask = Callable[[], Awaitable[StreamInfo | ConsumerInfo]]


class NatsMember(NatsServer):
    """A nats-server of a cluster. Clients learn only of the members that they are told of."""

    told: int | None = None
    """The port that the others hear of as this member's, if it is not `route`."""

    def __init__(self, folder: Path, port: int, users: Sequence[NatsUser], number: int, routes: Sequence[int]) -> None:
        """`routes` are the ports on which the members talk to each other; that of this one is `routes[number - 1]`."""
        super().__init__(folder, port, users)
        self.name = f"nats-{number}"
        self.route = routes[number - 1]
        self.routes = {f"nats-{n}": route for n, route in enumerate(routes, 1) if n != number}
        """The ports at which this member calls the others, by their names."""

    def command(self) -> Sequence[str | Path]:
        command = super().command()
        file = self.folder / "nats.conf"
        cluster = {
            "name": "souk",
            "listen": f"127.0.0.1:{self.route}",
            "routes": [f"nats://127.0.0.1:{route}" for route in self.routes.values()],
            "no_advertise": True,
            **({"advertise": f"127.0.0.1:{self.told}"} if self.told else {}),
        }
        write_private(file, json.dumps({**json.loads(file.read_text()), "server_name": self.name, "cluster": cluster}))
        return command


class NatsTrio:
    """The cluster. `users` as for `NatsServer`."""

    def __init__(self, folder: Path, users: Sequence[NatsUser] = ()) -> None:
        routes = [free_port() for _ in range(3)]
        self.members = [NatsMember(folder / str(n), 0, users, n, routes) for n in (1, 2, 3)]

    @property
    def url(self) -> str:
        """The addresses of all members, without credentials."""
        return ",".join(member.url for member in self.members)

    def url_for(self, name: str) -> str:
        """The addresses of all members for a user, see `NatsServer.url_for`."""
        return ",".join(member.url_for(name) for member in self.members)

    async def start(self, name: str = "") -> None:
        """Return once JetStream accepts streams of three replicas; `name` is a user who may ask."""
        await asyncio.gather(*(member.start() for member in self.members))
        await self.settled(name)

    async def stop(self) -> None:
        """Kill every member: nothing is left to be kept."""
        await asyncio.gather(*(member.kill() for member in self.members))

    async def settled(self, name: str = "", limit: float = 60) -> None:
        """Wait until the members have found each other and elected a leader for JetStream. Raises `TimeoutError`."""
        async with self._jetstream(name) as js, asyncio.timeout(limit):
            await _until(_accepts, js)

    async def whole(self, name: str = "", limit: float = 60) -> None:
        """Wait until every member has had all of each stream and durable since the call. Raises `TimeoutError`."""
        async with self._jetstream(name) as js, asyncio.timeout(limit):
            for asked in await _until(_clusters, js):
                await _until(_is_whole, asked)

    async def out_of_touch(self, name: str, member: NatsMember) -> list[str]:
        """The members that no leader of a stream has heard of in the last ten seconds, in the view of this one."""
        client = await nats.connect(member.url_for(name))
        try:
            streams = await client.jetstream(timeout=10).streams_info()
        finally:
            await client.close()
        others = [one for stream in streams for one in (stream.cluster and stream.cluster.replicas) or []]
        current = {one.name for one in others if one.current and not one.offline}
        return sorted({one.name or "" for one in others if one.name not in current})

    @asynccontextmanager
    async def _jetstream(self, name: str) -> AsyncIterator[JetStreamContext]:
        client = await nats.connect(self.url_for(name).split(","), max_reconnect_attempts=-1)
        try:
            yield client.jetstream(timeout=1)
        finally:
            await client.close()


async def _until(check: Callable[[A], Awaitable[T]], about: A) -> T:
    """Check until there is an answer that is not empty, and return it."""
    while True:
        with contextlib.suppress(NatsError, TimeoutError):
            if answer := await check(about):
                return answer
        await asyncio.sleep(_POLL_SECONDS)


async def _accepts(js: JetStreamContext) -> bool:
    """Whether there is a leader who knows all three members."""
    await js.add_stream(name=_TRIAL, storage=StorageType.MEMORY, num_replicas=3)
    return await js.delete_stream(_TRIAL)


async def _clusters(js: JetStreamContext) -> list[Ask]:
    """What asks for the state of each stream and each durable."""
    asks: list[Ask] = []
    for stream in await js.streams_info():
        name = stream.config.name or ""
        asks.append(functools.partial(js.stream_info, name))
        durables = [one.name for one in await js.consumers_info(name) if one.config.durable_name]
        asks += [functools.partial(js.consumer_info, name, durable) for durable in durables]
    return asks


async def _is_whole(ask: Ask) -> bool:
    try:
        cluster = (await ask()).cluster
    except NotFoundError:
        return True  # It is not there any more.
    others = (cluster.replicas if cluster else None) or []
    return len(others) == 2 and all(one.current and not one.offline and not one.lag for one in others)
