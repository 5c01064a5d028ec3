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
from infra.local.backup.archive import Manifest, NoBackup, copy_folder, whole
from infra.local.backup.create import Say, own_servers
from infra.local.backup.stream_snapshots import connected, load_stream
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
        copy_folder(source / "secrets", making / "secrets")
        mongo, bus = own_servers(Stack(making))
        await _restore_databases(manifest, source, mongo, say)
        try:
            await _restore_streams(manifest, source, bus, say)
        except NatsError as error:
            raise NoBackup(f"the bus refused: {error or type(error).__name__}") from error
    return manifest


async def _restore_databases(manifest: Manifest, source: Path, mongo: MongoServer, say: Say) -> None:
    """Copy the files and check that MongoDB starts on them."""
    mongo.folder.mkdir(mode=0o700)
    size = await asyncio.to_thread(copy_folder, source / "mongo", mongo.folder / "data")
    try:
        await mongo.start()
    except StartFailed as failed:
        raise NoBackup(f"the backup is of mongod {manifest.mongod}; this one cannot read it: {failed}") from None
    await mongo.stop()
    say(f"databases: {size / 1e6:.0f} MB")


async def _restore_streams(manifest: Manifest, source: Path, bus: NatsServer, say: Say) -> None:
    """Start a bus and restore the streams, with their consumers and what each has acknowledged."""
    await bus.start()
    try:
        async with connected(bus, PROVISIONER) as client:
            for name, stream in manifest.streams.items():
                await load_stream(client, name, source / "streams" / name, stream)
                say(f"stream {name}: {stream['state']['messages']} events")
    finally:
        await bus.stop()


class RestoreEnv(Env):
    """The folder of the backup."""

    source: Path | None = Field(default=None, validation_alias="FROM")


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    try:
        env = read(RestoreEnv)
        target = env.data_dir.resolve()
        if env.source is None:
            raise NoBackup("which backup? Name its folder with FROM=...")
        manifest = asyncio.run(restore(env.source.resolve(), target, lambda line: print(line, flush=True)))
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
