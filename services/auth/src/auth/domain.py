"""Who may sign in. No I/O."""

from datetime import datetime
from typing import Self

from common.aggregate import Aggregate
from common.errors import Conflict, Unauthenticated
from common.events import Event, RolesChanged, UserRegistered
from common.ids import new_id


class EmailTaken(Conflict):
    """An account with this address exists already."""

    code = "email_taken"


class BadCredentials(Unauthenticated):
    """The address is unknown or the password is wrong; the answer does not say which."""

    code = "bad_credentials"


class Account(Aggregate):
    """What a user signs in with. `email` is in lower case and no two accounts share one."""

    email: str
    name: str
    password_hash: str
    roles: tuple[str, ...] = ()
    """Changed only by the command `auth.grant`, never by signing up."""

    @classmethod
    def register(cls, *, email: str, name: str, password_hash: str) -> Self:
        """Create an account."""
        account = cls(id=new_id(), email=email.lower(), name=name, password_hash=password_hash)
        account.record(UserRegistered(user_id=account.id, email=account.email, name=account.name))
        return account

    def restated(self) -> list[Event]:
        """Whose account it is."""
        return [UserRegistered(user_id=self.id, email=self.email, name=self.name, restated=True)]

    def strengthen(self, password_hash: str) -> None:
        """Store the same password, hashed with today's parameters. No other service needs this: no event."""
        self.password_hash = password_hash

    def grant(self, role: str, now: datetime) -> None:
        """Grant a role."""
        self._change_roles({*self.roles, role}, now)

    def revoke(self, role: str, now: datetime) -> None:
        """Revoke a role. Access tokens that have it are refused from now on."""
        self._change_roles({*self.roles} - {role}, now)

    def _change_roles(self, roles: set[str], now: datetime) -> None:
        if roles == {*self.roles}:
            return
        self.roles = tuple(sorted(roles))
        self.record(RolesChanged(user_id=self.id, account_version=self.next_version, roles=self.roles, at=now))
