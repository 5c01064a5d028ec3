"""An authenticator in software: it holds passkeys, and signs as one in a phone does. What it sends can be bent."""

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

Json = dict[str, Any]
PRESENT, VERIFIED, WITH_KEY = 0x01, 0x04, 0x40
"""Flags of what an authenticator says (WebAuthn 3, 6.1)."""


def encoded(value: bytes) -> str:
    """Bytes in base64url, as WebAuthn's JSON has them."""
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def decoded(value: str) -> bytes:
    """The bytes in base64url."""
    return urlsafe_b64decode(f"{value}==")


@dataclass
class Held:
    """A key pair for one site, and whose it is."""

    site: str
    user: bytes
    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    id: bytes = field(default_factory=lambda: secrets.token_bytes(20))


@dataclass
class Authenticator:
    """A browser at `origin`, with an authenticator that has verified its user. `count` is the number that it sends."""

    origin: str = "http://localhost:8080"
    flags: int = PRESENT | VERIFIED
    count: int = 0
    held: list[Held] = field(default_factory=list)

    def create(self, options: Json) -> Json:
        """Make a passkey for these options: what `navigator.credentials.create()` answers."""
        assert options["authenticatorSelection"]["userVerification"] == "required"
        assert options["authenticatorSelection"]["residentKey"] == "required"
        new = Held(options["rp"]["id"], decoded(options["user"]["id"]))
        self.held.append(new)
        numbers = new.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        made = bytes(16) + len(new.id).to_bytes(2) + new.id + cbor2.dumps(cose)
        data = self._data(new.site, WITH_KEY) + made
        response = {
            "clientDataJSON": self._client_data("webauthn.create", options["challenge"]),
            "attestationObject": encoded(cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})),
            "transports": ["internal", "of-the-future"],
        }
        return {"id": encoded(new.id), "rawId": encoded(new.id), "type": "public-key", "response": response}

    def get(self, options: Json, **bent: Any) -> Json:
        """Sign the challenge with the newest passkey: what `navigator.credentials.get()` answers.

        `bent` replaces parts of the response, after the signature.
        """
        assert options["userVerification"] == "required"
        used = self.held[-1]
        client, data = self._client_data("webauthn.get", options["challenge"]), self._data(options["rpId"])
        signature = used.key.sign(data + sha256(decoded(client)).digest(), ECDSA(SHA256()))
        response = {
            "clientDataJSON": client,
            "authenticatorData": encoded(data),
            "signature": encoded(signature),
            "userHandle": encoded(used.user),
            **bent,
        }
        return {
            "id": encoded(used.id),
            "rawId": encoded(used.id),
            "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {},
            "response": response,
        }

    def _data(self, site: str, more: int = 0) -> bytes:
        return sha256(site.encode()).digest() + bytes([self.flags | more]) + self.count.to_bytes(4)

    def _client_data(self, kind: str, challenge: str) -> str:
        client = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return encoded(json.dumps(client).encode())
