"""Access tokens that every service must refuse."""

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from common.http.sessions import ALGORITHM, ISSUER, User
from common.ids import new_id
from infra.local.stack.keys import Keys
from tests.support.sessions import Tokens, person


def bad_tokens(keys: Keys, somebody: User | None = None) -> dict[str, tuple[str, str]]:
    """Tokens of somebody that must be refused, each by what is wrong with it, and the code of the refusal."""
    real = Tokens(keys.private_key)
    somebody = somebody or person()
    claims: dict[str, Any] = {
        "sub": somebody.id,
        "email": somebody.email,
        "name": somebody.name,
        "roles": somebody.roles,
    }
    claims |= {"sid": new_id(), "ver": 1}  # Nothing else is wrong with them.
    claims |= {"iss": ISSUER, "aud": ISSUER, "iat": int(time.time()), "exp": int(time.time()) + 3600}
    endless = {name: value for name, value in claims.items() if name != "exp"}
    public = keys.public_jwk["x"]
    good = real.token(somebody)
    return {
        "forged": (_signed(claims, Ed25519PrivateKey.generate(), real.kid), "session_invalid"),
        "unknown key": (Tokens().token(somebody), "session_invalid"),
        "our key under another name": (Tokens(real.key, kid="another").token(somebody), "session_invalid"),
        "expired": (real.token(somebody, exp=int(time.time()) - 1), "session_expired"),
        "unsigned": (f"{_part({'alg': 'none', 'kid': real.kid})}.{_part(claims)}.", "session_invalid"),
        "hmac with the public key": (
            jwt.encode(claims, public * 2, algorithm="HS256", headers={"kid": real.kid}),
            "session_invalid",
        ),
        "for somebody else": (real.token(somebody, aud="elsewhere"), "session_invalid"),
        "from somebody else": (real.token(somebody, iss="elsewhere"), "session_invalid"),
        "without an end": (_signed(endless, real.key, real.kid), "session_invalid"),
        "tampered": (good[:-6] + ("A" * 6 if good[-6:] != "A" * 6 else "B" * 6), "session_invalid"),
        "noise": ("not.a.token", "session_invalid"),
    }


def _signed(claims: dict[str, Any], key: Ed25519PrivateKey, kid: str) -> str:
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": kid})


def _part(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
