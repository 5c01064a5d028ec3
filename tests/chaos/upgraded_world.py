"""A world that runs an older revision at first, and goes over to this one replica by replica while people trade."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import yaml

from common.bus.provision import provision, read_table
from infra.bus import PROVISIONER, TABLE, durables
from infra.local.stack.gateway import Gateway, dynamic_config, static_config
from infra.local.stack.program import Program
from infra.services import NAMES, ROOT, service_command
from tests.chaos.plan import Fault
from tests.chaos.world import World
from tests.support.revision import commands_of
from tests.support.waiting import eventually

READERS_FIRST = ("audit", "web", "expiration", "orders", "payments")
"""The order of an upgrade (docs/upgrades.md). The other services go first."""

LAST = ("auth",)
"""Its events have no names any more, which older readers need: it goes when there are none (decisions/privacy.md)."""

DRAIN = 2.5
"""Seconds from taking a replica out of the gateway to SIGTERM; on a cluster these are five."""

KILLS = ("orders", "orders-2", "payments", "payments-2")
"""Killed while the first replica of each service is of this revision, and the second of the older one."""


class ReloadedGateway(Gateway):
    """A gateway that reads its routes again when they change, as an ingress controller does."""

    def command(self) -> list[str | Path]:
        """See `Child`."""
        command = [*super().command()]
        config = static_config(self.port, self.folder / "routes.yaml")
        config["providers"]["file"]["watch"] = True
        config["providers"]["providersThrottleDuration"] = "100ms"
        (self.folder / "traefik.yaml").write_text(yaml.safe_dump(config))
        return command

    def leave_out(self, port: int | None) -> None:
        """Send no more requests to the replica at this port; None: to all again."""
        ports = {name: [one for one in all_of if one != port] for name, all_of in self.ports.items()}
        fresh = self.folder / "routes.yaml.new"
        fresh.write_text(yaml.safe_dump(dynamic_config(self.routes, ports, self.away.start())))
        fresh.replace(self.folder / "routes.yaml")


class UpgradedWorld(World):
    """Servers and the step that provisions the bus are of this revision; services of the one in `older` at first."""

    hears_of_parts = False

    def __init__(self, folder: Path, older: Path, *, hold_seconds: int) -> None:
        self._older = older
        super().__init__(folder, hold_seconds=hold_seconds, commands=commands_of(older), say=self._note)
        self.lines: list[str] = []
        """What services said at the level of errors."""
        self.kills: list[float] = []
        """When replicas were killed, in Unix seconds."""

    def _note(self, name: str, line: str) -> None:
        if "Traceback" in line or '"ERROR"' in line:
            self.lines.append(f"{name}: {line}")

    def more_faults(self) -> Mapping[str, Callable[[Fault], Awaitable[object]]]:
        """See `World`: the whole upgrade counts as one fault."""
        return {"upgrade": self._upgrade}

    async def _upgrade(self, _: Fault) -> int:
        others = tuple(name for name in NAMES if name not in (*READERS_FIRST, *LAST))
        order = (*others, *READERS_FIRST)
        for name in order:
            await self._replace(name)
        for name in KILLS:
            self.kills.append(time.time())
            await self.kill(name)
            await self.ready()
        for name in order:
            await self._replace(f"{name}-2")
        for name in LAST:
            await self._replace(name)
            await self._replace(f"{name}-2")
        return 2 * len((*order, *LAST))

    async def _replace(self, name: str) -> None:
        """Replace a replica as a cluster does: out of the gateway, SIGTERM, the new one, back into the gateway."""
        supervisor = self.supervisors[name]
        child, gateway = supervisor.child, self.gateway
        assert isinstance(child, Program)
        assert isinstance(gateway, ReloadedGateway)
        gateway.leave_out(child.port)
        await asyncio.sleep(DRAIN)
        before = child.pid
        child._command = service_command(name.removesuffix("-2"))
        await child.stop(15)

        async def replaced() -> bool:
            return child.pid != before and await supervisor.answers()

        await eventually(replaced, 60, f"the new {name}: {child.last_lines()}")
        gateway.leave_out(None)

    async def _provision(self) -> None:
        """What the older revision had made is there already when this one's step runs."""
        older = read_table((self._older / TABLE.relative_to(ROOT)).read_text())
        await provision(self.nats_url(PROVISIONER), older, self.stream_copies)
        await provision(self.nats_url(PROVISIONER), durables(), self.stream_copies)

    def _make_gateway(self) -> Gateway:
        gateway = super()._make_gateway()
        return ReloadedGateway(gateway.folder, gateway.port, gateway.routes, gateway.ports, self._say)
