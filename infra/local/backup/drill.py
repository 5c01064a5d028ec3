"""`python -m infra.local.backup.drill`: restore a backup into empty servers, run Souk on them, and check its books.

The servers are those that MONGO_URL, NATS_URL and REDIS_URL name. Nothing leaves: mails end in the mailbox of a laptop,
and payments are the sandbox's.
"""

import asyncio
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from nats.errors import Error as NatsError
from pymongo.errors import OperationFailure, PyMongoError

from common.mongo.replica_set import administrator, prepare
from infra.local.backup.archive import Manifest, NoBackup, Say
from infra.local.backup.create import tell
from infra.local.backup.remote import fetched
from infra.local.backup.restore import RestoreEnv, load_databases
from infra.local.backup.stream_snapshots import connected_to, load_streams
from infra.local.commands.running import run_as
from infra.local.env import Unusable, read
from infra.local.stack.servers import with_database
from infra.local.stack.stack import Stack
from infra.servers.process import MissingBinary, StartFailed

GRACE = 120
"""Seconds that the books may differ: what was on its way at the moment of the backup goes on now."""

PREPARE_SECONDS = 60.0


async def drill(source: Path, data_dir: Path, servers: dict[str, str], say: Say, grace: int = GRACE) -> int:
    """Return the exit code of the reconciliation of what was restored: 0 if the books balance. Raises `NoBackup`."""
    manifest = await asyncio.to_thread(Manifest.of, source)
    if not manifest.databases:
        raise NoBackup("the backup has the files of a server, not documents: restore it with `make restore`")
    try:
        await _prepare(servers["mongod"])
        await load_databases(manifest, source, lambda name: with_database(servers["mongod"], name), say)
        async with connected_to(servers["nats"]) as client:
            await load_streams(client, source / "streams", manifest.streams, say)
    except (PyMongoError, NatsError, TimeoutError) as error:
        raise NoBackup(f"the servers refused the backup: {error or type(error).__name__}") from error
    async with Stack(data_dir, servers=servers, say=lambda _, __: None) as stack:
        say("Souk runs on what was restored")
        return await asyncio.to_thread(run_as, "audit", "audit.reconcile", stack=stack, GRACE=str(grace))


async def _prepare(url: str) -> None:
    """Make a replica set of one of a new mongod on this machine."""
    port = urlsplit(url).port or 27017
    async with asyncio.timeout(PREPARE_SECONDS), administrator(port, None) as client:
        while True:
            try:
                if await prepare(client, "rs0", f"127.0.0.1:{port}", {}):
                    return
            except OperationFailure as error:
                raise NoBackup(f"MongoDB refused: {error}") from error
            await asyncio.sleep(0.2)


def main() -> int:
    """Return the exit code: 0 if the books balance; 1 if they do not, or with a sentence; 2 if they cannot be read."""
    began = time.monotonic()
    try:
        env = read(RestoreEnv)
        if env.source is None or set(env.servers) != {"mongod", "nats", "redis"}:
            raise NoBackup("a drill needs a backup, FROM=..., and empty servers: MONGO_URL, NATS_URL and REDIS_URL")
        with fetched(env, env.source, tell) as source:
            code = asyncio.run(drill(source, env.data_dir.resolve(), env.servers, tell))
    except (MissingBinary, NoBackup, OSError, StartFailed, Unusable) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{'restored' if code == 0 else 'NOT PROVEN'} after {time.monotonic() - began:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
