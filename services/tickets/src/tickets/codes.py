"""The code of a ticket: what its QR shows and a gate reads, signed with Ed25519.

It is 103 bytes in base 32: format (1), key (2), order (16), event (16), unit (2), generation (2), signature (64). These
are 165 letters and digits, which a QR code of level M holds in version 7 (45 x 45 modules) in its alphanumeric mode.
Base 45 would save one version, but has blanks and signs that a keyboard, a mail or an address changes.
"""

import json
from base64 import b32decode, b32encode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from uuid import UUID

import jwt
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

FORMAT = 1
SIGNATURE = 64
"""Bytes of a signature."""

LENGTH = 165
"""Characters of a code."""

_CLAIM = Struct(">B2s16s16sHH")


@dataclass(frozen=True)
class Claim:
    """What a code says, and surely somebody with the key has said."""

    order_id: str
    unit: int
    item_id: str
    generation: int


class TicketCodes:
    """Makes codes with the private key, and reads those of this and of earlier keys."""

    def __init__(self, private_pem: str, earlier_keys: str = "") -> None:
        """`earlier_keys` is a JWK set of public keys. Raises `ValueError` for what is no Ed25519 key."""
        key = load_pem_private_key(private_pem.encode(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("it is not an Ed25519 key")  # noqa: TRY004 - the file has the wrong value
        self._key = key
        self._kid = key_id(self._key.public_key())
        known = [self._key.public_key(), *public_keys(earlier_keys)]
        self._known = {key_id(key): key for key in reversed(known)}

    def code(self, claim: Claim) -> str:
        """The code. It is the same every time, so nobody needs to store it."""
        order, item = (UUID(hex=identifier).bytes for identifier in (claim.order_id, claim.item_id))
        signed = _CLAIM.pack(FORMAT, self._kid, order, item, claim.unit, claim.generation)
        return b32encode(signed + self._key.sign(signed)).rstrip(b"=").decode()

    @property
    def kid(self) -> str:
        """Which of the keys signs."""
        return self._kid.hex()

    def sign(self, text: str) -> str:
        """The signature of a text in base64url. No text is a code: those begin with the byte of their format."""
        return urlsafe_b64encode(self._key.sign(text.encode())).decode()

    @property
    def known_keys(self) -> dict[str, str]:
        """The public keys of codes, in base64url, by their `kid` in hexadecimal digits."""
        return {
            kid.hex(): urlsafe_b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
            for kid, key in self._known.items()
        }

    def read(self, code: str) -> Claim | None:
        """What a code says. None if it was not made with one of the keys."""
        text = code.strip().upper()
        if len(text) != LENGTH:
            return None
        try:
            content = b32decode(text + "=" * (-LENGTH % 8))
        except (Error, ValueError):
            return None
        signed, signature = content[:-SIGNATURE], content[-SIGNATURE:]
        version, kid, order, item, unit, generation = _CLAIM.unpack(signed)
        key = self._known.get(kid)
        if version != FORMAT or key is None:
            return None
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            return None
        return Claim(order.hex(), unit, item.hex(), generation)


def key_id(key: Ed25519PublicKey) -> bytes:
    """The `kid` in a code: the first two bytes of the key's SHA-256."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest()[:2]


def public_keys(jwk_set: str) -> list[Ed25519PublicKey]:
    """The keys of a JWK set (RFC 8037), or none if it is empty. Raises `ValueError` if it has others, or is none."""
    if not jwk_set:
        return []
    try:
        keys = [jwt.PyJWK(key).key for key in json.loads(jwk_set)["keys"]]
    except (jwt.PyJWTError, KeyError, TypeError) as error:
        raise ValueError("it is not a JWK set") from error
    if not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise ValueError("it has a key that is not an Ed25519 public key")
    return keys
