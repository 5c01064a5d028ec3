"""Three nats-servers as one cluster, as in production, for the tests: streams have three replicas."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import nats
from nats.errors import Error as NatsError

from infra.servers.nats import NatsServer, NatsUser
from infra.servers.process import free_port
from infra.servers.server import write_private

_POLL_SECONDS = 0.1


class NatsMember(NatsServer):
    """A nats-server of a cluster. Clients learn only of the members that they are told of."""

    def __init__(self, folder: Path, port: int, users: Sequence[NatsUser], number: int, routes: Sequence[int]) -> None:
        """`routes` are the ports on which the members talk to each other; that of this one is `routes[number - 1]`."""
        super().__init__(folder, port, users)
        self.name = f"nats-{number}"
        self._route = routes[number - 1]
        self._routes = routes

    def command(self) -> Sequence[str | Path]:
        command = super().command()
        file = self.folder / "nats.conf"
        cluster = {
            "name": "souk",
            "listen": f"127.0.0.1:{self._route}",
            "routes": [f"nats://127.0.0.1:{route}" for route in self._routes],
            "no_advertise": True,
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
        """Wait until the members have elected a leader for JetStream. Raises `TimeoutError`."""
        client = await nats.connect(self.url_for(name).split(","), max_reconnect_attempts=-1)
        try:
            async with asyncio.timeout(limit):
                while not await _accepts(client.jetstream(timeout=1)):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECONDS)
        finally:
            await client.close()


async def _accepts(js: nats.js.JetStreamContext) -> bool:
    try:
        await js.account_info()
    except (NatsError, TimeoutError):
        return False
    return True
