"""Passwords and keys of the laptop stack, created at the first start, in files that only their owner can read."""

import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from common.http.sessions import REMEMBERED_SECONDS, public_jwk
from common.settings import DEVELOPMENT
from infra.servers.server import write_private

SIGNING = "jwt_private_key.pem"
NEXT = "jwt_next_key.pem"
OLD = "jwt_old_keys.json"
TICKETS = "ticket_private_key.pem"


class Keys:
    """The secrets in `folder`, one file for each.

    The key that signs sessions is replaced in steps, between which the services start again: `add_key`, so that all
    know the new one; `sign_with_added_key`; `finish_rotation`. The old one is known until what it signed has expired.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def password(self, name: str) -> str:
        """Return the password called `name`: `dev_`, and 32 letters, digits, `-` and `_`."""
        return self._stored(name, lambda: DEVELOPMENT + secrets.token_urlsafe(24))

    @property
    def private_pem(self) -> str:
        """The key that signs sessions, as PKCS 8 in PEM."""
        return self._stored(SIGNING, _new_private_key)

    @property
    def ticket_pem(self) -> str:
        """The key that signs the codes of tickets, as PKCS 8 in PEM."""
        return self._stored(TICKETS, _new_private_key)

    @property
    def private_key(self) -> Ed25519PrivateKey:
        """The key that signs sessions."""
        return _parsed(self.private_pem)

    @property
    def public_jwk(self) -> dict[str, str]:
        """The public key of the key that signs, as a JWK; `kid` is its thumbprint."""
        return public_jwk(self.private_key.public_key())

    @property
    def public_keys(self) -> str:
        """The JWK set (RFC 7517) that sessions are checked against."""
        every = [self.public_jwk]
        if self.rotating:
            every.append(public_jwk(_parsed((self._folder / NEXT).read_text()).public_key()))
        every += [old["key"] for old in self._old_keys() if old["until"] > time.time()]
        return json.dumps({"keys": list({key["kid"]: key for key in every}.values())})

    @property
    def rotating(self) -> bool:
        """Whether a key was added and its rotation is not finished."""
        return (self._folder / NEXT).exists()

    def add_key(self) -> None:
        """Make the key that signs next, or go on with one that was added. It is among the public keys from now on."""
        self._stored(NEXT, _new_private_key)

    def sign_with_added_key(self) -> None:
        """Sign with the added key. The one before stays among the public keys until its last token has expired."""
        added = (self._folder / NEXT).read_text()
        if added != self.private_pem:
            kept = [old for old in self._old_keys() if old["until"] > time.time()]
            retired = {"key": self.public_jwk, "until": time.time() + REMEMBERED_SECONDS}
            write_private(self._folder / OLD, json.dumps([*kept, retired]))
            write_private(self._folder / SIGNING, added)

    def finish_rotation(self) -> None:
        """The services sign with the added key, and know it as theirs."""
        (self._folder / NEXT).unlink()

    def _old_keys(self) -> list[dict[str, Any]]:
        file = self._folder / OLD
        return cast("list[dict[str, Any]]", json.loads(file.read_text())) if file.exists() else []

    def _stored(self, name: str, make: Callable[[], str]) -> str:
        file = self._folder / name
        if not file.exists():
            write_private(file, make())
        return file.read_text()


def _parsed(pem: str) -> Ed25519PrivateKey:
    return cast("Ed25519PrivateKey", load_pem_private_key(pem.encode(), password=None))


def _new_private_key() -> str:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
