"""Addresses are proved, passwords replaced and addresses changed by links that work once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from auth.main import app
from common.events import (
    EmailChanged,
    EmailChangeRequested,
    PasswordChanged,
    PasswordResetRequested,
    SessionEnded,
    SignUpRepeated,
    UserRegistered,
    UserVerified,
    VerificationRequested,
)
from common.mail_tokens import MailTokens, Purpose
from common.mongo.client import Database
from tests.support.bus import Events
from tests.support.serving import running

TOKENS = MailTokens(SecretStr("a key for mails of tests"))
ADA = {"email": "ada@souk.test", "password": "correct horse", "name": "Ada"}


async def signed_up(auth: httpx.AsyncClient, **different: str) -> dict[str, Any]:
    answer = await auth.post("/api/users/signup", json=ADA | different)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def post(auth: httpx.AsyncClient, path: str, **body: str) -> tuple[int, str | None]:
    """The status of the answer, and its code where it is a problem."""
    answer = await auth.post(f"/api/users/{path}", json=body)
    return answer.status_code, answer.json()["code"] if answer.status_code >= 400 else None


async def reset_token(auth: httpx.AsyncClient, events: Events) -> str:
    assert await post(auth, "password-reset", email=ADA["email"]) == (202, None)
    *_, asked = await events.published(PasswordResetRequested)
    return TOKENS.token(Purpose.RESET_PASSWORD, asked.request_id)


async def test_the_link_of_the_welcome_proves_the_address_once(auth: httpx.AsyncClient, events: Events) -> None:
    user = await signed_up(auth)
    [asked] = await events.published(VerificationRequested)
    assert asked.welcome
    assert user["verified"] is False
    token = TOKENS.token(Purpose.VERIFY_EMAIL, asked.request_id)

    answers = await asyncio.gather(*(post(auth, "verify-email", token=token) for _ in range(3)))

    assert sorted(answers) == [(204, None), (422, "token_invalid"), (422, "token_invalid")]
    [verified] = await events.published(UserVerified)
    assert verified.user_id == user["id"]
    assert (await auth.post("/api/users/refresh")).json()["verified"] is True


@pytest.mark.parametrize(
    "what", ["of another purpose", "made with another key", "of nobody", "nonsense", "without a dot"]
)
async def test_no_other_token_works(auth: httpx.AsyncClient, events: Events, what: str) -> None:
    await signed_up(auth)
    [asked] = await events.published(VerificationRequested)
    other = MailTokens(SecretStr("a thief has another key"))
    token = {
        "of another purpose": TOKENS.token(Purpose.RESET_PASSWORD, asked.request_id),
        "made with another key": other.token(Purpose.VERIFY_EMAIL, asked.request_id),
        "of nobody": TOKENS.token(Purpose.VERIFY_EMAIL, "0" * 32),
        "nonsense": f"{asked.request_id}.\u00e9",
        "without a dot": asked.request_id,
    }[what]

    assert await post(auth, "verify-email", token=token) == (422, "token_invalid")


async def test_a_link_expires(auth: httpx.AsyncClient, events: Events, db: Database) -> None:
    await signed_up(auth)
    token = await reset_token(auth, events)
    await db.requests.update_many({}, {"$set": {"expires_at": datetime.now(UTC) - timedelta(seconds=1)}})

    assert await post(auth, "password-reset/confirm", token=token, new_password="another horse") == (
        422,
        "token_invalid",
    )


async def test_a_new_password_ends_every_session_and_proves_the_address(
    auth: httpx.AsyncClient, events: Events
) -> None:
    await signed_up(auth)
    token = await reset_token(auth, events)

    weak = await post(auth, "password-reset/confirm", token=token, new_password="password1234")
    assert weak == (422, "password_too_weak")  # The link still works.
    assert await post(auth, "password-reset/confirm", token=token, new_password="another horse") == (204, None)
    assert await post(auth, "password-reset/confirm", token=token, new_password="third horse!!") == (
        422,
        "token_invalid",
    )

    assert len(await events.published(PasswordChanged)) == 1
    assert len(await events.published(SessionEnded)) == 1
    assert (await auth.post("/api/users/refresh")).json()["code"] == "session_ended"
    assert await post(auth, "signin", email=ADA["email"], password=ADA["password"]) == (401, "bad_credentials")
    assert await post(auth, "signin", email=ADA["email"], password="another horse") == (200, None)
    assert (await auth.get("/api/users/currentuser")).json()["current_user"]["verified"] is True


async def test_an_address_gets_five_mails_an_hour_whoever_asks(
    auth: httpx.AsyncClient, events: Events, db: Database
) -> None:
    await signed_up(auth)
    answers = [await post(auth, "password-reset", email=ADA["email"]) for _ in range(7)]

    assert answers == [(202, None)] * 7
    assert len(await events.published(PasswordResetRequested, 5)) == 5
    assert await post(auth, "verify-email/send") == (429, "too_many_requests")


async def test_a_network_asks_for_so_many_mails_a_minute(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MAILS_PER_NETWORK", "2")
    async with running(app) as auth:
        answers = [await post(auth, "password-reset", email=f"n{number}@souk.test") for number in range(3)]

    assert [status for status, _ in answers] == [202, 202, 429]


async def test_changing_the_password_keeps_this_session_and_ends_the_others(
    auth: httpx.AsyncClient, events: Events
) -> None:
    await signed_up(auth)
    await auth.post("/api/users/signin", json={"email": ADA["email"], "password": ADA["password"]})

    wrong = await post(auth, "password", current_password="wrong horse", new_password="another horse")
    assert wrong == (401, "bad_credentials")
    assert await post(auth, "password", current_password="correct horse", new_password="another horse") == (204, None)

    assert len(await events.published(SessionEnded)) == 1
    assert (await auth.post("/api/users/refresh")).status_code == 200


async def test_a_new_address_counts_once_it_is_confirmed(auth: httpx.AsyncClient, events: Events) -> None:
    user = await signed_up(auth)
    reset = await reset_token(auth, events)
    assert await post(auth, "email", password="wrong horse", new_email="new@souk.test") == (401, "bad_credentials")
    assert await post(auth, "email", password=ADA["password"], new_email="New@souk.test") == (202, None)
    [asked] = await events.published(EmailChangeRequested)
    assert await post(auth, "signin", email="new@souk.test", password=ADA["password"]) == (401, "bad_credentials")

    token = TOKENS.token(Purpose.CHANGE_EMAIL, asked.request_id)
    assert await post(auth, "email/confirm", token=token) == (204, None)
    assert await post(auth, "email/confirm", token=token) == (422, "token_invalid")

    [changed] = await events.published(EmailChanged)
    assert (changed.user_id, changed.request_id) == (user["id"], asked.request_id)
    assert b"new@" not in b"".join([message.data for message in await events.messages("USERS", "users.>")])
    assert await post(auth, "signin", email="new@souk.test", password=ADA["password"]) == (200, None)
    # A link that went to the old address is worth nothing any more.
    stolen = await post(auth, "password-reset/confirm", token=reset, new_password="another horse")
    assert stolen == (422, "token_invalid")


async def test_an_address_of_somebody_else_is_not_taken(auth: httpx.AsyncClient, events: Events) -> None:
    await signed_up(auth, email="bea@souk.test", name="Bea")
    await signed_up(auth)
    assert await post(auth, "email", password=ADA["password"], new_email="bea@souk.test") == (202, None)
    [asked] = await events.published(EmailChangeRequested)

    token = TOKENS.token(Purpose.CHANGE_EMAIL, asked.request_id)
    assert await post(auth, "email/confirm", token=token) == (409, "email_taken")


async def test_in_production_a_sign_up_does_not_tell_whether_there_is_an_account(
    environment: pytest.MonkeyPatch, events: Events
) -> None:
    environment.setenv("ENV", "prod")
    environment.setenv("COOKIE_SECURE", "true")
    environment.setenv("PUBLIC_URL", "https://souk.test")
    async with running(app) as auth:
        first, second = [await auth.post("/api/users/signup", json=ADA) for _ in range(2)]

        for answer in (first, second):
            assert (answer.status_code, answer.json()) == (202, {"status": "check_mail"})
            assert "set-cookie" not in answer.headers
        [registered] = await events.published(UserRegistered)
        assert [repeated.user_id for repeated in await events.published(SignUpRepeated)] == [registered.user_id]


@pytest.mark.parametrize(
    "password",
    [
        *("1234567890", "passwordpassword", "adalovelace1", "ada@souk.test", "Ada Lovelace", "qwertyuiop"),
        *("Password2024!", "Summer2024!", "Hallo12345!", "P@ssw0rd2024", "!!Welcome99", "Souk123456"),
        *("adalovelac", "lovelaceada", "Lovelac2024"),
    ],
)
async def test_a_password_that_is_guessed_first_is_refused_with_the_reason(
    auth: httpx.AsyncClient, password: str
) -> None:
    answer = await auth.post("/api/users/signup", json=ADA | {"name": "Ada Lovelace", "password": password})

    assert (answer.status_code, answer.json()["code"]) == (422, "password_too_weak")
    [error] = answer.json()["errors"]
    assert error["field"] == "password"
    assert password not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Souk",
            "souk",
            "S\u043euk",
            "S o u k",
            "The Souk Team",
            "Operator",
            "0perat0r",
            "\u041eperator",
            "So\u0301uk",
        ),
        *("S\u034fouk", "So\ufe0fuk", "Sou\u180bk", "Souk\U000e0100", "\ua731\u1d0f\u1d1c\u1d0b", "S\u00f8uk"),
        *("SoukSupport", "Souk-Support", "OfficialSouk", "Operators", "SOUK24", "24 souk", "S0uk Team", "Souk1 2"),
        *("A\u200bda", "A\u202eda", "\u2067Ada", "Ada\ufeff", "A\u00adda", "\u3164", "A\u2028da"),
    ],
)
async def test_a_name_that_misleads_is_refused(auth: httpx.AsyncClient, name: str) -> None:
    answer = await auth.post("/api/users/signup", json=ADA | {"name": name})

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [error["field"] for error in answer.json()["errors"]] == ["name"]


@pytest.mark.parametrize(
    "name",
    [
        *("Zo\u00eb", "\u0410\u043d\u043d\u0430", "\u674e\u5c0f\u9f99", "O'Souki", "Souka Operatorson"),
        *("Soukaina El Idrissi", "Soukeyna", "\u00d8yvind S\u00f8rensen", "Marsouk", "R2D2", "Ella 3"),
    ],
)
async def test_other_names_are_welcome(auth: httpx.AsyncClient, name: str) -> None:
    assert (await auth.post("/api/users/signup", json=ADA | {"name": name})).status_code == 201


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("de-AT, en;q=0.5", "de"),
        ("en, de;q=0.9", "en"),
        ("fr, de;q=0.1", "de"),
        ("fr", "en"),
        ("", "en"),
        (";;,=", "en"),
    ],
)
async def test_mails_are_in_the_language_of_the_sign_up(
    auth: httpx.AsyncClient, events: Events, header: str, language: str
) -> None:
    await auth.post("/api/users/signup", json=ADA, headers={"Accept-Language": header})

    [registered] = await events.published(UserRegistered)
    assert registered.language == language
