"""`python -m infra.local.backup.drill`: restore a backup into an empty place, run Souk there, and check its books.

On a laptop, the place is a new folder, which is removed afterwards. On a cluster, it is the empty servers that
MONGO_URL, NATS_URL and REDIS_URL name. Nothing leaves: mails end in the mailbox of a laptop, and payments are the
sandbox's.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pymongo.errors import OperationFailure

from common.mongo.replica_set import administrator, prepare
from infra.local.backup.archive import NoBackup, Say
from infra.local.backup.create import tell
from infra.local.backup.remote import fetched
from infra.local.backup.restore import RestoreEnv, restore
from infra.local.backup.restore_cluster import restore_servers
from infra.local.commands.running import run_as
from infra.local.env import Unusable, read
from infra.local.stack.servers import with_database
from infra.local.stack.stack import Stack
from infra.servers.process import MissingBinary, StartFailed

GRACE = 120
"""Seconds that the books may differ: what was on its way at the moment of the backup goes on now."""

PREPARE_SECONDS = 60.0


async def drill(source: Path, servers: Mapping[str, str], say: Say, grace: int = GRACE, without: str = "") -> int:
    """Return the exit code of the reconciliation of what was restored: 0 if the books balance. Raises `NoBackup`.

    `servers` are the URLs of an empty mongod, nats and redis; without any, the drill starts its own. `without` are
    rules that are not judged, separated by commas.
    """
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "souk"
        if servers:
            await _prepare(servers["mongod"])
            await restore_servers(source, lambda name: with_database(servers["mongod"], name), servers["nats"], say)
        else:
            await restore(source, place, say)
        async with Stack(place, servers=servers, say=lambda _, __: None) as stack:
            say("Souk runs on what was restored")
            judged = {"GRACE": str(grace), "WITHOUT": without}
            return await asyncio.to_thread(run_as, "audit", "audit.reconcile", stack=stack, **judged)


class DrillEnv(RestoreEnv):
    """The backup, and the empty servers, if there are any."""

    without: str = ""
    """Rules of the reconciliation that are not judged: those on charges where a real provider has them."""


async def _prepare(url: str) -> None:
    """Make a replica set of one of a new mongod on this machine."""
    port = urlsplit(url).port or 27017
    try:
        async with asyncio.timeout(PREPARE_SECONDS), administrator(port, None) as client:
            while not await prepare(client, "rs0", f"127.0.0.1:{port}", {}):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
    except OperationFailure as error:
        raise NoBackup(f"MongoDB refused: {error}") from error
    except TimeoutError:
        raise NoBackup(f"no empty MongoDB was ready on port {port} within {PREPARE_SECONDS:.0f} s") from None


def main() -> int:
    """Return the exit code: 0 if the books balance; 1 if they do not, or with a sentence; 2 if they cannot be read."""
    began = time.monotonic()
    try:
        env = read(DrillEnv)
        if env.source is None:
            raise NoBackup("which backup? Name it with FROM=...")
        if env.servers and set(env.servers) != {"mongod", "nats", "redis"}:
            raise NoBackup("a drill in other servers needs all of them: MONGO_URL, NATS_URL and REDIS_URL")
        with fetched(env, env.source, tell) as source:
            code = asyncio.run(drill(source, env.servers, tell, without=env.without))
    except (MissingBinary, NoBackup, OSError, StartFailed, Unusable) as error:
        print(f"NOT PROVEN: {error}", file=sys.stderr)
        return 1
    print(f"{'proven' if code == 0 else 'NOT PROVEN'} after {time.monotonic() - began:.0f} s", flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
