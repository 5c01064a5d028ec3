"""Forms that only our own pages can send: a signed token in each, bound to a cookie and to who is signed in."""

import secrets
from hashlib import sha256

from fastapi import Request
from itsdangerous import BadSignature, URLSafeSerializer

from common.errors import Forbidden

COOKIE = "visit"
FIELD = "form_token"


class StaleForm(Forbidden):
    """The form was made for another visit, or by another site."""

    code = "stale_form"


class Csrf:
    """Makes and checks the tokens. Each one is different, so that compressing the page gives nothing away."""

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
            raise StaleForm("this form is not of this visit") from None

    def _serializer(self, visit: str, user_id: str | None) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._secret, salt=f"form:{visit}:{user_id or ''}", signer_kwargs={"digest_method": sha256}
        )


def new_visit() -> str:
    """The value of a new visit's cookie."""
    return secrets.token_urlsafe(16)


def check_origin(request: Request) -> None:
    """Raise `StaleForm` where the browser says that another site sends this."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        same = site in {"same-origin", "none"}
    else:
        origin = request.headers.get("origin")
        same = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if not same:
        raise StaleForm("another site sent this form")
