"""What the commands of whoever runs Souk share: database and relay for a moment, and what the terminal is told."""

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from auth.settings import AuthSettings
from common.bus.connection import COMMAND_PATIENCE, Bus, BusError
from common.mongo.client import AWAY, Database, database
from common.outbox import Relay
from common.settings import load


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Database, Relay]]:
    """The database of auth, and a relay for what changes in it. Raises `BusError` if the bus is away."""
    settings = load(AuthSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "auth", away=AWAY, within=COMMAND_PATIENCE) as bus,
        Relay.running(bus, db.users, db.keyrings) as relay,
    ):
        yield db, relay


def told(change: Coroutine[None, None, str | None], email: str) -> int:
    """Make a change of the account with this address, and say what became of it. Returns the exit code.

    1 where nobody has signed up with the address, 2 with a sentence if the bus is away.
    """
    try:
        said = asyncio.run(change)
    except BusError as error:
        print(f"nothing was changed: {error}", file=sys.stderr)  # noqa: T201
        return 2
    if said is None:
        print(f"nobody has signed up with {email}", file=sys.stderr)  # noqa: T201
        return 1
    print(said)  # noqa: T201
    return 0
