"""`python -m infra.local.backup.cluster`: copy all data of a Souk whose servers are reached only over the network.

All databases are locked against writes for as long as the streams are copied, and so is what is read of each of them
fixed: to that one moment. Their documents are read afterwards, while people buy.
"""

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from nats.errors import Error as NatsError
from pydantic import SecretStr
from pymongo.errors import PyMongoError

from common.bus.address import connected_to
from common.mongo.client import database
from infra.local.backup.archive import Manifest, NoBackup, Say, whole
from infra.local.backup.create import report, tell
from infra.local.backup.documents import moment
from infra.local.backup.remote import RemoteEnv, send
from infra.local.backup.stream_snapshots import save_streams
from infra.local.backup.write_lock import writes_locked
from infra.local.env import read
from infra.services import SERVICES

DATABASES = tuple(service.name for service in SERVICES if service.uses == "mongod")

READ_SECONDS = 300.0
"""How long one call to a database may last."""


async def back_up_servers(mongo_urls: Mapping[str, str], nats_url: str, to: Path, say: Say) -> Manifest:
    """Write a backup into the new folder `to`: all of it, or none. `mongo_urls` are by the name of the database.

    Raises `NoBackup`.
    """
    with whole(to) as making:
        try:
            manifest = await _copy(mongo_urls, nats_url, making, say)
        except PyMongoError as error:
            raise NoBackup(f"MongoDB refused: {error}") from error
        except NatsError as error:
            raise NoBackup(f"the bus refused: {error or type(error).__name__}") from error
        await asyncio.to_thread(manifest.seal, making)
    return manifest


async def _copy(mongo_urls: Mapping[str, str], nats_url: str, to: Path, say: Say) -> Manifest:
    async with AsyncExitStack() as exits:
        client = await exits.enter_async_context(connected_to(nats_url, "backup"))
        databases = {
            name: await exits.enter_async_context(database(url, READ_SECONDS)) for name, url in mongo_urls.items()
        }
        [version, *_] = [(await db.client.server_info())["version"] for db in databases.values()]
        async with writes_locked([*{urlsplit(url).netloc: url for url in mongo_urls.values()}.values()]):
            began = time.monotonic()
            say("writes are paused")
            manifest = Manifest(
                taken_at=datetime.now(UTC), mongod=version, nats=str(client.connected_server_version), streams={}
            )
            manifest.streams = await save_streams(client, to / "streams", say)
            fixed = {name: await exits.enter_async_context(moment(db)) for name, db in databases.items()}
        say(f"writes resumed after {time.monotonic() - began:.1f} s")
        for name, then in fixed.items():
            size = await then.save(to / "databases" / name)
            say(f"database {name} copied: {size / 1e6:.1f} MB")
        manifest.databases = sorted(fixed)
    return manifest


class ClusterEnv(RemoteEnv):
    """The servers, as the user `backup` of each."""

    to: str
    nats_url: SecretStr
    mongo_url: SecretStr
    """With `SERVICE` in place of the name of the service whose database it is."""


def main() -> int:
    """Return the exit code: 1 with a sentence on what is in the way."""
    # As the first process of a container it would not hear SIGTERM, and its end would end who holds the lock.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return report(_back_up)


def _back_up() -> str:
    env = read(ClusterEnv)
    urls = {name: env.mongo_url.get_secret_value().replace("SERVICE", name) for name in DATABASES}
    nats_url = env.nats_url.get_secret_value()
    return send(env, env.to, lambda folder: back_up_servers(urls, nats_url, folder, tell))


if __name__ == "__main__":
    raise SystemExit(main())
