"""Deletes the account with an id: `python -m auth.erase ID`, with the settings of auth.

For an account that its owner deleted after the backup that was restored. People who are here do it themselves, on the
page "My data".
"""

import argparse
import asyncio
import sys

from auth.commands import opened
from auth.domain import HasRole
from auth.recovery.store import RequestStore
from auth.store import AccountStore
from auth.windows_store import Windows
from common.bus.connection import BusError
from common.clock import now
from common.security_log import note


async def erase(user_id: str) -> bool:
    """Delete an account; return whether it was there. Raises `HasRole`.

    The running auth ends its sessions within seconds, as of any erasure that is to be repeated.
    """
    async with opened() as (db, relay):
        accounts, requests, windows = AccountStore(db, relay), RequestStore(db, relay), Windows(db)
        account = await accounts.get(user_id)
        if account is None:
            return False
        account.check_erasable()
        for email in {account.email, *await requests.addresses_of(user_id)}:
            await windows.forget(email)
        await requests.forget(user_id, account.email)
        await accounts.update(account, lambda account: account.erase(now(), again_at=now()))
        note("erased", user_id, detail="by whoever runs Souk")
        return True


def main() -> int:
    """Return the exit code: 1 with a sentence if there is no such account or it may not go, 2 if the bus is away."""
    parser = argparse.ArgumentParser(prog="auth.erase", description="Delete an account for good.")
    parser.add_argument("id")
    try:
        erased = asyncio.run(erase(parser.parse_args().id))
    except (BusError, HasRole) as error:
        print(f"nothing was changed: {error}", file=sys.stderr)  # noqa: T201
        return 2 if isinstance(error, BusError) else 1
    print("erased" if erased else "there is no such account")  # noqa: T201
    return 0 if erased else 1


if __name__ == "__main__":
    raise SystemExit(main())
