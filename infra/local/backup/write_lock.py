"""A lock on all writes to MongoDB while a backup fixes its moment.

`fsyncLock` outlives the connection that asked for it: a backup that is killed would leave the database locked
forever. So a separate process holds the lock, and releases it as soon as the backup ends, however it ends.
"""

import asyncio
import contextlib
import json
import select
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infra.local.backup.archive import NoBackup
from infra.servers.mongo import MongoServer
from infra.services import ROOT

LONGEST_SECONDS = 60.0
"""The longest that writes wait. A service's call times out after 10 seconds and is tried again: nothing is lost."""

LOCK_SECONDS = 15.0
"""How long taking the lock may last: it waits for open transactions, which live 3 seconds at most."""

_LOCKED = b"locked\n"

_NOT_LOCKED = (None, 20)
"""Codes of the answer that nothing was locked: MongoDB 6.0 gives none, others say IllegalOperation."""

Client = AsyncMongoClient[dict[str, Any]]


class _NotLocked(PyMongoError):
    """Nothing was locked."""


@asynccontextmanager
async def writes_locked(mongo: MongoServer | Sequence[str]) -> AsyncIterator[None]:
    """Lock writes to a server, or to all servers at these URLs, each named once; reads go on.

    Raises `NoBackup` if a lock was lost before the end. The URLs need a user that may `fsync` and `unlock`.
    """
    where = {"folder": str(mongo.folder), "port": mongo.port} if isinstance(mongo, MongoServer) else {"urls": [*mongo]}
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.local.backup.write_lock"),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the backup only; the holder reads the end of its input.
    )
    assert holder.stdin  # noqa: S101 - it is a pipe
    assert holder.stdout  # noqa: S101
    holder.stdin.write(json.dumps(where).encode() + b"\n")  # not an argument: everybody can read those
    try:
        if await _says_locked(holder.stdout):
            yield
    finally:
        holder.stdin.close()
        _, errors = await holder.communicate()
    if holder.returncode:
        raise NoBackup(f"MongoDB was not locked all the time: {errors.decode().strip()}")


async def _says_locked(output: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(output.readline(), LOCK_SECONDS) == _LOCKED
    except TimeoutError:
        raise NoBackup(f"MongoDB could not be locked within {LOCK_SECONDS:.0f} s") from None


async def hold(clients: Sequence[Client]) -> None:
    """Lock them all, print that, and unlock them when standard input ends. `TimeoutError` after `LONGEST_SECONDS`."""
    for client in clients:
        await _release(client)
    asked = (client.admin.command("fsync", lock=True) for client in clients)
    locked = await asyncio.gather(*asked, return_exceptions=True)
    try:
        for failed in (result for result in locked if isinstance(result, BaseException)):
            raise failed
        sys.stdout.buffer.write(_LOCKED)
        sys.stdout.flush()
        ended, _, _ = await asyncio.to_thread(select.select, [sys.stdin], [], [], LONGEST_SECONDS)
    finally:
        held = [client for client, result in zip(clients, locked, strict=True) if not isinstance(result, BaseException)]
        unlocked = await asyncio.gather(*(_unlock(client) for client in held), return_exceptions=True)
    for lost in (result for result in unlocked if isinstance(result, BaseException)):
        raise lost
    if not ended:
        raise TimeoutError(f"the copy took longer than {LONGEST_SECONDS:.0f} s, so writes were allowed again")


async def _release(client: Client) -> None:
    """Unlock what a backup left locked because its whole machine was lost."""
    with contextlib.suppress(_NotLocked):
        while True:
            await _unlock(client)


async def _unlock(client: Client) -> None:
    try:
        await client.admin.command("fsyncUnlock")
    except OperationFailure as error:
        if error.code in _NOT_LOCKED:
            raise _NotLocked(str(error)) from error
        raise


async def hold_there(where: dict[str, Any]) -> None:
    """Do `hold` with the servers of a message of `writes_locked`."""
    async with AsyncExitStack() as exits:
        if "urls" in where:
            clients: list[Client] = [AsyncMongoClient(url, serverSelectionTimeoutMS=5_000) for url in where["urls"]]
        else:
            clients = [MongoServer(Path(where["folder"]), where["port"], users={}).administrator()]
        for client in clients:
            await exits.enter_async_context(client)
        await hold(clients)


def main() -> int:
    """Return the exit code: 0 if nothing was written from the lock to the end of the input."""
    try:
        asyncio.run(hold_there(json.loads(sys.stdin.readline())))
    except (PyMongoError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
