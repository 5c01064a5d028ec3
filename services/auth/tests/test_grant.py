"""Who becomes an operator, and how long he is one."""

import sys
from typing import Any

import httpx
import jwt
import pytest

from auth import grant
from auth.sessions import MAX_SECONDS_WITH_ROLE
from common.http.sessions import COOKIE, OPERATOR

OLA = {"email": "ola@souk.test", "password": "correct horse", "name": "Ola"}


async def signed_in(auth: httpx.AsyncClient) -> tuple[Any, dict[str, Any]]:
    """Sign in as Ola: what is answered, and what the session says."""
    answer = await auth.post("/api/users/signin", json={"email": OLA["email"], "password": OLA["password"]})
    return answer.json(), jwt.decode(answer.cookies[COOKIE], options={"verify_signature": False})


async def test_an_operator_is_one_from_the_next_sign_in_on_and_for_twelve_hours_at_most(
    auth: httpx.AsyncClient,
) -> None:
    signed_up = await auth.post("/api/users/signup", json={**OLA, "name": "Ola"})
    assert signed_up.json()["roles"] == []

    said = await grant.change("OLA@souk.test", revoke=False)

    assert said == "ola@souk.test is now an operator; the change applies at the next sign-in"
    user, claims = await signed_in(auth)
    assert user["roles"] == claims["roles"] == [OPERATOR]
    assert claims["exp"] - claims["iat"] == MAX_SECONDS_WITH_ROLE
    assert (await auth.get("/api/users/currentuser")).json()["current_user"]["roles"] == [OPERATOR]

    await grant.change("ola@souk.test", revoke=True)

    user, claims = await signed_in(auth)
    assert user["roles"] == []
    assert "roles" not in claims


async def test_nobody_signs_up_as_an_operator(auth: httpx.AsyncClient) -> None:
    answer = await auth.post("/api/users/signup", json={**OLA, "roles": [OPERATOR]})
    assert answer.status_code == 422


def test_the_command_says_who_is_not_there(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setattr(sys, "argv", ["auth.grant", "nobody@souk.test"])
    assert grant.main() == 1
    assert capsys.readouterr().err == "nobody has signed up with nobody@souk.test\n"
