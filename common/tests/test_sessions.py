"""Who a session token makes its bearer, and every token that is refused."""

import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import APIRouter, FastAPI

from common.events import RolesChanged, SessionEnd, SessionEnded
from common.http.app import Running, create_app
from common.http.sessions import (
    ACCESS_SECONDS,
    COOKIE,
    OPERATOR,
    REMEMBERED_SECONDS,
    CurrentUser,
    Operator,
    OptionalUser,
    SessionOver,
    Sessions,
    User,
)
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

ADA = person()


def ended(session_id: str) -> SessionEnded:
    at, reason = datetime.now(UTC), SessionEnd.SIGNED_OUT
    return SessionEnded(session_id=session_id, user_id=ADA.id, ended_at=at, reason=reason)


def roles_changed(user_id: str, version: int) -> RolesChanged:
    return RolesChanged(user_id=user_id, account_version=version, roles=(), at=datetime.now(UTC))


@pytest.fixture
def sessions(tokens: Tokens) -> Sessions:
    """What the service checks tokens with."""
    return Sessions(tokens.jwk_set)


@pytest.fixture
async def client(sessions: Sessions) -> AsyncIterator[httpx.AsyncClient]:
    """A service with a route for everyone, one for those who are signed in, and one for operators."""
    async with running(service(sessions)) as client:
        yield client


def service(sessions: Sessions) -> FastAPI:
    """The service that checks sessions with these."""
    router = APIRouter()

    @router.get("/me")
    async def me(user: CurrentUser) -> User:
        return user

    @router.get("/maybe")
    async def maybe(user: OptionalUser) -> User | None:
        return user

    @router.get("/operator")
    async def operator(user: Operator) -> User:
        return user

    @asynccontextmanager
    async def start() -> AsyncIterator[Running]:
        yield Running([sessions], {})

    return create_app("test", router, start)


async def refusal(client: httpx.AsyncClient, token: str) -> str:
    """The code with which this bearer token is refused; where a session is optional, it is none."""
    headers = {"Authorization": f"Bearer {token}"}
    answer = await client.get("/me", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.get("/maybe", headers=headers)).json() is None
    return str(answer.json()["code"])


async def test_a_session_comes_as_a_bearer_token_or_as_a_cookie(client: httpx.AsyncClient, tokens: Tokens) -> None:
    token = tokens.token(ADA)
    for headers in (
        {"Authorization": f"Bearer {token}"},
        {"Authorization": f"bearer  {token} "},
        {"Cookie": f"theme=dark; {COOKIE}={token}"},
        {"Authorization": "Basic YTpi", "Cookie": f"{COOKIE}={token}"},
    ):
        for path in ("/me", "/maybe"):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.json()) == (200, ADA.model_dump(mode="json"))


async def test_the_bearer_token_counts_where_both_are_sent(client: httpx.AsyncClient, tokens: Tokens) -> None:
    bob = person("Bob")
    cookie = {"Cookie": f"{COOKIE}={tokens.token(ADA)}"}

    answer = await client.get("/me", headers=cookie | tokens.headers(bob))
    assert answer.json() == bob.model_dump(mode="json")

    answer = await client.get("/me", headers=cookie | {"Authorization": "Bearer forged"})
    assert answer.status_code == 401, "a bad one does not fall back to the other"


async def test_without_a_session_nobody_is_signed_in(client: httpx.AsyncClient) -> None:
    answer = await client.get("/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")
    assert (await client.get("/maybe")).json() is None


async def test_an_expired_session_is_refused(client: httpx.AsyncClient, tokens: Tokens) -> None:
    assert await refusal(client, tokens.token(ADA, exp=int(time.time()) - 1)) == "session_expired"


async def test_a_session_counts_at_once_where_the_clock_is_behind_that_of_auth(
    client: httpx.AsyncClient, tokens: Tokens
) -> None:
    token = tokens.token(ADA, iat=int(time.time()) + 5)

    answer = await client.get("/me", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 200


async def test_a_session_of_the_far_future_is_refused(client: httpx.AsyncClient, tokens: Tokens) -> None:
    assert await refusal(client, tokens.token(ADA, iat=int(time.time()) + 3600)) == "session_invalid"


async def test_a_session_that_was_good_ends_when_it_expires(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked tokens are remembered, but not for longer than they hold."""
    expires = int(time.time()) + ACCESS_SECONDS
    token, now = tokens.token(ADA, exp=expires), expires - 0.001
    monkeypatch.setattr("common.http.sessions.time", SimpleNamespace(time=lambda: now))
    async with running(service(Sessions(tokens.jwk_set))) as client:
        assert (await client.get("/me", headers={"Authorization": f"Bearer {token}"})).status_code == 200
        now = expires
        assert await refusal(client, token) == "session_expired"


def unsigned(tokens: Tokens, algorithm: str, key: bytes = b"", **header: Any) -> str:
    """A token made by hand, with Ada's good claims and another algorithm."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    claims = tokens.token(ADA).split(".")[1]
    head = part(json.dumps({"alg": algorithm, "typ": "JWT", "kid": tokens.kid, **header}).encode())
    signature = hmac.new(key, f"{head}.{claims}".encode(), hashlib.sha256).digest() if key else b""
    return f"{head}.{claims}.{part(signature)}"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "EdDSA"])
async def test_an_unsigned_token_is_refused(algorithm: str, client: httpx.AsyncClient, tokens: Tokens) -> None:
    assert await refusal(client, unsigned(tokens, algorithm)) == "session_invalid"


async def test_the_public_key_is_no_secret_to_sign_with(client: httpx.AsyncClient, tokens: Tokens) -> None:
    """The classic confusion: HMAC with the public key, in every form an attacker may have it in."""
    public = tokens.key.public_key()
    jwk = json.loads(tokens.jwk_set)["keys"][0]
    for key in (
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        jwk["x"].encode(),
        json.dumps(jwk).encode(),
    ):
        assert await refusal(client, unsigned(tokens, "HS256", key)) == "session_invalid"


async def test_a_token_of_another_key_is_refused(client: httpx.AsyncClient, tokens: Tokens) -> None:
    assert await refusal(client, Tokens().token(ADA)) == "session_invalid", "the right kid, the wrong key"
    stranger = Tokens(tokens.key, kid="unknown")
    assert await refusal(client, stranger.token(ADA)) == "session_invalid", "the right key, an unknown kid"


async def test_a_key_that_comes_with_the_token_is_not_trusted(client: httpx.AsyncClient, tokens: Tokens) -> None:
    attacker = Tokens()
    [jwk] = json.loads(attacker.jwk_set)["keys"]
    payload = jwt.decode(tokens.token(ADA), options={"verify_signature": False})
    for header in ({"jwk": jwk}, {"jku": "http://127.0.0.1:1/keys"}, {"x5u": "http://127.0.0.1:1/"}):
        token = jwt.encode(payload, attacker.key, algorithm="EdDSA", headers={"kid": tokens.kid, **header})
        assert await refusal(client, token) == "session_invalid"


async def test_another_algorithm_is_refused_even_if_well_signed(client: httpx.AsyncClient, tokens: Tokens) -> None:
    payload = jwt.decode(tokens.token(ADA), options={"verify_signature": False})
    token = jwt.encode(payload, generate_ec_key(SECP256R1()), algorithm="ES256", headers={"kid": tokens.kid})
    assert await refusal(client, token) == "session_invalid"


@pytest.mark.parametrize("kid", [None, 7, ["test"], {"test": 1}, "", "../test"])
async def test_a_token_without_a_good_key_id_is_refused(kid: Any, client: httpx.AsyncClient, tokens: Tokens) -> None:
    header, claims, signature = tokens.token(ADA).split(".")
    content = json.loads(base64.urlsafe_b64decode(header + "==")) | {"kid": kid}
    if kid is None:
        del content["kid"]
    header = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
    assert await refusal(client, f"{header}.{claims}.{signature}") == "session_invalid"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "elsewhere"},
        {"aud": None},
        {"iss": "elsewhere"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"sid": None},
        {"iat": None},
        {"ver": "new"},
        {"exp": None},
        {"exp": "never"},
        {"email": None},
        {"name": ["Ada"]},
        {"nbf": 2**40},
        {"iat": "yesterday"},
    ],
    ids=str,
)
async def test_a_well_signed_token_that_is_not_a_session_of_ours_is_refused(
    claims: dict[str, Any], client: httpx.AsyncClient, tokens: Tokens
) -> None:
    payload = jwt.decode(tokens.token(ADA), options={"verify_signature": False}) | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    token = jwt.api_jws.encode(
        json.dumps(payload).encode(), tokens.key, algorithm="EdDSA", headers={"kid": tokens.kid, "typ": "JWT"}
    )
    assert await refusal(client, token) == "session_invalid"


@pytest.mark.parametrize(
    "damage", [lambda t: t[:-3], lambda t: t + "AAAA", lambda t: t.replace(".", ",", 1), lambda t: t * 2]
)
async def test_a_damaged_token_is_refused(
    damage: Callable[[str], str], client: httpx.AsyncClient, tokens: Tokens
) -> None:
    assert await refusal(client, damage(tokens.token(ADA))) == "session_invalid"


@pytest.mark.parametrize("token", ["x", "a.b", "a.b.c", "....", "e30.e30.", "\x7f", 9_000 * "A", "bnVsbA.e30.e30"])
async def test_rubbish_is_refused(token: str, client: httpx.AsyncClient) -> None:
    assert await refusal(client, token) == "session_invalid"


async def test_claims_that_were_changed_are_refused(client: httpx.AsyncClient, tokens: Tokens) -> None:
    header, _, signature = tokens.token(ADA).split(".")
    _, claims, _ = tokens.token(person("Mallory")).split(".")
    assert await refusal(client, f"{header}.{claims}.{signature}") == "session_invalid"


async def test_keys_are_rotated_by_having_both_for_a_while(tokens: Tokens) -> None:
    old, new = Tokens(), Tokens()
    keys = [*json.loads(old.jwk_set)["keys"], *json.loads(new.jwk_set)["keys"]]
    sessions = Sessions(json.dumps({"keys": keys}))
    assert sessions.user(old.token(ADA)) == sessions.user(new.token(ADA)) == ADA


async def test_an_ended_session_is_refused_and_the_others_of_its_user_are_not(
    client: httpx.AsyncClient, sessions: Sessions, tokens: Tokens
) -> None:
    here, elsewhere = tokens.token(ADA, sid="here"), tokens.token(ADA, sid="elsewhere")
    assert (await client.get("/me", headers={"Authorization": f"Bearer {here}"})).status_code == 200

    sessions.receive(ended("here"))

    assert await refusal(client, here) == "session_ended", "although it was checked before"
    assert await refusal(client, tokens.token(ADA, sid="here")) == "session_ended"
    assert (await client.get("/me", headers={"Authorization": f"Bearer {elsewhere}"})).status_code == 200


async def test_changed_roles_are_refused_until_a_newer_token_has_them(
    client: httpx.AsyncClient, sessions: Sessions, tokens: Tokens
) -> None:
    ola = person("Ola", OPERATOR)

    async def asked(path: str, version: int, user: User = ola) -> tuple[int, str | None]:
        answer = await client.get(path, headers=tokens.headers(user, ver=version))
        return answer.status_code, answer.json().get("code")

    assert await asked("/operator", 3) == (200, None)

    sessions.receive(roles_changed(ola.id, 4))
    sessions.receive(roles_changed(ola.id, 2))  # comes late

    assert await asked("/operator", 3) == (401, "session_ended")
    assert await asked("/me", 3) == (200, None), "only what needs a role asks for a newer token"
    assert await asked("/operator", 4) == (200, None)
    assert await asked("/operator", 4, ola.model_copy(update={"roles": ()})) == (403, "operator_only")
    assert await asked("/operator", 1, person("Otto", OPERATOR)) == (200, None)


async def test_what_was_announced_is_forgotten_when_no_token_can_be_older(
    monkeypatch: pytest.MonkeyPatch, tokens: Tokens
) -> None:
    monkeypatch.setattr("common.http.sessions.REMEMBERED_SECONDS", 0.05)
    sessions = Sessions(tokens.jwk_set)
    token = tokens.token(ADA, sid="here")

    async def forgotten() -> bool:
        with contextlib.suppress(SessionOver):
            return sessions.user(token) == ADA
        return False

    async def remembered() -> bool:
        sessions.receive(ended("here"))
        return not await forgotten()

    await eventually(remembered)
    await eventually(forgotten)
    assert REMEMBERED_SECONDS > ACCESS_SECONDS


async def test_with_https_only_the_cookie_that_no_other_host_can_set_counts(tokens: Tokens) -> None:
    token = tokens.token(ADA)
    async with running(service(Sessions(tokens.jwk_set, secure=True))) as client:
        for name, status in (("session", 401), ("__Host-session", 200)):
            assert (await client.get("/me", headers={"Cookie": f"{name}={token}"})).status_code == status
