"""The stack for chaos runs: two replicas of each service, and a proxy in every connection to a server."""

import re
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from infra.bus import PROVISIONER
from infra.local.stack.program import Program, Say
from infra.local.stack.stack import Stack
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import Child, free_port
from infra.services import SERVICES, Service
from tests.chaos.plan import KINDS, Fault, Kind
from tests.chaos.proxy import Proxy

URLS = {"MONGO_URL": "mongod", "NATS_URL": "nats", "REDIS_URL": "redis", "SANDBOX_URL": "provider"}

FRONT, WEBHOOKS = "people:gateway", "provider:gateway"

ROOM = 64 * 1024 * 1024
"""Bytes that the bus may store: a limit that a fault reaches on purpose."""


class World(Stack):
    """A stack with proxies, and a provider with a disk of its own.

    `wires` are named `orders:mongod`; `people:gateway` and `provider:gateway` are in front of the gateway.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        hold_seconds: int,
        replicas: Mapping[str, int] | None = None,
        commands: Mapping[str, Sequence[str]] | None = None,
        env: Mapping[str, Mapping[str, str]] | None = None,
        say: Say = print,
    ) -> None:
        """`replicas` by service as for a `Stack`, but two of each by default."""
        self.wires: dict[str, Proxy] = {}
        super().__init__(
            data_dir,
            port,
            hold_seconds=hold_seconds,
            log_level="WARNING",
            replicas=dict.fromkeys((service.name for service in SERVICES), 2) if replicas is None else replicas,
            commands=commands,
            env=env,
            say=say,
        )
        self.wires[FRONT] = Proxy(self._gateway_port)

    @property
    def front(self) -> str:
        """The address for people."""
        return f"http://127.0.0.1:{self.wires[FRONT].port}"

    @property
    def provider_url(self) -> str:
        """The address of the provider without a proxy, as its own people reach it."""
        return f"http://127.0.0.1:{self.servers['provider'].port}"

    @property
    def ledger_url(self) -> str:
        """The address of the provider's database."""
        match self.servers["provider-mongod"]:
            case MongoServer() as disk:
                return disk.url_for("provider")
        raise AssertionError

    @property
    def bus_url(self) -> str:
        """The address of the bus without a proxy, for a user who may do everything, as faults do."""
        return self.nats_url(PROVISIONER)

    kinds: Mapping[str, Kind] = KINDS
    """The kinds of faults that a run may cause."""

    def more_faults(self) -> Mapping[str, Callable[[Fault], Awaitable[object]]]:
        """What causes the kinds of faults that only this world has."""
        return {}

    async def heal(self) -> None:
        """End every fault of connections and processes, and wait until everything answers."""
        for wire in self.wires.values():
            wire.heal()
        for child in self.children:
            child.send(signal.SIGCONT)
        await self.ready(120)

    async def __aenter__(self) -> Self:
        """Start the proxies and the stack."""
        for wire in self.wires.values():
            await wire.open()
        return await super().__aenter__()

    async def _stop(self) -> None:
        await super()._stop()
        for wire in self.wires.values():
            await wire.close()

    def _make_servers(self) -> dict[str, Child]:
        servers = super()._make_servers()
        match servers["nats"]:
            case NatsServer() as nats:
                nats.most_bytes = ROOM
        return {**servers, **self._make_provider()}

    def _make_provider(self) -> dict[str, Child]:
        disk = MongoServer(self.data_dir / "provider-mongod")
        disk.name = "provider-mongod"
        port = free_port()
        self.wires[WEBHOOKS] = Proxy(self._gateway_port)
        env = {
            "MONGO_URL": disk.url_for("provider"),
            "WEBHOOK_SECRET": self.keys.password("webhook"),
            "WEBHOOK_URL": f"http://127.0.0.1:{self.wires[WEBHOOKS].port}/api/payments/webhook",
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        command = [sys.executable, "-m", "tests.support.provider"]
        provider = Program("provider", self.data_dir / "provider", port, command, env, self._say)
        return {disk.name: disk, provider.name: provider}

    def _env(self, service: Service) -> dict[str, str]:
        env = super()._env(service)
        if service.name == "payments":
            env["SANDBOX_URL"] = self.provider_url
        for variable, server in URLS.items():
            if variable in env:
                env[variable] = self._through_proxy(service.name, server, env[variable])
        return env

    def _through_proxy(self, service: str, server: str, url: str) -> str:
        port = self.servers[server].port
        wire = self.wires.setdefault(f"{service}:{server}", Proxy(port))
        # A client that knows the replica set would find the server behind the proxy.
        return re.sub(rf":{port}\b", f":{wire.port}", url).replace("replicaSet=rs0", "directConnection=true")
