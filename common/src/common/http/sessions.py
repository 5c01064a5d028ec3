"""Turns a session token into the `CurrentUser`. It is checked with public keys, without asking auth."""

import json
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Annotated

import jwt
from cachetools import TLRUCache
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, ValidationError

from common.errors import Forbidden, Unauthenticated
from common.ids import AHEAD_SECONDS

COOKIE = "session"
ALGORITHM = "EdDSA"
ISSUER = "souk"
OPERATOR = "operator"
"""The role that may see everybody's orders and decide about dead letters."""


class User(BaseModel):
    """The caller, as the session describes them."""

    model_config = ConfigDict(frozen=True)

    id: str
    email: str
    name: str
    roles: tuple[str, ...] = ()


class OperatorOnly(Forbidden):
    """The caller is signed in, but is not an operator."""

    code = "operator_only"


class SessionInvalid(Unauthenticated):
    """The token is malformed, forged, signed with an unknown key, or for another audience."""

    code = "session_invalid"


class SessionExpired(Unauthenticated):
    """The session was valid, and has expired."""

    code = "session_expired"


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The key as a JWK (RFC 8037). Its `kid` is its thumbprint (RFC 7638): SHA-256 in base64url."""
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True)
    required = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    kid = urlsafe_b64encode(sha256(required.encode()).digest()).rstrip(b"=").decode()
    return {**jwk, "kid": kid, "use": "sig", "alg": ALGORITHM}


class Sessions:
    """Checks session tokens (JWT, EdDSA) against a set of public keys, by `kid`."""

    def __init__(self, jwk_set: str) -> None:
        self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(jwk_set).keys}
        # Checking a signature costs more than the rest of a request, and a valid token stays valid until it expires.
        self._checked: TLRUCache[str, tuple[User, float]] = TLRUCache(
            maxsize=10_000, ttu=lambda _token, checked, _now: checked[1], timer=time.time
        )

    def user(self, token: str) -> User:
        """The user whose session this is. Raises `SessionExpired` or `SessionInvalid`."""
        if (checked := self._checked.get(token)) is None:
            checked = self._checked[token] = self._verify(token)
        return checked[0]

    def _verify(self, token: str) -> tuple[User, float]:
        try:
            key = self._keys[jwt.get_unverified_header(token).get("kid", "")]
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=ISSUER,
                leeway=AHEAD_SECONDS,  # of `iat`: the clock of auth may be ahead of this one
                options={"require": ["exp", "sub"]},
            )
            if float(claims["exp"]) <= time.time():
                raise jwt.ExpiredSignatureError
            user = User(id=claims["sub"], email=claims["email"], name=claims["name"], roles=claims.get("roles", ()))
            return user, float(claims["exp"])
        except jwt.ExpiredSignatureError:
            raise SessionExpired("the session has expired; sign in again") from None
        except (jwt.InvalidTokenError, KeyError, ValidationError):
            raise SessionInvalid("this is not a session of ours; sign in again") from None


def token_of(request: Request) -> str | None:
    """The token of a request: from `Authorization: Bearer`, else from the session cookie. None if it has neither."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    return request.cookies.get(COOKIE)


async def optional_user(request: Request) -> User | None:
    """The signed-in user. None without a session, or with an invalid one."""
    try:
        return await current_user(request)
    except Unauthenticated:
        return None


async def current_user(request: Request) -> User:
    """The signed-in user. Raises `Unauthenticated`, with the reason."""
    if token := token_of(request):
        sessions: Sessions = request.app.state.parts[Sessions]  # A dependency more would cost as much as the rest.
        return sessions.user(token)
    raise Unauthenticated("sign in first")


async def current_operator(request: Request) -> User:
    """The signed-in operator. Raises `Unauthenticated` or `OperatorOnly`."""
    user = await current_user(request)
    if OPERATOR not in user.roles:
        raise OperatorOnly("this is for operators only")
    return user


CurrentUser = Annotated[User, Depends(current_user)]
OptionalUser = Annotated[User | None, Depends(optional_user)]
Operator = Annotated[User, Depends(current_operator)]
