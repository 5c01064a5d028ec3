"""Who may sign in. No I/O."""

from datetime import datetime, timedelta
from typing import Self

from common.aggregate import Aggregate
from common.errors import Conflict, NotFound, Unauthenticated
from common.events import (
    EmailChanged,
    Event,
    PasswordChanged,
    RolesChanged,
    SignUpRepeated,
    UserErased,
    UserRegistered,
    UserVerified,
    VerificationRequested,
)
from common.ids import new_id

ENDED_AGAIN = timedelta(seconds=30)
"""After a new password: by then the process that set it has ended what it ends, or has died."""


class EmailTaken(Conflict):
    """An account with this address exists already."""

    code = "email_taken"


class BadCredentials(Unauthenticated):
    """The address is unknown or the password is wrong; the answer does not say which."""

    code = "bad_credentials"


class HasRole(Conflict):
    """An account with a role cannot be deleted: somebody takes the role away first."""

    code = "has_role"


class PersonNotFound(NotFound):
    """There is no account with this address or id, or none that is an operator."""

    code = "person_not_found"


class PersonNotVerified(Conflict):
    """Nobody has proved yet that the address is theirs: the account may be somebody else's."""

    code = "person_not_verified"


class PersonHasNoPasskey(Conflict):
    """An operator needs a passkey here, and this person has none."""

    code = "person_has_no_passkey"


class LastOperator(Conflict):
    """Nobody else is an operator, so this one stays."""

    code = "last_operator"


class Account(Aggregate):
    """What a user signs in with. `email` is in lower case and no two accounts share one.

    Of an erased account its id is left, which stands for the user in orders and payments.
    """

    email: str
    name: str
    password_hash: str
    roles: tuple[str, ...] = ()
    """Changed only by operators and the command `auth.grant`, never by signing up."""
    language: str = "en"
    """That of their mails."""
    verified: bool = False
    """Whether they have proved that `email` is theirs."""
    email_version: int = 1
    """How many addresses this account has had."""
    password_version: int = 1
    """How many passwords this account has had. A session that began with an older one is over."""
    keys_since: int = 0
    """Passkeys and recovery codes that were added in sessions of older passwords than this one do not count."""
    ending_due: datetime | None = None
    """When all that the last change of the password ends is ended once more."""
    erased_at: datetime | None = None
    erasure_due: datetime | None = None
    """When the erasure is announced once more."""

    @classmethod
    def register(cls, *, email: str, name: str, password_hash: str, language: str = "en") -> Self:
        """Create an account."""
        account = cls(id=new_id(), email=email.lower(), name=name, password_hash=password_hash, language=language)
        account.record(account._registered())
        return account

    def restated(self) -> list[Event]:
        """Whose account it is, or that it is nobody's any more."""
        said = self._erased(self.version) if self.erased_at else self._registered()
        return [said.model_copy(update={"restated": True})]

    def _registered(self) -> UserRegistered:
        return UserRegistered(user_id=self.id, language=self.language, email_version=self.email_version)

    def _erased(self, version: int) -> UserErased:
        return UserErased(user_id=self.id, account_version=version)

    def welcome(self, request_id: str) -> None:
        """Have the link of a request for verification mailed with a welcome."""
        version = self.email_version
        self.record(VerificationRequested(user_id=self.id, request_id=request_id, welcome=True, email_version=version))

    def repeat_sign_up(self) -> None:
        """Somebody tried to sign up with this address once more: its owner is told."""
        self.record(SignUpRepeated(user_id=self.id))

    def verify(self) -> None:
        """The address is proved to be theirs. Proving it twice is proving it once."""
        if not self.verified:
            self.verified = True
            self.record(UserVerified(user_id=self.id, account_version=self.next_version))

    def set_password(self, password_hash: str, now: datetime) -> None:
        """Store a new password. Its owner is told."""
        self.password_hash = password_hash
        self._end_older(now)
        self.record(PasswordChanged(user_id=self.id))

    def reset_password(self, password_hash: str, now: datetime) -> None:
        """Store a new password of whoever reads the mails. Their owner is told."""
        self.set_password(password_hash, now)
        self._drop_keys()

    def move_to(self, email: str, request_id: str) -> None:
        """Store the new address of a request, which is proved to be theirs. The old one is told."""
        self.email, self.verified = email.lower(), True
        self.email_version += 1
        self.record(
            EmailChanged(
                user_id=self.id,
                account_version=self.next_version,
                email_version=self.email_version,
                request_id=request_id,
            )
        )

    def take_back(self, email: str, now: datetime) -> None:
        """The address before counts again, and nobody has a password or any other way in until a new one is set."""
        self.email, self.verified, self.password_hash = email, True, ""
        self.email_version += 1
        self._end_older(now)
        self._drop_keys()
        version = self.email_version
        self.record(EmailChanged(user_id=self.id, account_version=self.next_version, email_version=version))

    def is_ended(self, password_version: int) -> None:
        """What this version of the password ends is ended, unless there is a newer one."""
        if self.password_version == password_version:
            self.ending_due = None

    def _end_older(self, now: datetime) -> None:
        self.password_version += 1
        self.ending_due = now + ENDED_AGAIN

    def _drop_keys(self) -> None:
        """Mail alone makes nobody an operator: who has a role keeps the passkeys that were proved."""
        if not self.roles:
            self.keys_since = self.password_version

    def strengthen(self, password_hash: str) -> None:
        """Store the same password, hashed with today's parameters. No other service needs this: no event."""
        self.password_hash = password_hash

    def grant(self, role: str, now: datetime) -> None:
        """Grant a role."""
        self._change_roles({*self.roles, role}, now)

    def revoke(self, role: str, now: datetime) -> None:
        """Revoke a role. Access tokens that have it are refused from now on."""
        self._change_roles({*self.roles} - {role}, now)

    def check_erasable(self) -> None:
        """Raise `HasRole` for an operator: what they decided must be answered for, and somebody must be left."""
        if self.roles:
            raise HasRole("you are an operator; have that role taken away first")

    def erase(self, now: datetime, again_at: datetime) -> None:
        """Forget all that says who it was. Whoever keeps a copy is told now, and again later. Raises `HasRole`."""
        self.check_erasable()
        self.email, self.name, self.password_hash = self.id, "", ""  # No sign-in has an address without an @.
        self.language, self.verified = "en", False
        self.erased_at, self.erasure_due, self.ending_due = now, again_at, None
        self.record(self._erased(self.next_version))

    def erase_again(self) -> None:
        """Say once more that it is erased: what a last request left behind since then goes as well."""
        if self.erasure_due:
            self.erasure_due = None
            self.record(self._erased(self.next_version))

    def _change_roles(self, roles: set[str], now: datetime) -> None:
        if roles == {*self.roles}:
            return
        self.roles = tuple(sorted(roles))
        self.record(RolesChanged(user_id=self.id, account_version=self.next_version, roles=self.roles, at=now))
