"""Turns an access token into the `CurrentUser`. It is checked with public keys, without asking auth.

What auth announces about sessions (that one has ended, that roles have changed) is kept in memory for as long as an
access token lasts, so that no older token gets past it (docs/decisions/sessions.md).
"""

import json
import time
from base64 import urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

import jwt
from cachetools import TLRUCache, TTLCache
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from common.errors import Forbidden, Unauthenticated
from common.events import EmailChanged, Event, RolesChanged, SessionEnded, UserVerified
from common.http.dependencies import raises
from common.http.network import network_of
from common.http.write_limit import WriteLimit
from common.ids import AHEAD_SECONDS

COOKIE = "session"
"""The cookie with the access token. Its name on the wire is that of `cookie_name`."""

REFRESH_COOKIE = "refresh"
"""The cookie with the refresh token, which only auth takes."""

CEREMONY_COOKIE = "ceremony"
"""The cookie that binds the challenge of a sign-in by passkey to the browser that asked for it."""

ALGORITHM = "EdDSA"
ISSUER = "souk"
OPERATOR = "operator"
"""The role that may see everybody's orders and decide about dead letters."""

ACCESS_SECONDS = 600
"""The longest that an access token may last, in seconds."""

PROOF_SECONDS = 300
"""How long a proof by passkey is fresh, in seconds."""

REMEMBERED_SECONDS = ACCESS_SECONDS + 60
"""How long a service remembers what auth announced: longer than any older access token lasts, by clocks that differ."""

ANNOUNCED: tuple[type[Event], ...] = (SessionEnded, RolesChanged, UserVerified, EmailChanged)
"""What a service with sessions listens to; see `Sessions.receive`."""


class User(BaseModel):
    """The caller, as the session describes them."""

    model_config = ConfigDict(frozen=True)

    id: str
    email: str
    name: str
    roles: tuple[str, ...] = ()
    verified: bool = False
    """Whether they have proved that the address is theirs."""


@dataclass(frozen=True, slots=True)
class Session:
    """What an access token says: the sign-in that it belongs to, its user, and when it expires (Unix seconds).

    `proved_at` is when the user last proved with a passkey, in this session, to be its owner (Unix seconds, 0: never).
    """

    id: str
    user: User
    account_version: int
    expires_at: float
    has_passkey: bool = False
    proved_at: float = 0.0


class OperatorOnly(Forbidden):
    """The caller is signed in, but is not an operator."""

    code = "operator_only"


class EmailNotVerified(Forbidden):
    """The caller has not proved yet that their address is theirs, and this needs it."""

    code = "email_not_verified"


class PasskeyNeeded(Forbidden):
    """This needs a passkey, and the caller has none: they can add one."""

    code = "passkey_needed"


class ProofNeeded(Forbidden):
    """This needs a fresh proof that the caller is the owner of the session. `by`: the methods that count."""

    code = "proof_needed"


class SessionInvalid(Unauthenticated):
    """The token is malformed, forged, signed with an unknown key, or for another audience."""

    code = "session_invalid"


class SessionExpired(Unauthenticated):
    """The session was valid, and has expired."""

    code = "session_expired"


class SessionOver(Unauthenticated):
    """The session was ended, or its user's roles have changed since this token was signed: refresh, or sign in."""

    code = "session_ended"


NO_SESSION = (Unauthenticated, SessionInvalid, SessionExpired, SessionOver)
"""What a request gets whose session is not valid."""


def public_jwk(key: Ed25519PublicKey) -> dict[str, str]:
    """The key as a JWK (RFC 8037). Its `kid` is its thumbprint (RFC 7638): SHA-256 in base64url."""
    jwk = jwt.algorithms.OKPAlgorithm.to_jwk(key, as_dict=True)
    required = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
    kid = urlsafe_b64encode(sha256(required.encode()).digest()).rstrip(b"=").decode()
    return {**jwk, "kid": kid, "use": "sig", "alg": ALGORITHM}


DEVICE_COOKIE = "device"
"""The cookie of a device that somebody has signed in on."""


def cookie_name(name: str, *, secure: bool) -> str:
    """The name of a cookie on the wire: with https, one that no other host of the same site can set (RFC 6265bis)."""
    return f"__Host-{name}" if secure else name


class Sessions:
    """Checks access tokens (JWT, EdDSA) against a set of public keys, by `kid`, and against what auth has announced."""

    def __init__(
        self,
        jwk_set: str,
        *,
        secure: bool = False,
        verified_only: bool = False,
        passkeys_only: bool = False,
        writes_per_minute: int = 600,
    ) -> None:
        """With `secure`, the cookie is that of https. With `verified_only`, a `VerifiedUser` is verified.

        With `passkeys_only`, who has no passkey cannot pass `check_proof`; else they are not asked for one.
        `writes_per_minute` are for one user, and for a network without a session.
        """
        self.verified_only = verified_only
        self.passkeys_only = passkeys_only
        self.writes = WriteLimit(writes_per_minute)
        self.cookie = cookie_name(COOKIE, secure=secure)
        self._keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(jwk_set).keys}
        # Checking a signature costs more than the rest of a request, and a valid token stays valid until it expires.
        self._checked: TLRUCache[str, Session] = TLRUCache(
            maxsize=10_000, ttu=lambda _token, session, _now: session.expires_at, timer=time.time
        )
        self._ended: TTLCache[str, None] = TTLCache(maxsize=1_000_000, ttl=REMEMBERED_SECONDS)
        self._account_versions: TTLCache[str, int] = TTLCache(maxsize=1_000_000, ttl=REMEMBERED_SECONDS)

    def session(self, token: str) -> Session:
        """The session of this access token. Raises `SessionExpired`, `SessionInvalid` or `SessionOver`."""
        try:
            session = self._checked[token]  # Not `get`, which looks three times.
        except KeyError:
            session = self._checked[token] = self._verify(token)
        if session.id in self._ended:
            raise SessionOver("this session has ended; sign in again")
        return session

    def user(self, token: str) -> User:
        """The user whose session this is. Raises as `session` does."""
        return self.session(token).user

    def is_outdated(self, session: Session) -> bool:
        """Whether the roles of its user have changed since the token was signed: a refresh brings the new ones."""
        return session.account_version < self._account_versions.get(session.user.id, 0)

    def check_proof(self, session: Session, *, fresh: bool = True) -> None:
        """Raise `ProofNeeded` unless its user has proved with a passkey to be its owner: just now, or else ever.

        Who has no passkey is not asked; or, with `passkeys_only`, told to add one: `PasskeyNeeded`.
        """
        if session.has_passkey:
            if session.proved_at <= (time.time() - PROOF_SECONDS if fresh else 0):
                raise ProofNeeded("confirm with your passkey that it is you", by=["passkey"])
        elif self.passkeys_only:
            raise PasskeyNeeded("add a passkey first")

    def check_operator(self, session: Session, *, fresh: bool = False) -> None:
        """Raise `OperatorOnly` unless its user is an operator, and `SessionOver` with outdated roles.

        Then as `check_proof`.
        """
        if self.is_outdated(session):
            raise SessionOver("your roles have changed; refresh the session")
        if OPERATOR not in session.user.roles:
            raise OperatorOnly("this is for operators only")
        self.check_proof(session, fresh=fresh)

    def receive(self, event: Event) -> None:
        """Keep what auth has announced."""
        match event:
            case SessionEnded():
                self._ended[event.session_id] = None
            case RolesChanged() | UserVerified() | EmailChanged():
                known = self._account_versions.get(event.user_id, 0)
                self._account_versions[event.user_id] = max(known, event.account_version)

    def _verify(self, token: str) -> Session:
        try:
            key = self._keys[jwt.get_unverified_header(token).get("kid", "")]
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=ISSUER,
                leeway=AHEAD_SECONDS,  # of `iat`: the clock of auth may be ahead of this one
                options={"require": ["exp", "iat", "sub", "sid"]},
            )
            if float(claims["exp"]) <= time.time():
                raise jwt.ExpiredSignatureError
            user = User(
                id=claims["sub"],
                email=claims["email"],
                name=claims["name"],
                roles=claims.get("roles", ()),
                verified=claims.get("verified", False),
            )
            return Session(
                id=str(claims["sid"]),
                user=user,
                account_version=int(claims.get("ver", 0)),
                expires_at=float(claims["exp"]),
                has_passkey=bool(claims.get("has_passkey")),
                proved_at=float(claims.get("proved_at", 0)),
            )
        except jwt.ExpiredSignatureError:
            raise SessionExpired("the session has expired; refresh it, or sign in again") from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
            raise SessionInvalid("this is not a session of ours; sign in again") from None


def token_of(request: Request) -> str | None:
    """The token of a request: from `Authorization: Bearer`, else from the session cookie. None if it has neither."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    return request.cookies.get(_sessions(request).cookie)


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.parts[Sessions]  # A dependency more would cost as much as the rest.
    return sessions


def writer_of(request: Request) -> str:
    """For whom a change counts: the user of a valid session, else the network."""
    with suppress(Unauthenticated):
        if token := token_of(request):
            return _sessions(request).user(token).id
    return network_of(request.client.host) if request.client else ""


@raises(*NO_SESSION)
async def current_session(request: Request) -> Session:
    """The session of the caller. Raises `Unauthenticated`, with the reason."""
    if token := token_of(request):
        return _sessions(request).session(token)
    raise Unauthenticated("sign in first")


async def optional_session(request: Request) -> Session | None:
    """The session of the caller. None without one, or with an invalid one."""
    try:
        return await current_session(request)
    except Unauthenticated:
        return None


def caller_id(request: Request) -> str | None:
    """The id of the user whose valid session a request has, if its service knows sessions."""
    sessions, token = request.app.state.parts.get(Sessions), None
    if sessions and (token := token_of(request)):
        with suppress(Unauthenticated):
            return str(sessions.user(token).id)
    return None


async def optional_user(request: Request) -> User | None:
    """The signed-in user. None without a session, or with an invalid one."""
    session = await optional_session(request)
    return session.user if session else None


@raises(*NO_SESSION)
async def current_user(request: Request) -> User:
    """The signed-in user. Raises `Unauthenticated`, with the reason."""
    return (await current_session(request)).user


@raises(*NO_SESSION, EmailNotVerified)
async def verified_user(request: Request) -> User:
    """The signed-in user, who may hold and sell. Raises `Unauthenticated` or, where it is asked, `EmailNotVerified`."""
    session, sessions = await current_session(request), _sessions(request)
    if sessions.verified_only and not session.user.verified:
        if sessions.is_outdated(session):
            raise SessionOver("your account has changed; refresh the session")
        raise EmailNotVerified("confirm your e-mail address first")
    return session.user


@raises(*NO_SESSION, OperatorOnly, PasskeyNeeded, ProofNeeded)
async def current_operator(request: Request) -> User:
    """The signed-in operator. Raises `Unauthenticated` or `OperatorOnly`; with outdated roles, `SessionOver`.

    One who has a passkey must have proved it in this session; one who must have one and has none gets `PasskeyNeeded`.
    """
    return await _operator(request, fresh=False)


@raises(*NO_SESSION, OperatorOnly, PasskeyNeeded, ProofNeeded)
async def proved_operator(request: Request) -> User:
    """The signed-in operator, for what cannot be undone: as `current_operator`, with a fresh proof by passkey."""
    return await _operator(request, fresh=True)


async def _operator(request: Request, *, fresh: bool) -> User:
    session = await current_session(request)
    _sessions(request).check_operator(session, fresh=fresh)
    return session.user


CurrentSession = Annotated[Session, Depends(current_session)]
OptionalSession = Annotated[Session | None, Depends(optional_session)]
CurrentUser = Annotated[User, Depends(current_user)]
VerifiedUser = Annotated[User, Depends(verified_user)]
OptionalUser = Annotated[User | None, Depends(optional_user)]
Operator = Annotated[User, Depends(current_operator)]
ProvedOperator = Annotated[User, Depends(proved_operator)]
