"""Challenges that an authenticator signs: for one purpose, one browser, five minutes, and one answer.

A challenge says itself when it ends, and carries a MAC over that, its purpose and its browser. So asking for one stores
nothing, however often somebody asks; only one that was answered is stored, until it has expired.
"""

import hmac
import secrets
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from auth.passkeys.store import KeyringStore
from common.errors import Invalid

LIFETIME = timedelta(minutes=5)
NONCE, TIME, MAC = 16, 8, 32


class Purpose(StrEnum):
    """What the answer is for."""

    ADD = "add"
    SIGN_IN = "sign_in"
    PROVE = "prove"


class ChallengeInvalid(Invalid):
    """The challenge was answered before, has expired, or was made for another browser or purpose, or never."""

    code = "challenge_invalid"

    def __init__(self) -> None:
        super().__init__("this took too long, or was answered before; try again")


class Challenges:
    """Makes and checks challenges, with a key made from the one that signs sessions."""

    def __init__(self, key: Ed25519PrivateKey, store: KeyringStore) -> None:
        self._key = HKDF(SHA256(), MAC, salt=None, info=b"souk passkey challenges").derive(key.private_bytes_raw())
        self._store = store

    def new(self, purpose: Purpose, browser: str, now: datetime) -> bytes:
        """A challenge for a purpose and a browser: a session's id, or the value of a cookie."""
        ends = int((now + LIFETIME).timestamp()).to_bytes(TIME)
        body = secrets.token_bytes(NONCE) + ends
        return body + self._mac(body, purpose, browser)

    def check(self, challenge: bytes, purpose: Purpose, browser: str, now: datetime) -> None:
        """Raise `ChallengeInvalid` unless the challenge was made for this and has not expired."""
        body, mac = challenge[: NONCE + TIME], challenge[NONCE + TIME :]
        right = hmac.compare_digest(mac, self._mac(body, purpose, browser))
        if not right or now.timestamp() >= _ends(challenge):
            raise ChallengeInvalid

    async def use(self, challenge: bytes) -> None:
        """Use up a checked challenge. Raises `ChallengeInvalid` the second time."""
        until = datetime.fromtimestamp(_ends(challenge), UTC) + LIFETIME  # By clocks that differ.
        if not await self._store.use(sha256(challenge).hexdigest(), until):
            raise ChallengeInvalid

    def _mac(self, body: bytes, purpose: Purpose, browser: str) -> bytes:
        return hmac.digest(self._key, body + f"{purpose} {browser}".encode(), sha256)


def _ends(challenge: bytes) -> int:
    return int.from_bytes(challenge[NONCE : NONCE + TIME])
