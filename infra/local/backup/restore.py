"""`python -m infra.local.backup.restore`: make the data of a stack out of a backup; `make dev` then starts it.

Everything is written to a folder beside the target, which is renamed at the end: the data is complete or absent.
Deadlines are not restored: expiration finds its Redis empty and reads the streams.
"""

import asyncio
import sys
from pathlib import Path

from nats.errors import Error as NatsError
from pydantic import Field

from infra.bus import PROVISIONER
from infra.local.backup.archive import Manifest, NoBackup, Say, copy_folder, whole
from infra.local.backup.create import own_servers, tell
from infra.local.backup.documents import load_databases
from infra.local.backup.remote import RemoteEnv, fetched
from infra.local.backup.stream_snapshots import connected, load_streams
from infra.local.env import Env, Unusable, read
from infra.local.stack.stack import Stack
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import MissingBinary, StartFailed


async def restore(source: Path, target: Path, say: Say) -> Manifest:
    """Fill the new or empty folder `target` from a backup: completely or not at all. Raises `NoBackup`."""
    with whole(target) as making:
        say(f"checking {source}")
        manifest = await asyncio.to_thread(Manifest.of, source)
        if (source / "secrets").is_dir():  # a cluster keeps them elsewhere
            copy_folder(source / "secrets", making / "secrets")
        mongo, bus = own_servers(Stack(making))
        await _restore_databases(manifest, source, mongo, say)
        try:
            await _restore_streams(manifest, source, bus, say)
        except NatsError as error:
            raise NoBackup(f"the bus refused: {error or type(error).__name__}") from error
    return manifest


async def _restore_databases(manifest: Manifest, source: Path, mongo: MongoServer, say: Say) -> None:
    """Copy the files and check that MongoDB starts on them, or fill one that is new."""
    mongo.folder.mkdir(mode=0o700)
    size = 0
    if not manifest.databases:
        size = await asyncio.to_thread(copy_folder, source / "mongo", mongo.folder / "data")
    try:
        await mongo.start()
    except StartFailed as failed:
        raise NoBackup(f"the backup is of mongod {manifest.mongod}; this one cannot read it: {failed}") from None
    try:
        await load_databases(manifest.databases, source / "databases", mongo.url_for, say)
    finally:
        await mongo.stop()
    if size:
        say(f"databases: {size / 1e6:.0f} MB")


async def _restore_streams(manifest: Manifest, source: Path, bus: NatsServer, say: Say) -> None:
    """Start a bus and restore the streams, with their consumers and what each has acknowledged."""
    await bus.start()
    try:
        async with connected(bus, PROVISIONER) as client:
            await load_streams(client, source / "streams", manifest.streams, say)
    finally:
        await bus.stop()


class RestoreEnv(RemoteEnv, Env):
    """The backup: its folder, its address `s3://bucket/folder/name`, or a folder of such, whose newest is meant."""

    source: str | None = Field(default=None, validation_alias="FROM")


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    try:
        env = read(RestoreEnv)
        target = env.data_dir.resolve()
        if env.source is None:
            raise NoBackup("which backup? Name its folder with FROM=...")
        with fetched(env, env.source, tell) as source:
            manifest = asyncio.run(restore(source, target, tell))
    except (MissingBinary, NoBackup, OSError, StartFailed, Unusable) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was restored", file=sys.stderr)
        return 1
    taken = f"{manifest.taken_at:%Y-%m-%d %H:%M:%S}"
    print(f"ready: {target} is as it was at {taken} UTC. Start it with `make dev` and the same DATA_DIR")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
