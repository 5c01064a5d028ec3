"""Who becomes an operator, and how long he is one."""

import sys
from http.cookies import SimpleCookie
from typing import Any

import httpx
import jwt
import pytest

from auth import commands, grant
from common.events import RolesChanged
from common.http.sessions import COOKIE, OPERATOR, REFRESH_COOKIE
from infra.servers.process import free_port
from tests.support.bus import Events

OLA = {"email": "ola@souk.test", "password": "correct horse", "name": "Ola"}


async def refreshed(auth: httpx.AsyncClient) -> tuple[httpx.Response, Any]:
    """Refresh the session: the answer, and the roles in the new access token."""
    answer = await auth.post("/api/users/refresh")
    assert answer.status_code == 200
    return answer, jwt.decode(answer.cookies[COOKIE], options={"verify_signature": False}).get("roles", [])


def days(answer: httpx.Response) -> float:
    """For how long the refresh token is good."""
    cookies = SimpleCookie("; ".join(answer.headers.get_list("set-cookie")))
    return int(cookies[REFRESH_COOKIE]["max-age"]) / (24 * 3600)


async def test_an_operator_is_one_from_the_next_refresh_on_and_for_twelve_hours_at_most(
    auth: httpx.AsyncClient, events: Events
) -> None:
    signed_up = await auth.post("/api/users/signup", json={**OLA, "name": "Ola"})
    assert signed_up.json()["roles"] == []
    assert days(signed_up) == 30

    said = await grant.change("OLA@souk.test", revoke=False)

    assert said == "ola@souk.test is now an operator; the change applies within two seconds"
    [changed] = await events.published(RolesChanged)
    assert (changed.user_id, changed.roles) == (signed_up.json()["id"], (OPERATOR,))
    answer, roles = await refreshed(auth)
    assert answer.json()["roles"] == roles == [OPERATOR]
    assert 0.49 < days(answer) <= 0.5

    await grant.change("ola@souk.test", revoke=True)

    answer, roles = await refreshed(auth)
    assert answer.json()["roles"] == roles == []
    assert len(await events.published(RolesChanged, 2)) == 2


async def test_nobody_signs_up_as_an_operator(auth: httpx.AsyncClient) -> None:
    answer = await auth.post("/api/users/signup", json={**OLA, "roles": [OPERATOR]})
    assert answer.status_code == 422


def test_the_command_says_who_is_not_there(environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    environment.setattr(sys, "argv", ["auth.grant", "nobody@souk.test"])
    assert grant.main() == 1
    assert capsys.readouterr().err == "nobody has signed up with nobody@souk.test\n"


def test_the_command_does_not_wait_for_a_bus_that_is_away_for_ever(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("NATS_URL", f"nats://127.0.0.1:{free_port()}")
    environment.setattr(commands, "COMMAND_PATIENCE", 0.5)
    environment.setattr(sys, "argv", ["auth.grant", "ola@souk.test"])

    assert grant.main() == 2
    assert "nothing was changed" in capsys.readouterr().err
