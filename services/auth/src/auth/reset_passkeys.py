"""Removes all passkeys and recovery codes of somebody who has lost them: `python -m auth.reset_passkeys a@b.c`.

The password is enough then, so make sure first that it is they who ask. They are told by mail. Runs with the settings
of auth.
"""

import argparse
import asyncio
import sys

from auth.passkeys.domain import Keyring
from auth.passkeys.store import KeyringStore
from auth.settings import AuthSettings
from auth.store import AccountStore
from common.bus.connection import COMMAND_PATIENCE, Bus, BusError
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.security_log import note
from common.settings import load


async def reset(email: str) -> str | None:
    """Empty a keyring. Return a sentence about it, or None if no account has this address."""
    settings = load(AuthSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "auth", away=AWAY, within=COMMAND_PATIENCE) as bus,
        Relay.running(bus, db.users, db.keyrings) as relay,
    ):
        account = await AccountStore(db, relay).find(email)
        if account is None:
            return None
        keyrings = KeyringStore(db, relay)
        keyring = await keyrings.get(account.id)
        passkeys = len(keyring.passkeys)
        await keyrings.change(keyring, Keyring.reset)
        note("passkeys_changed", account.id, detail=f"{passkeys} removed by whoever runs Souk")
    return f"removed {passkeys} passkeys and all recovery codes of {account.email}, who is told by mail"


def main() -> int:
    """Return the exit code: 1 where nobody has signed up with the address, 2 with a sentence if the bus is away."""
    parser = argparse.ArgumentParser(prog="auth.reset_passkeys", description="Remove somebody's passkeys and codes.")
    parser.add_argument("email")
    email = parser.parse_args().email
    try:
        said = asyncio.run(reset(email))
    except BusError as error:
        print(f"nothing was changed: {error}", file=sys.stderr)  # noqa: T201
        return 2
    print(said or f"nobody has signed up with {email}", file=sys.stdout if said else sys.stderr)
    return 0 if said else 1


if __name__ == "__main__":
    raise SystemExit(main())
