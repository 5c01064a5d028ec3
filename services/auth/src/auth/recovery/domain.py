"""What a link in a mail stands for. No I/O."""

from datetime import datetime, timedelta
from typing import Self

from auth.domain import Account
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


class TokenInvalid(Invalid):
    """The token was used, has expired or was never made."""

    code = "token_invalid"

    def __init__(self) -> None:
        super().__init__("this link was used before, or has expired; ask for a new one")


class Request(Aggregate):
    """A link that somebody asked for. It works once, until `expires_at`, as long as `email` is the account's.

    `email` is the address that it was made for; of a change, `new_email` is the one that it is mailed to. A request for
    an address without an account has no user, and no mail.
    """

    purpose: Purpose
    user_id: str | None
    email: str
    new_email: str | None = None
    expires_at: datetime
    used_at: datetime | None = None

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
    def reset(cls, account: Account | None, email: str, now: datetime) -> Self:
        """Somebody has lost the password of this address, which may have no account."""
        request = cls._new(Purpose.RESET_PASSWORD, account, email, now)
        if account:
            version = account.email_version
            request.record(PasswordResetRequested(user_id=account.id, request_id=request.id, email_version=version))
        return request

    @classmethod
    def change(cls, account: Account, new_email: str, now: datetime) -> Self:
        """The user wants another address."""
        request = cls._new(Purpose.CHANGE_EMAIL, account, account.email, now)
        request.new_email = new_email
        request.record(EmailChangeRequested(user_id=account.id, request_id=request.id))
        return request

    @classmethod
    def _new(cls, purpose: Purpose, account: Account | None, email: str, now: datetime) -> Self:
        user_id = account.id if account else None
        return cls(id=new_id(), purpose=purpose, user_id=user_id, email=email, expires_at=now + LIFETIME[purpose])

    def check(self, account: Account, now: datetime) -> None:
        """Raise `TokenInvalid` unless the link works for this account now."""
        if self.used_at or now >= self.expires_at or account.email != self.email:
            raise TokenInvalid

    def use(self, account: Account, now: datetime) -> None:
        """The link is used up. Raises `TokenInvalid`."""
        self.check(account, now)
        self.used_at = now
