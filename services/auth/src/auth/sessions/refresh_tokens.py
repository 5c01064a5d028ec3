"""Refresh tokens: 16 bytes that all tokens of a session share, its family, and 32 bytes of its own, in base64url."""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

FAMILY_BYTES = 16
OWN_BYTES = 32
LENGTH = (FAMILY_BYTES + OWN_BYTES) * 4 // 3
"""Characters of a token."""


class RefreshToken:
    """A refresh token. Only its holder has it; what is stored are its hashes."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def new(cls) -> "RefreshToken":
        """The first token of a session."""
        return cls(secrets.token_bytes(FAMILY_BYTES + OWN_BYTES))

    @classmethod
    def of(cls, text: str) -> "RefreshToken | None":
        """The token in a cookie; None if that cannot be one."""
        if len(text) != LENGTH or not text.isascii():
            return None
        try:
            secret = urlsafe_b64decode(text)
        except ValueError:
            return None
        return cls(secret) if len(secret) == FAMILY_BYTES + OWN_BYTES else None

    @property
    def text(self) -> str:
        """The token itself."""
        return urlsafe_b64encode(self._secret).decode()

    @property
    def family_hash(self) -> str:
        """SHA-256 of what all tokens of the session share. It is random, so it needs no salt and no slow hash."""
        return sha256(self._secret[:FAMILY_BYTES]).hexdigest()

    @property
    def hash(self) -> str:
        """SHA-256 of the whole token."""
        return sha256(self._secret).hexdigest()

    def following(self, chain: "RefreshChain", key: str | None, salt: str) -> "RefreshToken":
        """The next token of the session: with a key always the same one, else a random one. `salt` is the session's."""
        own = chain.derive(self._secret, key, salt) if key else secrets.token_bytes(OWN_BYTES)
        return RefreshToken(self._secret[:FAMILY_BYTES] + own)


class RefreshChain:
    """Derives the next token from the one before and an Idempotency-Key, so that an answer can be given twice.

    With an old token alone nobody can compute its followers: it takes the key of mails, a secret of auth's,
    which stays when the key that signs is rotated: then two replicas sign with different ones and must give one answer.
    A session has its own salt; one from before has none, and is derived from the signing key.
    """

    def __init__(self, key: Ed25519PrivateKey, lasting: SecretStr) -> None:
        self._before = _derived(key.private_bytes_raw(), b"souk refresh tokens")
        self._key = _derived(lasting.get_secret_value().encode(), b"souk refresh tokens")

    def derive(self, secret: bytes, key: str, salt: str) -> bytes:
        """The own bytes of the token after `secret`."""
        chain = hmac.digest(self._key, salt.encode(), sha256) if salt else self._before
        return hmac.digest(chain, secret + key.encode(), sha256)


def _derived(secret: bytes, info: bytes) -> bytes:
    return HKDF(SHA256(), OWN_BYTES, salt=None, info=info).derive(secret)
