"""What a link in a mail stands for. No I/O."""

from datetime import datetime, timedelta
from typing import Self

from auth.domain import Account
from auth.passkeys.domain import Keyring
from common.aggregate import Aggregate
from common.errors import Invalid
from common.events import EmailChangeRequested, PasswordResetRequested, VerificationRequested
from common.ids import new_id
from common.mail_tokens import Purpose

LIFETIME = {
    Purpose.VERIFY_EMAIL: timedelta(hours=24),
    Purpose.CHANGE_EMAIL: timedelta(hours=24),
    Purpose.RESET_PASSWORD: timedelta(hours=1),
}

TAKEN_BACK_WITHIN = timedelta(days=3)
"""How long the old address can take a change back."""


class TokenInvalid(Invalid):
    """The token was used, has expired or was never made."""

    code = "token_invalid"

    def __init__(self) -> None:
        super().__init__("this link was used before, or has expired; ask for a new one")


def credentials_of(account: Account, keyring: Keyring) -> str:
    """Says whether password, address, passkeys or recovery codes have changed. It is no secret."""
    return f"{account.password_version}.{account.email_version}.{keyring.changes}"


class Request(Aggregate):
    """A link that somebody asked for. It works once, until `expires_at`, as long as `email` is the account's.

    `email` is the address that it was made for; of a change, `new_email` is the one that it is mailed to. A request for
    an address without an account has no user, and no mail. One that proves an address gives nobody anything else, so it
    works whatever has changed; any other is void when one of the account's `credentials` has.
    """

    purpose: Purpose
    user_id: str | None
    email: str
    new_email: str | None = None
    expires_at: datetime
    used_at: datetime | None = None
    credentials: str | None = None
    """Those that the account had."""
    undo_until: datetime | None = None
    """Of a change that was made: how long it can be taken back."""
    made_version: int | None = None
    """Of the same: how many addresses the account has had with it."""

    @classmethod
    def at_sign_up(cls, account: Account, now: datetime) -> Self:
        """The one that comes with the welcome. The account asks for the mail."""
        return cls._new(Purpose.VERIFY_EMAIL, account, account.email, now)

    @classmethod
    def verification(cls, account: Account, now: datetime) -> Self:
        """The user proves their address."""
        request = cls._new(Purpose.VERIFY_EMAIL, account, account.email, now)
        version = account.email_version
        request.record(VerificationRequested(user_id=account.id, request_id=request.id, email_version=version))
        return request

    @classmethod
    def reset(cls, account: Account | None, email: str, credentials: str, now: datetime) -> Self:
        """Somebody has lost the password of this address, which may have no account."""
        request = cls._new(Purpose.RESET_PASSWORD, account, email, now, credentials)
        if account:
            version = account.email_version
            request.record(PasswordResetRequested(user_id=account.id, request_id=request.id, email_version=version))
        return request

    @classmethod
    def change(cls, account: Account, new_email: str, credentials: str, now: datetime) -> Self:
        """The user wants another address."""
        request = cls._new(Purpose.CHANGE_EMAIL, account, account.email, now, credentials)
        request.new_email = new_email
        request.record(EmailChangeRequested(user_id=account.id, request_id=request.id))
        return request

    @classmethod
    def _new(
        cls, purpose: Purpose, account: Account | None, email: str, now: datetime, credentials: str | None = None
    ) -> Self:
        return cls(
            id=new_id(),
            purpose=purpose,
            user_id=account.id if account else None,
            email=email,
            expires_at=now + LIFETIME[purpose],
            credentials=credentials,
        )

    def check(self, account: Account, keyring: Keyring, now: datetime) -> None:
        """Raise `TokenInvalid` unless the link works for this account now."""
        if self.used_at or now >= self.expires_at or account.email != self.email:
            raise TokenInvalid
        if self.purpose is not Purpose.VERIFY_EMAIL and self.credentials != credentials_of(account, keyring):
            raise TokenInvalid

    def use(self, account: Account, keyring: Keyring, now: datetime) -> None:
        """The link is used up. Raises `TokenInvalid`."""
        self.check(account, keyring, now)
        self.used_at = now
        if self.purpose is Purpose.CHANGE_EMAIL:
            self.undo_until = self.expires_at = now + TAKEN_BACK_WITHIN
            self.made_version = account.email_version + 1

    def undone_version(self, now: datetime) -> int:
        """The old address takes the change back, whatever has changed since: the version that it is undone from.

        Raises `TokenInvalid`.
        """
        if self.made_version is None or self.undo_until is None or now >= self.undo_until:
            raise TokenInvalid
        return self.made_version
