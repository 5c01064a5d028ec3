"""Who is an operator, and giving and taking that right."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from auth.domain import Account, LastOperator, PersonHasNoPasskey, PersonNotFound, PersonNotVerified
from auth.operators.store import OperatorStore
from auth.passkeys.store import KeyringStore
from auth.store import AccountStore
from common.http.network import network_of
from common.http.sessions import OPERATOR, OperatorOnly, User
from common.security_log import note


@dataclass(frozen=True, slots=True)
class Appointed:
    """An operator, and whether they have a passkey."""

    account: Account
    has_passkey: bool


class Operators:
    """Operators make others operators, and end that; `address` is the network address that they do it from.

    What a token says of who decides is two seconds old; the account is asked, in the transaction that changes the
    other one. With `verified_only` nobody becomes an operator whose address is not proved, with `passkeys_only` nobody
    without a passkey.
    """

    def __init__(
        self,
        store: OperatorStore,
        accounts: AccountStore,
        keyrings: KeyringStore,
        *,
        verified_only: bool,
        passkeys_only: bool,
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._keyrings = keyrings
        self._verified_only = verified_only
        self._passkeys_only = passkeys_only

    async def all(self) -> list[Appointed]:
        """The operators, by name."""
        return await self._with_passkeys(await self._store.all())

    async def grant(self, by: User, email: str, address: str, now: datetime) -> tuple[Appointed, bool]:
        """Make somebody an operator. Return them, and whether they were none before.

        Raises `PersonNotFound`, `PersonNotVerified`, `PersonHasNoPasskey` and `OperatorOnly`.
        """
        account = await self._accounts.find(email)
        if account is None:
            raise PersonNotFound("nobody has signed up with this address")
        [appointed] = await self._with_passkeys([account])
        if self._verified_only and not account.verified:
            raise PersonNotVerified("this person has not confirmed the address yet")
        if self._passkeys_only and not appointed.has_passkey:
            raise PersonHasNoPasskey("this person has no passkey yet")
        changed = await self._store.change(
            account.id,
            lambda account: account.grant(OPERATOR, now),
            staying={"_id": by.id},
            otherwise=OperatorOnly("this is for operators only"),
        )
        if changed:
            note("roles_changed", account.id, network_of(address), f"{OPERATOR} granted by {by.id}")
        return appointed, changed

    async def revoke(self, by: User, user_id: str, address: str, now: datetime) -> None:
        """Take the right away, also one's own. Raises `PersonNotFound`, `LastOperator` and `OperatorOnly`."""
        own = user_id == by.id
        changed = await self._store.change(
            user_id,
            lambda account: account.revoke(OPERATOR, now),
            staying={"_id": {"$ne": by.id} if own else by.id},
            otherwise=(
                LastOperator("you are the last operator; make somebody else one first")
                if own
                else OperatorOnly("this is for operators only")
            ),
        )
        if not changed:
            raise PersonNotFound("this person is no operator")
        note("roles_changed", user_id, network_of(address), f"{OPERATOR} revoked by {by.id}")

    async def _with_passkeys(self, accounts: Sequence[Account]) -> list[Appointed]:
        having = await self._keyrings.having_passkeys([account.id for account in accounts])
        return [Appointed(account, account.id in having) for account in accounts]
