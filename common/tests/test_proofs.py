"""What cannot be undone needs a fresh proof by passkey, which the access token carries."""

import time
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from common.http.app import Running, create_app
from common.http.sessions import OPERATOR, Operator, ProvedOperator, Sessions
from tests.support.serving import running
from tests.support.sessions import Tokens, person

OLA = person("Ola", OPERATOR)


def service(sessions: Sessions) -> FastAPI:
    """A service with something to see and something to do for operators."""
    router = APIRouter()

    @router.get("/see")
    async def see(user: Operator) -> str:
        return user.name

    @router.get("/do")
    async def do(user: ProvedOperator) -> str:
        return user.name

    @asynccontextmanager
    async def start() -> Any:
        yield Running([sessions], {})

    return create_app("test", router, start)


@pytest.mark.parametrize(
    ("claims", "required", "see", "do"),
    [
        ({}, False, "ok", "ok"),
        ({}, True, "passkey_needed", "passkey_needed"),
        ({"proved_at": 0}, True, "passkey_needed", "passkey_needed"),  # It was removed just now.
        ({"has_passkey": True}, False, "proof_needed", "proof_needed"),
        ({"has_passkey": True}, True, "proof_needed", "proof_needed"),
        ({"has_passkey": True, "proved_at": -301}, True, "ok", "proof_needed"),
        ({"has_passkey": True, "proved_at": -280}, True, "ok", "ok"),
        ({"has_passkey": True, "proved_at": -301}, False, "ok", "proof_needed"),
    ],
)
async def test_an_operator_proves_once_to_see_and_freshly_to_act(
    tokens: Tokens, claims: dict[str, Any], required: bool, see: str, do: str
) -> None:
    if "proved_at" in claims:
        claims = {**claims, "proved_at": int(time.time()) + claims["proved_at"]}
    headers = tokens.headers(OLA, **claims)

    async with running(service(Sessions(tokens.jwk_set, passkeys_only=required))) as client:
        answers = [await client.get(path, headers=headers) for path in ("/see", "/do")]

    assert [(a.status_code, "ok" if a.is_success else a.json()["code"]) for a in answers] == [
        (200 if code == "ok" else 403, code) for code in (see, do)
    ]


async def test_a_passkey_makes_nobody_an_operator(tokens: Tokens) -> None:
    headers = tokens.headers(person(), has_passkey=True, proved_at=int(time.time()))
    async with running(service(Sessions(tokens.jwk_set))) as client:
        for path in ("/see", "/do"):
            assert (await client.get(path, headers=headers)).json()["code"] == "operator_only"


@pytest.mark.parametrize("proved_at", ["nonsense", None, [], {}])
async def test_a_proof_at_no_time_is_no_session_of_ours(tokens: Tokens, proved_at: Any) -> None:
    headers = tokens.headers(OLA, has_passkey=True, proved_at=proved_at)
    async with running(service(Sessions(tokens.jwk_set))) as client:
        assert (await client.get("/do", headers=headers)).json()["code"] == "session_invalid"
