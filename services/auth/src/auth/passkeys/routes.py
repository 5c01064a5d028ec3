"""Passkeys and recovery codes: add, name, remove, sign in, and prove that a session is one's own.

Options and credentials have WebAuthn's JSON form: `PublicKeyCredential.parseCreationOptionsFromJSON`, `.toJSON()`.
"""

import secrets
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from auth.domain import BadCredentials
from auth.fields import AnyPassword, Email
from auth.passkeys.challenges import LIFETIME, ChallengeInvalid
from auth.passkeys.domain import (
    PasskeyInvalid,
    PasskeyKnown,
    PasskeyLimit,
    PasskeyNotFound,
    PasskeyRefused,
)
from auth.passkeys.passkeys import Passkeys
from auth.sessions.routes import Address, Cookies, CurrentClient, Id, SessionCookies
from common.errors import TooMany, Unauthenticated, Unavailable
from common.events import PasskeyChange
from common.http.dependencies import Now, Provided
from common.http.paging import Body
from common.http.problems import problems
from common.http.sessions import (
    CEREMONY_COOKIE,
    CurrentSession,
    PasskeyNeeded,
    ProofNeeded,
    User,
    VerifiedUser,
    cookie_name,
)
from common.security_log import note
from common.text import LINE

router = APIRouter()

Bytes = Annotated[
    str,
    StringConstraints(max_length=4096, pattern=r"^[A-Za-z0-9_-]*$", strip_whitespace=False),
    Field(examples=["c291aw"]),
]
"""Bytes in base64url without padding."""

LongBytes = Annotated[
    str,
    StringConstraints(max_length=32_768, pattern=r"^[A-Za-z0-9_-]*$", strip_whitespace=False),
    Field(examples=["c291aw"]),
]
PasskeyName = Annotated[str, StringConstraints(min_length=1, max_length=60), LINE, Field(examples=["My phone"])]
Keys = Annotated[Passkeys, Provided(Passkeys)]


class FromBrowser(BaseModel):
    """Part of what a browser answers; what Souk does not need is ignored."""

    model_config = ConfigDict(extra="ignore")


class Attestation(FromBrowser):
    """How an authenticator has made a key pair."""

    clientDataJSON: Bytes  # noqa: N815 - the standard's name
    attestationObject: LongBytes  # noqa: N815 - the standard's name
    transports: Annotated[
        list[Annotated[str, StringConstraints(max_length=32), Field(examples=["internal"])]], Field(max_length=10)
    ] = []


class Assertion(FromBrowser):
    """What an authenticator has signed."""

    clientDataJSON: Bytes  # noqa: N815 - the standard's name
    authenticatorData: Bytes  # noqa: N815 - the standard's name
    signature: Bytes
    userHandle: Bytes | None = None  # noqa: N815 - the standard's name


class NewCredential(FromBrowser):
    """The answer of `navigator.credentials.create()`."""

    id: Bytes
    rawId: Bytes  # noqa: N815 - the standard's name
    type: Literal["public-key"]
    response: Attestation


class SignedCredential(FromBrowser):
    """The answer of `navigator.credentials.get()`."""

    id: Bytes
    rawId: Bytes  # noqa: N815 - the standard's name
    type: Literal["public-key"]
    response: Assertion


class AddPasskey(Body):
    """A passkey that the browser has made, and how its owner knows it again."""

    credential: NewCredential
    name: PasskeyName


class RenamePasskey(Body):
    """The new name."""

    name: PasskeyName


class UsePasskey(Body):
    """What a passkey has signed."""

    credential: SignedCredential


class ProvePassword(Body):
    """The password of who is signed in."""

    password: AnyPassword


class UseCode(Body):
    """Who signs in, with one of their recovery codes."""

    email: Email
    code: Annotated[str, StringConstraints(max_length=64), Field(examples=["7q4k-m2xd-9p3r"])]


class PasskeyView(BaseModel):
    """One of the caller's passkeys."""

    id: str
    name: str
    created_at: datetime
    last_used_at: datetime | None


class CodesLeft(BaseModel):
    """How many of the caller's recovery codes are unused."""

    left: int


class NewCodes(BaseModel):
    """Recovery codes, which are shown this once."""

    codes: list[str]


Options = dict[str, Any]


@router.post("/passkeys/options", responses=problems(Unauthenticated, ProofNeeded, PasskeyLimit, Unavailable))
async def passkey_options(keys: Keys, session: CurrentSession, _verified: VerifiedUser, now: Now) -> Options:
    """What `navigator.credentials.create()` needs. Needs a fresh proof: see `POST /api/users/passkeys/prove`.

    Who has no passkey yet proves with the password. Where addresses are verified, theirs is verified first.
    """
    return await keys.begin_adding(session, now)


@router.post(
    "/passkeys",
    status_code=status.HTTP_201_CREATED,
    responses=problems(
        BadCredentials, PasskeyInvalid, ChallengeInvalid, PasskeyKnown, PasskeyLimit, TooMany, Unavailable
    ),
)
async def add_passkey(
    body: AddPasskey,
    keys: Keys,
    session: CurrentSession,
    _verified: VerifiedUser,
    response: Response,
    cookies: SessionCookies,
    client: CurrentClient,
    now: Now,
) -> PasskeyView:
    """Add a passkey. It signs in alone from now on; its owner is told by mail."""
    passkey, issued = await keys.add(session, _dumped(body.credential), body.name, now)
    note("passkeys_changed", session.user.id, client.network, PasskeyChange.ADDED)
    cookies.set(response, issued)
    return _view(passkey)


@router.get("/passkeys", responses=problems(Unauthenticated))
async def list_passkeys(keys: Keys, session: CurrentSession) -> list[PasskeyView]:
    """The caller's passkeys, the oldest first."""
    return [_view(passkey) for passkey in (await keys.keyring(session.user.id)).passkeys]


@router.patch("/passkeys/{passkey_id}", responses=problems(Unauthenticated, PasskeyNotFound, Unavailable))
async def rename_passkey(passkey_id: Id, body: RenamePasskey, keys: Keys, session: CurrentSession) -> PasskeyView:
    """Give one of the caller's passkeys another name."""
    return _view(await keys.rename(session.user.id, passkey_id, body.name))


@router.delete(
    "/passkeys/{passkey_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(Unauthenticated, PasskeyNotFound, ProofNeeded, Unavailable),
)
async def remove_passkey(
    passkey_id: Id,
    keys: Keys,
    session: CurrentSession,
    response: Response,
    cookies: SessionCookies,
    client: CurrentClient,
    now: Now,
) -> None:
    """Remove one of the caller's passkeys. Needs a fresh proof; its owner is told by mail."""
    cookies.set(response, await keys.remove(session, passkey_id, now))
    note("passkeys_changed", session.user.id, client.network, PasskeyChange.REMOVED)


@router.post("/passkeys/signin/options")
async def passkey_sign_in_options(
    request: Request, response: Response, keys: Keys, cookies: SessionCookies, now: Now
) -> Options:
    """What `navigator.credentials.get()` needs to sign in with whichever passkey the person chooses."""
    browser = _browser(request, cookies) or secrets.token_urlsafe(16)
    seconds = int(LIFETIME.total_seconds())
    response.set_cookie(_ceremony(cookies), browser, seconds, httponly=True, samesite="strict", secure=cookies.secure)
    return keys.begin_sign_in(browser, now)


@router.post(
    "/passkeys/signin",
    responses=problems(PasskeyRefused, BadCredentials, ChallengeInvalid, TooMany, Unavailable),
)
async def sign_in_with_passkey(
    body: UsePasskey,
    request: Request,
    response: Response,
    keys: Keys,
    cookies: SessionCookies,
    client: CurrentClient,
    address: Address,
    now: Now,
) -> User:
    """Open a session, with a passkey alone."""
    browser = _browser(request, cookies)
    if browser is None:
        raise ChallengeInvalid
    issued = await keys.sign_in(browser, _dumped(body.credential), client, address, now)
    cookies.set(response, issued)
    return issued.user


@router.post("/passkeys/prove/options", responses=problems(Unauthenticated, PasskeyNeeded))
async def proof_options(keys: Keys, session: CurrentSession, now: Now) -> Options:
    """What `navigator.credentials.get()` needs to prove with one of the caller's passkeys."""
    return await keys.begin_proof(session, now)


@router.post("/passkeys/prove", responses=problems(PasskeyRefused, ChallengeInvalid, TooMany, Unavailable))
async def prove_with_passkey(
    body: UsePasskey,
    keys: Keys,
    session: CurrentSession,
    response: Response,
    cookies: SessionCookies,
    address: Address,
    now: Now,
) -> User:
    """Prove that the session is the caller's own: for five minutes its access token says so (`proved_at`)."""
    issued = await keys.prove(session, _dumped(body.credential), address, now)
    cookies.set(response, issued)
    return issued.user


@router.post("/password/prove", responses=problems(BadCredentials, TooMany, Unavailable))
async def prove_with_password(
    body: ProvePassword,
    keys: Keys,
    session: CurrentSession,
    response: Response,
    cookies: SessionCookies,
    address: Address,
    now: Now,
) -> User:
    """Prove it with the password. That counts while there is no passkey, and not for operators' work."""
    issued = await keys.prove_by_password(session, body.password, address, now)
    cookies.set(response, issued)
    return issued.user


@router.get("/recovery-codes", responses=problems(Unauthenticated))
async def recovery_codes_left(keys: Keys, session: CurrentSession) -> CodesLeft:
    """How many recovery codes the caller has left."""
    return CodesLeft(left=len((await keys.keyring(session.user.id)).code_hashes))


@router.post(
    "/recovery-codes",
    status_code=status.HTTP_201_CREATED,
    responses=problems(BadCredentials, ProofNeeded, Unavailable),
)
async def new_recovery_codes(
    keys: Keys, session: CurrentSession, _verified: VerifiedUser, client: CurrentClient, now: Now
) -> NewCodes:
    """Ten new recovery codes; older ones stop working. Needs a fresh proof; their owner is told by mail."""
    made = await keys.new_codes(session, now)
    note("passkeys_changed", session.user.id, client.network, PasskeyChange.CODES_MADE)
    return NewCodes(codes=made)


@router.post("/recovery-codes/signin", responses=problems(BadCredentials, TooMany, Unavailable))
async def sign_in_with_code(
    body: UseCode,
    response: Response,
    keys: Keys,
    cookies: SessionCookies,
    client: CurrentClient,
    address: Address,
    now: Now,
) -> User:
    """Open a session with a recovery code, which works once. Its owner is told by mail."""
    issued = await keys.sign_in_by_code(body.email, body.code, client, address, now)
    note("passkeys_changed", issued.user.id, client.network, PasskeyChange.CODE_USED)
    cookies.set(response, issued)
    return issued.user


def _view(passkey: BaseModel) -> PasskeyView:
    return PasskeyView.model_validate(passkey, from_attributes=True)


def _dumped(credential: BaseModel) -> dict[str, Any]:
    return credential.model_dump(exclude_none=True)


def _ceremony(cookies: Cookies) -> str:
    return cookie_name(CEREMONY_COOKIE, secure=cookies.secure)


def _browser(request: Request, cookies: Cookies) -> str | None:
    return request.cookies.get(_ceremony(cookies))
