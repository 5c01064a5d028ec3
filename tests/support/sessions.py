"""People and their sessions, signed with a real key."""

import json
import time
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from common.http.sessions import ALGORITHM, ISSUER, User, public_jwk
from common.ids import new_id


@dataclass
class Tokens:
    """Makes sessions as auth does, with a key pair of its own."""

    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    kid: str = ""
    """The key id in the tokens; by default that of the key."""

    def __post_init__(self) -> None:
        self.kid = self.kid or public_jwk(self.key.public_key())["kid"]

    @property
    def jwk_set(self) -> str:
        """The public key as JWT_PUBLIC_KEYS."""
        return json.dumps({"keys": [public_jwk(self.key.public_key())]})

    @property
    def private_pem(self) -> str:
        """The private key as JWT_PRIVATE_KEY."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def token(self, user: User, **claims: Any) -> str:
        """A session token of `user`; `claims` replace or add claims."""
        now = int(time.time())
        payload: dict[str, Any] = {"sub": user.id, "email": user.email, "name": user.name, "iss": ISSUER, "aud": ISSUER}
        payload |= {"sid": new_id(), "ver": 1, "roles": user.roles, "iat": now, "exp": now + 3600, **claims}
        return jwt.encode(payload, self.key, algorithm=ALGORITHM, headers={"kid": self.kid})

    def headers(self, user: User, **claims: Any) -> dict[str, str]:
        """The Authorization header of `user`."""
        return {"Authorization": f"Bearer {self.token(user, **claims)}"}


def person(name: str = "Ada", *roles: str) -> User:
    """Somebody new."""
    user_id = new_id()
    return User(id=user_id, email=f"{name.lower()}-{user_id}@souk.test", name=name, roles=roles)
