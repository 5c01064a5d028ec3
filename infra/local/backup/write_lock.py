"""A lock on all writes to MongoDB while its files are copied.

`fsyncLock` outlives the connection that asked for it: a backup that is killed would leave the database locked
forever. So a separate process holds the lock, and releases it as soon as the backup ends, however it ends.
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
from infra.servers.mongo import MongoServer
from infra.services import ROOT

LONGEST_SECONDS = 60.0
"""The longest that writes wait. A service's call times out after 10 seconds and is tried again: nothing is lost."""

LOCK_SECONDS = 15.0
"""How long taking the lock may last: it waits for open transactions, which live 3 seconds at most."""

_LOCKED = b"locked\n"


@asynccontextmanager
async def writes_locked(mongo: MongoServer) -> AsyncIterator[None]:
    """Lock writes to MongoDB; reads go on. Raises `NoBackup` if the lock was lost before the end."""
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.local.backup.write_lock", str(mongo.folder), str(mongo.port)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches the backup only; the holder reads the end of its input.
    )
    assert holder.stdin  # noqa: S101 - it is a pipe
    assert holder.stdout  # noqa: S101
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


async def hold(mongo: MongoServer) -> None:
    """Lock MongoDB, print that, and unlock it when standard input ends. `TimeoutError` after `LONGEST_SECONDS`."""
    async with mongo.administrator() as client:
        await client.admin.command("fsync", lock=True)
        try:
            sys.stdout.buffer.write(_LOCKED)
            sys.stdout.flush()
            ended, _, _ = await asyncio.to_thread(select.select, [sys.stdin], [], [], LONGEST_SECONDS)
        finally:
            await client.admin.command("fsyncUnlock")
    if not ended:
        raise TimeoutError(f"the copy took longer than {LONGEST_SECONDS:.0f} s, so writes were allowed again")


def main() -> int:
    """Return the exit code: 0 if nothing was written from the lock to the end of the input."""
    folder, port = sys.argv[1:]
    try:
        asyncio.run(hold(MongoServer(Path(folder), int(port), users={})))
    except (PyMongoError, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
