"""`python -m infra.local.backup.restore_cluster`: fill the empty databases and streams of a cluster from a backup.

No service may run meanwhile. The streams get one copy each: `provision`, which must run afterwards, makes the others.
"""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from nats.errors import Error as NatsError
from pydantic import Field, SecretStr

from common.bus.address import connected_to
from infra.local.backup.archive import Manifest, NoBackup, Say
from infra.local.backup.create import tell
from infra.local.backup.documents import load_databases
from infra.local.backup.remote import RemoteEnv, fetched
from infra.local.backup.stream_snapshots import load_streams, unused
from infra.local.env import Unusable, read


async def restore_servers(source: Path, url_for: Callable[[str], str], nats_url: str, say: Say) -> Manifest:
    """Fill databases, by `url_for` their names, and a bus from the folder of a backup. Raises `NoBackup`.

    If one of the streams or databases has been in use, nothing is written.
    """
    manifest = await asyncio.to_thread(Manifest.of, source)
    if not manifest.databases:
        raise NoBackup("the backup is of a laptop, and has the files of its server: restore it with `make restore`")
    try:
        async with connected_to(nats_url, "restore") as client:
            empty = await unused(client, manifest.streams)
            await load_databases(manifest.databases, source / "databases", url_for, say)
            await load_streams(client, source / "streams", manifest.streams, say, replace=empty)
    except NatsError as error:
        raise NoBackup(f"the bus refused: {error or type(error).__name__}") from error
    return manifest


class RestoreEnv(RemoteEnv):
    """The backup, and the servers."""

    source: str = Field(validation_alias="FROM")
    nats_url: SecretStr
    """As the user that provisions."""
    mongo_url: SecretStr
    """With `SERVICE` in place of the name of the service whose database it is, and `PASSWORD` of its password."""
    passwords: Path
    """A folder with the password of each service in a file of its name."""

    def url_for(self, service: str) -> str:
        """Return the address of a service's database, with its credentials. Raises `OSError`."""
        password = (self.passwords / service).read_text().strip()
        return self.mongo_url.get_secret_value().replace("SERVICE", service).replace("PASSWORD", password)


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    try:
        env = read(RestoreEnv)
        with fetched(env, env.source, tell) as source:
            manifest = asyncio.run(restore_servers(source, env.url_for, env.nats_url.get_secret_value(), tell))
    except (NoBackup, OSError, Unusable) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"ready: databases and streams are as they were at {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
