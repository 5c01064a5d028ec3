"""Grants or revokes the role of an operator: `python -m auth.grant a@b.c [--revoke]`, with the settings of auth.

For the first operator, and for when nobody is left who could do it over HTTP; it asks for no passkey.
"""

import argparse

from auth.commands import opened, told
from auth.domain import Account
from auth.store import AccountStore
from common.clock import now
from common.http.sessions import OPERATOR
from common.security_log import note


async def change(email: str, *, revoke: bool) -> str | None:
    """Grant or revoke the role of an operator. Return a sentence about it, or None if no account has this address."""
    async with opened() as (db, relay):
        decide = Account.revoke if revoke else Account.grant
        account = await AccountStore(db, relay).change(email, lambda account: decide(account, OPERATOR, now()))
        if account is None:
            return None
        note("roles_changed", account.id, detail=f"{OPERATOR} {'revoked' if revoke else 'granted'}")
    return f"{account.email} is {'no longer' if revoke else 'now'} an operator; the change applies within two seconds"


def main() -> int:
    """Return the exit code, as `told` does."""
    parser = argparse.ArgumentParser(prog="auth.grant", description="Make somebody an operator.")
    parser.add_argument("email")
    parser.add_argument("--revoke", action="store_true", help="no longer")
    asked = parser.parse_args()
    return told(change(asked.email, revoke=asked.revoke), asked.email)


if __name__ == "__main__":
    raise SystemExit(main())
