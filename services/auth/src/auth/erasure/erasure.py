"""Forgets users who delete their account."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta

from auth.domain import Account
from auth.passkeys.store import KeyringStore
from auth.recovery.store import RequestStore
from auth.sessions.keeper import SessionKeeper
from auth.store import AccountStore
from auth.throttle import Throttle
from common.clock import now as clock
from common.http.sessions import REMEMBERED_SECONDS
from common.leased_work import LeasedWork
from common.security_log import note

ANNOUNCED_AGAIN = timedelta(seconds=REMEMBERED_SECONDS)
"""How long after an erasure no access token of before can count, even where the bus was away."""


class Erasure:
    """Erases accounts: everything here goes at once, and the other services are told by `users.erased`.

    A request of the user that is under way at that moment may still store something. So all of it is done once more
    when no access token counts any longer, also if this process dies in between.
    """

    def __init__(
        self,
        accounts: AccountStore,
        requests: RequestStore,
        keyrings: KeyringStore,
        keeper: SessionKeeper,
        throttle: Throttle,
    ) -> None:
        self._accounts = accounts
        self._requests = requests
        self._keyrings = keyrings
        self._keeper = keeper
        self._throttle = throttle
        self._due = LeasedWork(
            accounts.users, "erasure_due", self.erase_again, poll_seconds=5, first_lease=60, max_lease=3600
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """Repeat erasures that are due, in the background."""
        return self._due.running()

    async def erase(self, account: Account, now: datetime) -> None:
        """Erase an account. Raises `HasRole`, and `Unauthenticated` if it is erased already."""
        account.check_erasable()
        # First what is found by an address, which nobody knows afterwards.
        for email in {account.email, *await self._requests.addresses_of(account.id)}:
            await self._throttle.forget(email)
        await self._requests.forget(account.id, account.email)
        await self._accounts.update(account, lambda account: account.erase(now, now + ANNOUNCED_AGAIN))
        await self._keyrings.forget(account.id)
        await self._keeper.forget(account.id, now)
        note("erased", account.id)

    async def erase_again(self, user_id: str) -> None:
        """Do and announce it once more."""
        await self._requests.forget(user_id, user_id)
        await self._keyrings.forget(user_id)
        await self._keeper.forget(user_id, clock())
        await self._accounts.erase_again(user_id)
