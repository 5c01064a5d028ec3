"""Devices that somebody has signed in on: their tries are counted apart from those of their network.

Whoever shares a network with an attacker gets in from a device that they have used before (OWASP, Authentication Cheat
Sheet: device cookies). The cookie is of one account, says nothing about it, and gives no right but that.
"""

import hmac
from hashlib import sha256
from secrets import token_hex

from pydantic import SecretStr


class Devices:
    """Makes and checks the cookies: `device.signature`, with HMAC-SHA256 over device and user."""

    def __init__(self, key: SecretStr) -> None:
        self._key = hmac.digest(key.get_secret_value().encode(), b"souk devices", sha256)

    def cookie(self, user_id: str, known: str | None = None) -> str:
        """The cookie of a device on which somebody has signed in; the one that it has, if that is theirs."""
        if known and self.device(known, user_id):
            return known
        device = token_hex(16)
        return f"{device}.{self._signature(device, user_id)}"

    def device(self, cookie: str, user_id: str) -> str | None:
        """The device of a cookie. None if this user has never signed in on it."""
        device, _, signature = cookie.partition(".")
        right = self._signature(device, user_id)
        return device if hmac.compare_digest(signature.encode(), right.encode()) else None

    def _signature(self, device: str, user_id: str) -> str:
        return hmac.digest(self._key, f"{device}|{user_id}".encode(), sha256).hex()
