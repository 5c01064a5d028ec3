"""The stack for chaos runs: two replicas of each service, and a proxy in every connection to a server."""

import asyncio
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from infra.bus import PROVISIONER
from infra.local.stack.program import Program, Say
from infra.local.stack.stack import DRAIN_SECONDS, Stack
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import Child, free_port
from infra.services import SERVICES, Service
from tests.chaos.clocks import Clock, library, until_off
from tests.chaos.disks import SmallDisk, may_mount, no_longer_stores, until_noticed
from tests.chaos.plan import CLOCK_STEPS, KINDS, Fault, Kind
from tests.chaos.proxy import Proxy, Wire

URLS = {"MONGO_URL": "mongod", "NATS_URL": "nats", "REDIS_URL": "redis", "SANDBOX_URL": "provider"}

FRONT, WEBHOOKS = "people:gateway", "provider:gateway"

ROOM = 64 * 1024 * 1024
"""Bytes that the bus may store: a limit that a fault reaches on purpose."""

RAISED = {"WRITES_PER_MINUTE": "1000000", "TOTAL_HOLD_LIMIT": "1000000", "HOLD_PAUSE_SECONDS": "0"}
"""A few people do what a whole market does; the limits of one person have tests of their own."""

RETURN_SECONDS = 60.0
"""How long a process may take to be back after it was stopped."""


class World(Stack):
    """A stack with proxies, and a provider with a disk of its own.

    `wires` are named `orders-2:mongod`; `people:gateway` and `provider:gateway` are in front of the gateway.
    """

    hears_of_parts = True
    """Whether its payments know of refunds of a part of the money."""

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        hold_seconds: int,
        replicas: Mapping[str, int] | None = None,
        commands: Mapping[str, Sequence[str]] | None = None,
        env: Mapping[str, Mapping[str, str]] | None = None,
        small_disks: bool = False,
        own_clocks: bool = False,
        say: Say = print,
    ) -> None:
        """`replicas` by service as for a `Stack`, but two of each by default.

        With `small_disks`, which root may mount, disks are filled up. With `own_clocks`, clocks of services are set
        wrong: each of them is then started by a Python of its own, which takes three times as long.
        """
        self.wires: dict[str, Wire] = {}
        self.clocks: dict[str, Clock] = {}
        self._own_clocks = own_clocks
        self.left_out = {}
        if not own_clocks or library() is None:
            why = "there is no libfaketime here" if own_clocks else "the clocks of services are that of the machine"
            self.left_out = dict.fromkeys(CLOCK_STEPS, why)
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
        self._front = self.wires[FRONT] = Proxy(self._gateway_port)
        self.disks: dict[str, SmallDisk] = {}
        if small_disks and may_mount():
            self.disks = {
                name: SmallDisk(server.folder / "data", self.disk_sizes[name.partition("-")[0]])
                for name, server in self.servers.items()
                if name.partition("-")[0] in self.disk_sizes
            }
        if not self.disks:
            self.left_out["full disk"] = "only root may mount a small disk" if small_disks else "the disks are large"

    disk_sizes: Mapping[str, int] = {"nats": 160, "mongod": 768}
    """Megabytes of the disks that a fault fills, by kind of server."""

    @property
    def front(self) -> str:
        """The address for people."""
        return f"http://127.0.0.1:{self._front.port}"

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

    left_out: dict[str, str]
    """Why the faults of a kind are not possible on this machine."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of faults that a run may cause."""
        return {name: kind for name, kind in self._all_kinds().items() if name not in self.left_out}

    def _all_kinds(self) -> Mapping[str, Kind]:
        return KINDS

    def more_faults(self) -> Mapping[str, Callable[[Fault], Awaitable[object]]]:
        """What causes the kinds of faults that concern the whole world, or only this kind of world."""
        return {
            **dict.fromkeys(CLOCK_STEPS, self._set_clock_wrong),
            "rolling restart": lambda _: self._restart_all(),
            "bus outage": self._bus_outage,
            "full disk": self._fill_disk,
        }

    async def _fill_disk(self, fault: Fault) -> None:
        """Fill the disk of a server until it complains; then make room and start it again, as an operator does.

        Once it could not write, nats-server refuses every message of that stream until it is started again.
        """
        disk, server = self.disks[fault.target], self.supervisors[fault.target].child
        try:
            disk.fill()
            await until_noticed(server)
            await asyncio.sleep(fault.seconds)
        finally:
            disk.make_room()
            await server.stop()

    async def restart_stuck(self) -> None:
        """Start each nats-server again, one after the other, that no longer stores a stream, as an operator does.

        A member that was catching up when the bus was full never tries that again, also when there is room: its copy
        stays as it is, and durables that it leads deliver nothing that is not in it (see operations.md).
        """
        for supervisor in self.supervisors.values():
            match supervisor.child:
                case NatsServer() as server if no_longer_stores(server):
                    before = server.pid
                    await server.stop()
                    async with asyncio.timeout(RETURN_SECONDS):
                        await self._is_back(server, before)

    async def _set_clock_wrong(self, fault: Fault) -> None:
        """Set the clock of a process ahead or behind at one step, and later right at another."""
        clock, child = self.clocks[fault.target], self.supervisors[fault.target].child
        try:
            clock.set(CLOCK_STEPS[fault.kind])
            await until_off(child, CLOCK_STEPS[fault.kind])
            await asyncio.sleep(fault.seconds)
        finally:
            clock.set(0)

    async def _restart_all(self) -> int:
        """Stop every process of the services as a rollout does, each once the one before it is back."""
        for program in self.services:
            before = program.pid
            await program.stop(DRAIN_SECONDS)
            async with asyncio.timeout(RETURN_SECONDS):
                await self._is_back(program, before)
        return len(self.services)

    async def _is_back(self, child: Child, before: int | None) -> None:
        while child.pid in (None, before) or not await self.supervisors[child.name].answers():  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _bus_outage(self, fault: Fault) -> None:
        """No service reaches the bus. First its answers are lost: it has stored what nobody knows that it has."""
        services = {program.name for program in self.services}
        ends = {name: name.split(":") for name in self.wires}
        wires = [self.wires[name] for name, [source, to] in ends.items() if source in services and "nats" in to]
        for wire in wires:
            wire.hold_answers()
        await asyncio.sleep(1)
        for wire in wires:
            wire.cut()
        await asyncio.sleep(fault.seconds)
        for wire in wires:
            wire.heal()

    async def heal(self) -> None:
        """End every fault of connections and processes, and wait until everything answers."""
        for wire in self.wires.values():
            wire.heal()
        for child in self.children:
            child.send(signal.SIGCONT)
        for clock in self.clocks.values():
            clock.set(0)
        for disk in self.disks.values():
            disk.make_room()
        await self.ready(120)

    async def __aenter__(self) -> Self:
        """Start the proxies and the stack."""
        for wire in self.wires.values():
            await wire.open()
        for disk in self.disks.values():
            await disk.mount()
        return await super().__aenter__()

    async def _stop(self) -> None:
        await super()._stop()
        for disk in self.disks.values():
            await disk.unmount()
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
        webhooks = self.wires[WEBHOOKS] = Proxy(self._gateway_port)
        env = {
            "MONGO_URL": disk.url_for("provider"),
            "WEBHOOK_SECRET": self.keys.password("webhook"),
            "WEBHOOK_URL": f"http://127.0.0.1:{webhooks.port}/api/payments/webhook",
            "HOST": "127.0.0.1",
            "PORT": str(port),
        }
        command = [sys.executable, "-m", "tests.support.provider"]
        provider = Program("provider", self.data_dir / "provider", port, command, env, self._say)
        return {disk.name: disk, provider.name: provider}

    def _make_service(self, service: Service, replica: int) -> Program:
        program = super()._make_service(service, replica)
        if self._own_clocks:
            clock = self.clocks[program.name] = Clock(program.folder)
            program.env |= clock.environment()
        for variable, server in URLS.items():
            if variable in program.env:
                program.env[variable] = self._through_wire(program.name, server, program.env[variable])
        return program

    def _env(self, service: Service) -> dict[str, str]:
        env = {**RAISED, **super()._env(service)}
        if service.name == "payments":
            env["SANDBOX_URL"] = self.provider_url
        return env

    def _through_wire(self, source: str, server: str, url: str) -> str:
        # A client that knows the replica set would find the server behind the proxy.
        url = url.replace("replicaSet=rs0", "directConnection=true")
        return self._lay(f"{source}:{server}", self.servers[server].port, url)

    def _lay(self, name: str, port: int, url: str) -> str:
        """Lay the wire of this name to a port, and return the URL with the port of the wire."""
        wire = self.wires[name] = Proxy(port)
        return re.sub(rf":{port}\b", f":{wire.port}", url)
