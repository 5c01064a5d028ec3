"""Tokens in the links of mails. Who asks for a mail and notifications share a key; no event holds one."""

import hmac
from base64 import urlsafe_b64encode
from enum import StrEnum
from hashlib import sha256

from pydantic import SecretStr


class Purpose(StrEnum):
    """What a link in a mail is for. A token for one purpose is no token for another."""

    VERIFY_EMAIL = "verify_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - the name of a purpose
    CHANGE_EMAIL = "change_email"
    UNDO_EMAIL = "undo_email"
    ACCEPT_TICKET = "accept_ticket"


class MailTokens:
    """Makes and checks the tokens: `request_id.signature`, with HMAC-SHA256 over purpose and id.

    The owner of a request stores it, and decides whether it was used or has expired. Who can read that database or the
    events still cannot make the token.
    """

    def __init__(self, key: SecretStr) -> None:
        self._key = key.get_secret_value().encode()

    def token(self, purpose: Purpose, request_id: str) -> str:
        """The token for the link of a request."""
        signed = hmac.digest(self._key, f"{purpose}|{request_id}".encode(), sha256)
        return f"{request_id}.{urlsafe_b64encode(signed).rstrip(b'=').decode()}"

    def request_id(self, purpose: Purpose, token: str) -> str | None:
        """The request that a token belongs to. None if it was not made by `token` for this purpose."""
        request_id = token.partition(".")[0]
        right = self.token(purpose, request_id)
        return request_id if hmac.compare_digest(right.encode(), token.encode()) else None
