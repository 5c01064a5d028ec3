"""What auth writes into the security log: who got in, who did not, what ended, who was given what."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from auth.sessions.store import SessionStore
from common.http.sessions import REFRESH_COOKIE
from common.mongo.client import Database
from tests.support.authenticator import Authenticator, encoded
from tests.support.bus import Events
from tests.support.waiting import eventually

OLA = {"email": "ola@souk.test", "password": "correct horse", "name": "Ola"}

Noted = Callable[[str], Awaitable[dict[str, Any]]]


@pytest.fixture
def noted(events: Events) -> Noted:
    """Waits for an entry of this kind; returns the last one."""

    async def last(kind: str) -> dict[str, Any]:
        async def there() -> Any:
            return await events.messages("SECURITY", f"security.auth.{kind}")

        found: dict[str, Any] = json.loads((await eventually(there))[-1].data)
        return found

    return last


async def test_a_sign_in_is_noted_good_or_bad_without_the_address_that_was_tried(
    auth: httpx.AsyncClient, noted: Noted
) -> None:
    ola = (await auth.post("/api/users/signup", json=OLA)).json()["id"]
    assert (await noted("signed_in"))["user_id"] == ola

    await auth.post("/api/users/signin", json={"email": OLA["email"], "password": "wrong"})
    bad = await noted("sign_in_failed")
    assert (bad["user_id"], bad["count"]) == (ola, 1)
    assert "@" not in json.dumps(bad)


async def test_whatever_else_is_guessed_is_noted_as_well(auth: httpx.AsyncClient, noted: Noted) -> None:
    ola, device = (await auth.post("/api/users/signup", json=OLA)).json()["id"], Authenticator()
    made = device.create((await auth.post("/api/users/passkeys/options")).json())
    assert (await auth.post("/api/users/passkeys", json={"credential": made, "name": "Phone"})).status_code == 201
    options = (await auth.post("/api/users/passkeys/signin/options")).json()

    for path, body, guessed in (
        ("password/prove", {"password": "wrong"}, "a password asked for again"),
        ("recovery-codes/signin", {"email": OLA["email"], "code": "7q4k-m2xd-9p3r"}, "a recovery code"),
        ("passkeys/signin", {"credential": device.get(options, signature=encoded(bytes(70)))}, "a passkey"),
    ):
        assert (await auth.post(f"/api/users/{path}", json=body)).status_code == 401

        async def is_noted(guessed: str = guessed) -> bool:
            bad = await noted("sign_in_failed")
            return (bad["user_id"], bad.get("detail")) == (ola, guessed)

        await eventually(is_noted, why=f"{guessed} is not noted")


async def test_a_change_of_passkeys_or_codes_is_noted_with_its_network(auth: httpx.AsyncClient, noted: Noted) -> None:
    ola, device = (await auth.post("/api/users/signup", json=OLA)).json()["id"], Authenticator()

    async def is_noted(change: str) -> None:
        async def there() -> bool:
            last = await noted("passkeys_changed")
            return (last["user_id"], last.get("detail"), last.get("network")) == (ola, change, "127.0.0.0/24")

        await eventually(there, why=f"{change} is not noted")

    codes = (await auth.post("/api/users/recovery-codes")).json()["codes"]
    await is_noted("codes_made")
    await auth.post("/api/users/recovery-codes/signin", json={"email": OLA["email"], "code": codes[0]})
    await is_noted("code_used")
    made = device.create((await auth.post("/api/users/passkeys/options")).json())
    passkey = (await auth.post("/api/users/passkeys", json={"credential": made, "name": "Phone"})).json()["id"]
    await is_noted("added")
    options = (await auth.post("/api/users/passkeys/prove/options")).json()
    await auth.post("/api/users/passkeys/prove", json={"credential": device.get(options)})
    assert (await auth.delete(f"/api/users/passkeys/{passkey}")).status_code == 204
    await is_noted("removed")


async def test_a_session_that_ends_is_noted_with_the_reason(auth: httpx.AsyncClient, noted: Noted) -> None:
    ola = (await auth.post("/api/users/signup", json=OLA)).json()["id"]
    await auth.post("/api/users/signout")
    ended = await noted("session_ended")
    assert (ended["user_id"], ended["detail"]) == (ola, "signed_out")

    await auth.post("/api/users/signin", json={name: OLA[name] for name in ("email", "password")})
    old = auth.cookies[REFRESH_COOKIE]
    await auth.post("/api/users/refresh")
    auth.cookies.set(REFRESH_COOKIE, old, domain="souk.test", path="/")
    assert (await auth.post("/api/users/refresh")).status_code == 401

    async def reused() -> bool:
        return bool((await noted("session_ended"))["detail"] == "reused")

    await eventually(reused)


async def test_a_right_that_is_given_is_noted(auth: httpx.AsyncClient, noted: Noted) -> None:
    ola = (await auth.post("/api/users/signup", json=OLA)).json()["id"]
    command = await asyncio.create_subprocess_exec(sys.executable, "-m", "auth.grant", OLA["email"])
    assert await command.wait() == 0
    given = await noted("roles_changed")
    assert (given["user_id"], given["detail"]) == (ola, "operator granted")


async def test_a_guesser_who_is_stopped_is_noted(auth: httpx.AsyncClient, noted: Noted) -> None:
    for _ in range(7):
        answer = await auth.post("/api/users/signin", json={"email": "nobody@souk.test", "password": "wrong"})
    assert answer.status_code == 429
    stopped = await noted("throttled")
    assert stopped["detail"] == "POST /api/users/signin: too_many_requests"


async def test_a_new_signing_key_is_noted_once(auth: httpx.AsyncClient, db: Database) -> None:
    store = SessionStore.__new__(SessionStore)
    store._keys = db.keys
    await db.keys.delete_many({})

    assert [await store.is_new_key(kid) for kid in ("a", "a", "b", "b", "a")] == [False, False, True, False, True]
