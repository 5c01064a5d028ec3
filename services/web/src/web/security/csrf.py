"""What a browser brings back and must be our own: each form has a signed token, bound to a cookie and to the user."""

import secrets
from collections.abc import Sequence
from hashlib import sha256
from typing import Literal

from itsdangerous import BadSignature, URLSafeSerializer, URLSafeTimedSerializer

from common.errors import Forbidden

VISIT_COOKIE = "visit"
FIELD = "form_token"
SIGNER = {"digest_method": sha256}

Purpose = Literal["purchase", "wish", "gate"]
"""What sealed words are for: what one signs in for is never taken for something else."""

SEALED_SECONDS = 12 * 3600
"""For how long sealed words count. A purchase has an Idempotency-Key, which orders remembers for 24 hours."""


class StaleForm(Forbidden):
    """The form was made for another visit, or by another site."""

    code = "stale_form"


class Csrf:
    """Makes and checks the tokens. Each one is different, so that compressing a page does not reveal them (BREACH)."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def token(self, visit: str, user_id: str | None) -> str:
        """A token for a form of this visit."""
        return str(self._serializer(visit, user_id).dumps(secrets.token_urlsafe(6)))

    def check(self, token: str, visit: str, user_id: str | None) -> None:
        """Raise `StaleForm` unless the token was made for this visit and this user."""
        try:
            self._serializer(visit, user_id).loads(token)
        except BadSignature:
            raise StaleForm("this form belongs to another visit") from None

    def seal(self, visit: str, purpose: Purpose, words: Sequence[str]) -> str:
        """`words` for the address of a page, which no link of another visit can bring back."""
        return str(self._sealer(visit, purpose).dumps(list(words)))

    def unseal(self, visit: str, purpose: Purpose, sealed: str) -> list[str] | None:
        """What `seal` was given for this visit and this purpose, while that counts. None for anything else."""
        try:
            return list(self._sealer(visit, purpose).loads(sealed, max_age=SEALED_SECONDS))
        except BadSignature:
            return None

    def _serializer(self, visit: str, user_id: str | None) -> URLSafeSerializer:
        return URLSafeSerializer(self._secret, salt=f"form:{visit}:{user_id or ''}", signer_kwargs=SIGNER)

    def _sealer(self, visit: str, purpose: Purpose) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret, salt=f"words:{purpose}:{visit}", signer_kwargs=SIGNER)


def new_visit() -> str:
    """The cookie value of a new visit."""
    return secrets.token_urlsafe(16)
