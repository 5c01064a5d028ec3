"""Who takes an account back by mail has it alone: nothing that was asked for, added or begun before counts any more."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from pwdlib import PasswordHash
from pydantic import SecretStr

from auth.main import app
from common.clock import now
from common.events import (
    EmailChanged,
    EmailChangeRequested,
    PasskeyChange,
    PasskeysChanged,
    PasswordResetRequested,
    SessionEnded,
    VerificationRequested,
)
from common.http.sessions import COOKIE, REFRESH_COOKIE
from common.mail_tokens import MailTokens, Purpose
from common.mongo.client import Database
from tests.support.authenticator import Authenticator
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.waiting import eventually

TOKENS = MailTokens(SecretStr("a key for mails of tests"))
ADA = {"email": "ada@souk.test", "password": "correct horse", "name": "Ada"}
NEW = "another horse"
INVALID = (422, "token_invalid")
BAD = (401, "bad_credentials")


async def post(auth: httpx.AsyncClient, path: str, **body: Any) -> tuple[int, str | None]:
    """The status of the answer, and its code where it is a problem."""
    answer = await auth.post(f"/api/users/{path}", json=body or None)
    return answer.status_code, answer.json()["code"] if answer.status_code >= 400 else None


async def signed_up(auth: httpx.AsyncClient) -> None:
    assert await post(auth, "signup", **ADA) == (201, None)


async def asked_to_reset(auth: httpx.AsyncClient, events: Events, number: int = 1) -> str:
    """The token of the newest reset, which is the one with this number."""
    assert await post(auth, "password-reset", email=ADA["email"]) == (202, None)
    asked = (await events.published(PasswordResetRequested, number))[-1]
    return TOKENS.token(Purpose.RESET_PASSWORD, asked.request_id)


async def asked_to_move(auth: httpx.AsyncClient, events: Events, password: str = ADA["password"]) -> str:
    """The token of a link to the attacker's address."""
    assert await post(auth, "email", password=password, new_email="mallory@souk.test") == (202, None)
    *_, asked = await events.published(EmailChangeRequested)
    return TOKENS.token(Purpose.CHANGE_EMAIL, asked.request_id)


async def reset(auth: httpx.AsyncClient, token: str, password: str = NEW) -> tuple[int, str | None]:
    return await post(auth, "password-reset/confirm", token=token, new_password=password)


async def add_passkey(auth: httpx.AsyncClient) -> Authenticator:
    device = Authenticator()
    options = (await auth.post("/api/users/passkeys/options")).json()
    assert await post(auth, "passkeys", credential=device.create(options), name="Phone") == (201, None)
    return device


async def sign_in_by_passkey(auth: httpx.AsyncClient, device: Authenticator) -> tuple[int, str | None]:
    options = (await auth.post("/api/users/passkeys/signin/options")).json()
    return await post(auth, "passkeys/signin", credential=device.get(options))


@pytest.mark.parametrize("change", ["reset", "password", "passkey"])
async def test_a_link_to_another_address_is_void_after(auth: httpx.AsyncClient, events: Events, change: str) -> None:
    await signed_up(auth)
    link = await asked_to_move(auth, events)

    match change:
        case "reset":
            assert await reset(auth, await asked_to_reset(auth, events)) == (204, None)
        case "password":
            assert await post(auth, "password", current_password=ADA["password"], new_password=NEW) == (204, None)
        case "passkey":
            await add_passkey(auth)

    assert await post(auth, "email/confirm", token=link) == INVALID
    assert not await events.messages("USERS", EmailChanged.subject)


@pytest.mark.parametrize("change", ["reset", "password", "passkey"])
async def test_other_links_to_a_new_password_are_void_after(
    auth: httpx.AsyncClient, events: Events, change: str
) -> None:
    await signed_up(auth)
    first, second = await asked_to_reset(auth, events), await asked_to_reset(auth, events, 2)

    match change:
        case "reset":
            assert await reset(auth, second) == (204, None)
        case "password":
            assert await post(auth, "password", current_password=ADA["password"], new_password=NEW) == (204, None)
        case "passkey":
            await add_passkey(auth)

    assert await reset(auth, first, "third horse!!") == INVALID


async def test_of_two_links_used_at_once_one_counts(auth: httpx.AsyncClient, events: Events) -> None:
    await signed_up(auth)
    links = [await asked_to_reset(auth, events), await asked_to_reset(auth, events, 2)]

    answers = await asyncio.gather(*(reset(auth, link, f"horse of {link[:12]}") for link in links))

    assert sorted(answers) == [(204, None), INVALID]


async def test_the_old_address_takes_a_change_back(auth: httpx.AsyncClient, events: Events) -> None:
    await signed_up(auth)
    device = await add_passkey(auth)
    assert await post(auth, "email/confirm", token=await asked_to_move(auth, events)) == (204, None)
    [changed] = await events.published(EmailChanged)
    back = TOKENS.token(Purpose.UNDO_EMAIL, changed.request_id or "")
    squatter = await auth.post("/api/users/signup", json=ADA, headers={"Cookie": "none=1"})
    assert (squatter.status_code, squatter.json()["code"]) == (409, "email_taken"), "it can be taken back"
    assert await post(auth, "password", current_password=ADA["password"], new_password=NEW) == (204, None)

    assert await post(auth, "email/undo", token=back) == (204, None)
    assert await post(auth, "email/undo", token=back) == INVALID

    assert (await auth.post("/api/users/refresh")).json()["code"] == "session_ended"
    for email in (ADA["email"], "mallory@souk.test"):
        for password in (NEW, ADA["password"], "", "nobody has this password"):
            assert await post(auth, "signin", email=email, password=password) == BAD
    assert (await sign_in_by_passkey(auth, device))[0] == 401
    [asked] = await events.published(PasswordResetRequested)
    link = TOKENS.token(Purpose.RESET_PASSWORD, asked.request_id)
    assert await reset(auth, link, "third horse!!") == (204, None)
    assert await post(auth, "signin", email=ADA["email"], password="third horse!!") == (200, None)


@pytest.mark.parametrize("first", ["the owner", "whoever came later"])
async def test_the_oldest_address_has_the_last_word(auth: httpx.AsyncClient, events: Events, first: str) -> None:
    await signed_up(auth)
    for number, email in enumerate(("mallory@souk.test", "eve@souk.test"), 1):
        assert await post(auth, "email", password=ADA["password"], new_email=email) == (202, None)
        asked = (await events.published(EmailChangeRequested, number))[-1]
        token = TOKENS.token(Purpose.CHANGE_EMAIL, asked.request_id)
        assert await post(auth, "email/confirm", token=token) == (204, None)
    changes = await events.published(EmailChanged, 2)
    of_owner, of_mallory = [TOKENS.token(Purpose.UNDO_EMAIL, one.request_id or "") for one in changes]

    if first == "whoever came later":
        assert await post(auth, "email/undo", token=of_mallory) == (204, None)
    assert await post(auth, "email/undo", token=of_owner) == (204, None)
    assert await post(auth, "email/undo", token=of_mallory) == INVALID

    asked_last = (await events.published(PasswordResetRequested, 2 if first == "whoever came later" else 1))[-1]
    assert await reset(auth, TOKENS.token(Purpose.RESET_PASSWORD, asked_last.request_id)) == (204, None)
    assert await post(auth, "signin", email=ADA["email"], password=NEW) == (200, None)


async def test_a_change_is_taken_back_for_three_days(auth: httpx.AsyncClient, events: Events, clock: Any) -> None:
    await signed_up(auth)
    link = await asked_to_move(auth, events)
    assert await post(auth, "email/undo", token=link) == INVALID, "that link is for something else"
    assert await post(auth, "email/confirm", token=link) == (204, None)
    [changed] = await events.published(EmailChanged)
    back = TOKENS.token(Purpose.UNDO_EMAIL, changed.request_id or "")

    clock(days=3, seconds=1)
    assert await post(auth, "email/undo", token=back) == INVALID
    clock(days=2, hours=23)
    assert await post(auth, "email/undo", token=back) == (204, None)


async def test_a_reset_removes_the_passkeys_and_codes_of_whoever_was_here_before(
    auth: httpx.AsyncClient, events: Events
) -> None:
    await signed_up(auth)
    device = await add_passkey(auth)
    options = (await auth.post("/api/users/passkeys/prove/options")).json()
    assert await post(auth, "passkeys/prove", credential=device.get(options)) == (200, None)
    codes = (await auth.post("/api/users/recovery-codes")).json()["codes"]
    assert await reset(auth, await asked_to_reset(auth, events)) == (204, None)
    auth.cookies.clear()

    assert (await sign_in_by_passkey(auth, device))[0] == 401
    assert await post(auth, "recovery-codes/signin", email=ADA["email"], code=codes[0]) == BAD

    assert await post(auth, "signin", email=ADA["email"], password=NEW) == (200, None)
    assert (await auth.get("/api/users/passkeys")).json() == []
    assert (await auth.get("/api/users/recovery-codes")).json() == {"left": 0}
    assert (await events.published(PasskeysChanged, 3))[-1].change is PasskeyChange.RESET
    await add_passkey(auth)


async def test_a_reset_keeps_the_passkey_of_an_operator(auth: httpx.AsyncClient, events: Events, db: Database) -> None:
    await signed_up(auth)
    device = await add_passkey(auth)
    await db.users.update_one({}, {"$set": {"roles": ["operator"]}, "$inc": {"version": 1}})

    assert await reset(auth, await asked_to_reset(auth, events)) == (204, None)

    auth.cookies.clear()
    assert await sign_in_by_passkey(auth, device) == (200, None)


async def test_a_sign_in_that_is_overtaken_by_a_reset_opens_nothing(
    auth: httpx.AsyncClient, events: Events, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await signed_up(auth)
    token = await asked_to_reset(auth, events)
    checking, go_on, check = threading.Event(), threading.Event(), PasswordHash.verify_and_update

    def held(*arguments: Any) -> Any:
        checking.set()
        go_on.wait(60)
        return check(*arguments)

    monkeypatch.setattr(PasswordHash, "verify_and_update", held)
    body = {"email": ADA["email"], "password": ADA["password"]}
    overtaken = asyncio.create_task(auth.post("/api/users/signin", json=body, headers={"Cookie": "none=1"}))
    assert await asyncio.to_thread(checking.wait, 60)

    assert await reset(auth, token) == (204, None)
    go_on.set()
    answer = await overtaken

    assert (answer.status_code, answer.json()["code"]) == BAD
    assert COOKIE not in answer.cookies
    assert await db.sessions.count_documents({"ended_at": None}) == 0


async def test_what_a_process_left_that_died_in_a_reset_is_ended_by_another(
    auth: httpx.AsyncClient, events: Events, db: Database
) -> None:
    await signed_up(auth)
    device = await add_passkey(auth)
    refresh_token, access = auth.cookies[REFRESH_COOKIE], auth.cookies[COOKIE]
    died = {"$inc": {"password_version": 1, "version": 1}, "$set": {"ending_due": now(), "keys_since": 2}}
    await db.users.update_one({}, died)
    auth.cookies.clear()

    assert (await sign_in_by_passkey(auth, device))[0] == 401
    refreshed = await auth.post("/api/users/refresh", headers={"Cookie": f"{REFRESH_COOKIE}={refresh_token}"})
    assert refreshed.status_code == 401
    assert len(await events.published(SessionEnded)) == 1
    assert (await events.published(PasskeysChanged, 2))[-1].change is PasskeyChange.RESET

    async def refused() -> bool:
        seen = await auth.get("/api/users/passkeys", headers={"Authorization": f"Bearer {access}"})
        return seen.status_code == 401 and seen.json()["code"] == "session_ended"

    await eventually(refused)


async def test_nobody_adds_a_passkey_to_an_address_that_is_not_proved(
    environment: pytest.MonkeyPatch, events: Events
) -> None:
    environment.setenv("REQUIRE_VERIFIED_EMAIL", "true")
    async with running(app) as auth:
        await signed_up(auth)

        for path in ("passkeys/options", "recovery-codes"):
            assert await post(auth, path) == (403, "email_not_verified")
        asked_for = {"userVerification": "required", "residentKey": "required"}
        options = {"challenge": "AAAA", "user": {"id": "AAAA"}, "rp": {"id": "localhost"}}
        made = Authenticator().create(options | {"authenticatorSelection": asked_for})
        assert await post(auth, "passkeys", credential=made, name="Phone") == (403, "email_not_verified")

        [asked] = await events.published(VerificationRequested)
        token = TOKENS.token(Purpose.VERIFY_EMAIL, asked.request_id)
        assert await post(auth, "verify-email", token=token) == (204, None)
        await auth.post("/api/users/refresh")
        await add_passkey(auth)
