"""Access tokens are signed here: only auth holds the private key that can sign one."""

from datetime import datetime, timedelta

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from auth.domain import Account
from auth.sessions.domain import Method, Session
from common.http.sessions import ALGORITHM, ISSUER, public_jwk


def signing_key(pem: str) -> Ed25519PrivateKey:
    """The Ed25519 key in a PEM without a passphrase. Raises `ValueError` for anything else."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, Ed25519PrivateKey):
        return key
    raise ValueError("it is not an Ed25519 private key in PEM (PKCS 8, no passphrase)")


class AccessTokens:
    """Signs access tokens that last `seconds`."""

    def __init__(self, key: Ed25519PrivateKey, seconds: int) -> None:
        self._key = key
        self.kid = public_jwk(key.public_key())["kid"]
        self.seconds = seconds

    def sign(self, account: Account, session: Session, now: datetime, *, has_passkey: bool) -> str:
        """A JWT that says who this is, which roles they have and in which session, valid from `now`."""
        proved_at = session.proofs.get(Method.PASSKEY)
        claims = {
            "sub": account.id,
            "email": account.email,
            "name": account.name,
            **({"roles": account.roles} if account.roles else {}),
            **({"verified": True} if account.verified else {}),
            "ver": account.version,
            **({"has_passkey": True} if has_passkey else {}),
            **({"proved_at": int(proved_at.timestamp())} if proved_at else {}),
            "sid": session.id,
            "iat": now,
            "exp": now + timedelta(seconds=self.seconds),
            "iss": ISSUER,
            "aud": ISSUER,
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM, headers={"kid": self.kid})
