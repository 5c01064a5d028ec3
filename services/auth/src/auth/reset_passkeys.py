"""Removes all passkeys and recovery codes of somebody who has lost them: `python -m auth.reset_passkeys a@b.c`.

The password is enough then, so make sure first that it is they who ask. They are told by mail. Runs with the settings
of auth.
"""

import argparse

from auth.commands import opened, told
from auth.passkeys.domain import Keyring
from auth.passkeys.store import KeyringStore
from auth.store import AccountStore
from common.security_log import note


async def reset(email: str) -> str | None:
    """Empty a keyring. Return a sentence about it, or None if no account has this address."""
    async with opened() as (db, relay):
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
    """Return the exit code, as `told` does."""
    parser = argparse.ArgumentParser(prog="auth.reset_passkeys", description="Remove somebody's passkeys and codes.")
    parser.add_argument("email")
    email = parser.parse_args().email
    return told(reset(email), email)


if __name__ == "__main__":
    raise SystemExit(main())
