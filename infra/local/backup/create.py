"""`python -m infra.local.backup.create`: copy all data of a running stack as it is at one moment.

MongoDB takes no writes while its files and the streams are copied. An event is published only after its write and
acknowledged only after its reader's write. So the streams hold nothing that MongoDB lacks, unpublished events wait in
`pending`, and unacknowledged ones are delivered again. Redis is a projection of the streams and needs no copy.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from nats.errors import Error as NatsError
from pymongo.errors import ConnectionFailure, PyMongoError

from infra.bus import BACKUP
from infra.local.backup.archive import Manifest, NoBackup, Say, copy_folder, files_in, whole
from infra.local.backup.remote import RemoteEnv, is_remote, send
from infra.local.backup.stream_snapshots import connected, save_streams
from infra.local.backup.write_lock import writes_locked
from infra.local.commands.running import NothingRuns, running_stack
from infra.local.env import Env, Unusable, read
from infra.local.stack.stack import Stack
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer

LEFT_OUT = ("mongod.lock", "WiredTiger.lock", "WiredTigerPreplog.")
"""Name prefixes of database files that belong to the running process, or are preallocated and empty."""


def own_servers(stack: Stack) -> tuple[MongoServer, NatsServer]:
    """Return the servers whose data a backup copies. Raises `NoBackup` if one of them is not the stack's own."""
    match stack.servers.get("mongod"), stack.servers.get("nats"):
        case MongoServer() as mongo, NatsServer() as bus:
            return mongo, bus
    raise NoBackup(
        "MONGO_URL or NATS_URL names a server that is not this stack's own: back it up with its own tools, "
        "mongodump --oplog and nats account backup (docs/operations.md)"
    )


async def back_up(stack: Stack, to: Path, say: Say) -> Manifest:
    """Write a backup of a running stack into the new folder `to`: all of it, or none. Raises `NoBackup`."""
    mongo, bus = own_servers(stack)
    with whole(to) as making:
        try:
            manifest = await _copy(stack, mongo, bus, making, say)
        except ConnectionFailure as error:
            raise NoBackup(f"no MongoDB answers on port {mongo.port}: name the stack's own PORT=...") from error
        except PyMongoError as error:
            raise NoBackup(f"MongoDB refused: {error}") from error
        except NatsError as error:
            raise NoBackup(f"the bus refused: {error or type(error).__name__}") from error
        say("checking what was written")
        await asyncio.to_thread(manifest.seal, making)
    return manifest


async def _copy(stack: Stack, mongo: MongoServer, bus: NatsServer, to: Path, say: Say) -> Manifest:
    copy_folder(stack.data_dir / "secrets", to / "secrets")
    async with mongo.administrator() as administrator:
        version = (await administrator.server_info())["version"]
    async with connected(bus, BACKUP) as client:
        bus_version = str(client.connected_server_version)
        manifest = Manifest(taken_at=datetime.now(UTC), mongod=version, nats=bus_version, streams={})
        async with writes_locked(mongo):
            began = time.monotonic()
            say("writes are paused")
            size = await asyncio.to_thread(copy_folder, mongo.folder / "data", to / "mongo", LEFT_OUT)
            say(f"databases copied: {size / 1e6:.0f} MB")
            manifest.streams = await save_streams(client, to / "streams", say)
        say(f"writes resumed after {time.monotonic() - began:.1f} s")
    return manifest


class BackupEnv(RemoteEnv, Env):
    """Where the backup goes: a new folder, or `s3://bucket/folder`."""

    to: str | None = None


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    return report(_back_up)


def _back_up() -> str:
    try:
        env, stack = read(BackupEnv), running_stack()
    except NothingRuns as error:
        raise NoBackup(f"{error}; of a stack that is stopped, a copy of the folder is a backup") from error
    if env.to and is_remote(env.to):
        return send(env, env.to, lambda folder: back_up(stack, folder, tell))
    to = Path(env.to or f".backups/{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}").resolve()
    asyncio.run(back_up(stack, to, tell))
    size = sum(file.stat().st_blocks * 512 for file in files_in(to))
    return f"ready: {to} ({size / 1e6:.0f} MB). It contains the stack's secrets: keep it where nobody else can read it"


def report(make: Callable[[], str]) -> int:
    """Print what `make` returns about its backup, or what is in the way; return the exit code."""
    try:
        print(make())
    except (NoBackup, OSError, Unusable) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; no backup was kept, and writes have resumed", file=sys.stderr)
        return 1
    return 0


def tell(line: str) -> None:
    """Print a line about the progress."""
    print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
