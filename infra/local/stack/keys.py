"""Passwords and keys of the laptop stack, created at the first start, in files that only their owner can read."""

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from common.http.sessions import public_jwk
from common.settings import DEVELOPMENT
from infra.servers.server import write_private


class Keys:
    """The secrets in `folder`, one file for each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def password(self, name: str) -> str:
        """Return the password called `name`: `dev_`, and 32 letters, digits, `-` and `_`."""
        return self._stored(name, lambda: DEVELOPMENT + secrets.token_urlsafe(24))

    @property
    def private_pem(self) -> str:
        """The key that signs sessions, as PKCS 8 in PEM."""
        return self._stored("jwt_private_key.pem", _new_private_key)

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The key that signs sessions."""
        return cast("Ed25519PrivateKey", load_pem_private_key(self.private_pem.encode(), password=None))

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public key as a JWK; `kid` is its thumbprint."""
        return public_jwk(self.private_key.public_key())

    @property
    def public_keys(self) -> str:
        """The JWK set (RFC 7517) that sessions are checked against."""
        return json.dumps({"keys": [self.public_jwk]})

    def _stored(self, name: str, make: Callable[[], str]) -> str:
        file = self._folder / name
        if not file.exists():
            write_private(file, make())
        return file.read_text()


def _new_private_key() -> str:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
