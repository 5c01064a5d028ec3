"""MongoDB without writes, for as long as its files are copied.

`fsyncLock` outlives the connection that asked for it: a backup that is killed would leave the database locked for
ever. So a process of its own holds the lock, and lets go as soon as the backup ends, however it ends.
"""

import asyncio
import select
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pymongo.errors import PyMongoError

from infra.local.backup.archive import NoBackup
from infra.local.stack.services import ROOT
from infra.servers.mongo import MongoServer

LONGEST_SECONDS = 60.0
"""Writes wait no longer than this. Services give up on a call after 10 seconds and try again, so nothing is lost."""

LOCK_SECONDS = 15.0
"""How long the lock may take to get: it waits for open transactions, which live 3 seconds at most."""

_FROZEN = b"frozen\n"


@asynccontextmanager
async def frozen(mongo: MongoServer) -> AsyncIterator[None]:
    """Nothing is written to MongoDB inside; reads go on. Raises `NoBackup` where that was not so until the end."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.local.backup.write_lock", str(mongo.folder), str(mongo.port)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for the backup: its end is what the holder hears of.
    )
    assert holder.stdin  # noqa: S101 - it is a pipe
    assert holder.stdout  # noqa: S101
    try:
        if await _says_frozen(holder.stdout):
            yield
    finally:
        holder.stdin.close()
        _, errors = await holder.communicate()
    if holder.returncode:
        raise NoBackup(f"MongoDB was not free of writes all the time: {errors.decode().strip()}")


async def _says_frozen(output: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(output.readline(), LOCK_SECONDS) == _FROZEN
    except TimeoutError:
        raise NoBackup(f"MongoDB could not be locked within {LOCK_SECONDS:.0f} s") from None


async def hold(mongo: MongoServer) -> None:
    """Lock MongoDB, say so, and unlock it when standard input ends. `TimeoutError` when that does not come in time."""
    async with mongo.administrator() as client:
        await client.admin.command("fsync", lock=True)
        try:
            sys.stdout.buffer.write(_FROZEN)
            sys.stdout.flush()
            ended, _, _ = await asyncio.to_thread(select.select, [sys.stdin], [], [], LONGEST_SECONDS)
        finally:
            await client.admin.command("fsyncUnlock")
    if not ended:
        raise TimeoutError(f"the copy took longer than {LONGEST_SECONDS:.0f} s, so writes were let through again")


def main() -> int:
    """Return the exit code: 0 where nothing was written from the lock to the end of the input."""
    folder, port = sys.argv[1:]
    try:
        asyncio.run(hold(MongoServer(Path(folder), int(port), users={})))
    except (PyMongoError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
