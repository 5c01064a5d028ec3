"""Sessions begin and end here: only auth holds the private key that can sign one."""

from datetime import datetime, timedelta

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from common.http.sessions import ALGORITHM, ISSUER, User, public_jwk

MAX_SECONDS_WITH_ROLE = 12 * 3600
"""Longest lifetime of a session with a role, in seconds. A revoked role stays usable until that session ends."""


def signing_key(pem: str) -> Ed25519PrivateKey:
    """The Ed25519 key in a PEM without a passphrase. Raises `ValueError` for anything else."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError("it is not an Ed25519 private key in PEM (PKCS 8, no passphrase)")


class SessionIssuer:
    """Signs session tokens."""

    def __init__(self, key: Ed25519PrivateKey, seconds: int, secure: bool) -> None:
        """Sessions last `seconds`. With `secure`, their cookies are for HTTPS only."""
        self._key = key
        self._kid = public_jwk(key.public_key())["kid"]
        self._seconds = seconds
        self.secure = secure

    def seconds(self, user: User) -> int:
        """How long a session of this user lasts."""
        return min(self._seconds, MAX_SECONDS_WITH_ROLE) if user.roles else self._seconds

    def token(self, user: User, now: datetime) -> str:
        """A signed JWT that says who this is and which roles they have, valid from `now`."""
        claims = {
            "sub": user.id,
            "email": user.email,
            "name": user.name,
            **({"roles": user.roles} if user.roles else {}),
            "iat": now,
            "exp": now + timedelta(seconds=self.seconds(user)),
            "iss": ISSUER,
            "aud": ISSUER,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self._kid})
