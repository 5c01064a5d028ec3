"""Who may sign in. No I/O."""

from datetime import datetime
from typing import Self

from common.aggregate import Aggregate
from common.errors import Conflict, Unauthenticated
from common.events import (
    EmailChanged,
    Event,
    PasswordChanged,
    RolesChanged,
    SignUpRepeated,
    UserRegistered,
    UserVerified,
    VerificationRequested,
)
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
    language: str = "en"
    """That of their mails."""
    verified: bool = False
    """Whether they have proved that `email` is theirs."""
    email_version: int = 1
    """How many addresses this account has had."""

    @classmethod
    def register(cls, *, email: str, name: str, password_hash: str, language: str = "en") -> Self:
        """Create an account."""
        account = cls(id=new_id(), email=email.lower(), name=name, password_hash=password_hash, language=language)
        account.record(account._registered())
        return account

    def restated(self) -> list[Event]:
        """Whose account it is."""
        return [self._registered().model_copy(update={"restated": True})]

    def _registered(self) -> UserRegistered:
        return UserRegistered(
            user_id=self.id,
            email=self.email,
            name=self.name,
            language=self.language,
            email_version=self.email_version,
        )

    def welcome(self, request_id: str) -> None:
        """Have the link of a request for verification mailed with a welcome."""
        self.record(VerificationRequested(user_id=self.id, request_id=request_id, email=self.email, welcome=True))

    def repeat_sign_up(self) -> None:
        """Somebody tried to sign up with this address once more: its owner is told."""
        self.record(SignUpRepeated(user_id=self.id))

    def verify(self) -> None:
        """The address is proved to be theirs. Proving it twice is proving it once."""
        if not self.verified:
            self.verified = True
            self.record(UserVerified(user_id=self.id, account_version=self.next_version))

    def set_password(self, password_hash: str) -> None:
        """Store a new password. Its owner is told."""
        self.password_hash = password_hash
        self.record(PasswordChanged(user_id=self.id))

    def move_to(self, email: str) -> None:
        """Store a new address, which is proved to be theirs. The old one is told."""
        old, self.email, self.verified = self.email, email.lower(), True
        self.email_version += 1
        self.record(
            EmailChanged(
                user_id=self.id,
                account_version=self.next_version,
                email_version=self.email_version,
                email=self.email,
                old_email=old,
            )
        )

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
