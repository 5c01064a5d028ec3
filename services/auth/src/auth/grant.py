"""Grants or revokes the role of an operator: `python -m auth.grant a@b.c [--revoke]`, with the settings of auth.

There is no other way: no HTTP route changes roles.
"""

import argparse
import asyncio
import sys

from auth.domain import Account
from auth.settings import AuthSettings
from auth.store import AccountStore
from common.bus.connection import COMMAND_PATIENCE, Bus, BusError
from common.clock import now
from common.http.sessions import OPERATOR
from common.mongo.client import AWAY, database
from common.outbox import Relay
from common.security_log import note
from common.settings import load


async def change(email: str, *, revoke: bool) -> str | None:
    """Grant or revoke the role of an operator. Return a sentence about it, or None if no account has this address."""
    settings = load(AuthSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "auth", away=AWAY, within=COMMAND_PATIENCE) as bus,
        Relay.running(bus, db.users) as relay,
    ):
        decide = Account.revoke if revoke else Account.grant
        account = await AccountStore(db, relay).change(email, lambda account: decide(account, OPERATOR, now()))
        if account is None:
            return None
        note("roles_changed", account.id, detail=f"{OPERATOR} {'revoked' if revoke else 'granted'}")
    return f"{account.email} is {'no longer' if revoke else 'now'} an operator; the change applies within two seconds"


def main() -> int:
    """Return the exit code: 1 where nobody has signed up with the address, 2 with a sentence if the bus is away."""
    parser = argparse.ArgumentParser(prog="auth.grant", description="Make somebody an operator.")
    parser.add_argument("email")
    parser.add_argument("--revoke", action="store_true", help="no longer")
    asked = parser.parse_args()
    try:
        said = asyncio.run(change(asked.email, revoke=asked.revoke))
    except BusError as error:
        print(f"nothing was changed: {error}", file=sys.stderr)  # noqa: T201
        return 2
    if said is None:
        print(f"nobody has signed up with {asked.email}", file=sys.stderr)  # noqa: T201
        return 1
    print(said)  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
