"""Turns a mongod into a replica set of one member and creates its users.

On a laptop the stack calls this; on a cluster a sidecar of the mongod runs it. `python -m common.mongo.replica_set key`
writes a key file to KEY_FILE unless there is one. Without `key` it creates, on the mongod of this machine, the replica
set REPLICA_SET and the user MONGO_USER with MONGO_PASSWORD. Then it keeps port 8000 open until SIGTERM, as a sign for
readiness probes. The member is named by the machine's full name: a pod finds its own in /etc/hosts before DNS has it,
and mongod refuses a name that does not lead to itself.
"""

import asyncio
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

_NO_REPLICA_SET_YET = 94
_USER_EXISTS = 51003

_PORT = 27017
_PREPARED_PORT = 8000


def administrator(port: int, key: str | None) -> AsyncMongoClient[dict[str, Any]]:
    """A client that signs in as the server's internal user, whose password is the key file. Without `key`: no user."""
    login: dict[str, Any] = {} if key is None else {"username": "__system", "password": key, "authSource": "local"}
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        "127.0.0.1",
        port,
        directConnection=True,
        serverSelectionTimeoutMS=1000,
        serverMonitoringMode="poll",  # the streaming monitor leaks a socket when a client is closed so early
        **login,
    )
    return client


async def prepare(client: AsyncMongoClient[dict[str, Any]], name: str, member: str, users: Mapping[str, str]) -> bool:
    """Create what is missing of the replica set `name` with this one `member` and its `users` (name: password).

    Each user may use the database of the same name only. Returns True once all is done and the server accepts writes,
    False while it is not ready yet.
    """
    try:
        if not (await client.admin.command("hello"))["isWritablePrimary"]:
            await _configure(client, name, member)
            return False
        for user, password in users.items():
            await _grant(client, user, password)
    except ConnectionFailure:
        return False
    return True


async def _configure(client: AsyncMongoClient[dict[str, Any]], name: str, member: str) -> None:
    members = [{"_id": 0, "host": member}]
    try:
        config = (await client.admin.command("replSetGetConfig"))["config"]
    except OperationFailure as error:
        if error.code == _NO_REPLICA_SET_YET:
            await client.admin.command("replSetInitiate", {"_id": name, "members": members})
        return
    if config["members"][0]["host"] != member:
        changed = config | {"members": members, "version": config["version"] + 1}
        await client.admin.command("replSetReconfig", changed, force=True)


async def _grant(client: AsyncMongoClient[dict[str, Any]], name: str, password: str) -> None:
    rights: dict[str, Any] = {"pwd": password, "roles": [{"role": "readWrite", "db": name}]}
    try:
        await client[name].command("createUser", name, **rights)
    except OperationFailure as error:
        if error.code != _USER_EXISTS:
            raise
        await client[name].command("updateUser", name, **rights)


def new_key() -> str:
    """The text of a new key file."""
    return secrets.token_urlsafe(96).replace("_", "/").replace("-", "+")


async def _stay_prepared(key: str) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    users = {os.environ["MONGO_USER"]: os.environ["MONGO_PASSWORD"]}
    member = f"{socket.getfqdn()}:{_PORT}"
    async with administrator(_PORT, key) as client:
        while not await prepare(client, os.environ["REPLICA_SET"], member, users):  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    async with await asyncio.start_server(lambda _, writer: writer.close(), port=_PREPARED_PORT):
        await ended.wait()


def main() -> None:
    file = Path(os.environ["KEY_FILE"])
    if sys.argv[1:] != ["key"]:
        asyncio.run(_stay_prepared(file.read_text()))
    elif not file.exists():
        file.touch(mode=0o600)
        file.write_text(new_key())


if __name__ == "__main__":
    main()
