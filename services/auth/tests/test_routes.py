"""Auth over HTTP."""

import asyncio
import json
import threading
from collections.abc import Awaitable
from http.cookies import SimpleCookie
from typing import Any

import httpx
import jwt
import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from auth.main import app
from common.events import UserRegistered
from common.http.sessions import COOKIE, REFRESH_COOKIE, Sessions, User
from common.mongo.client import Database
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

ADA: dict[str, Any] = {"email": "Ada@Souk.test", "password": "correct horse", "name": " Ada "}


async def sign_up(auth: httpx.AsyncClient, **different: Any) -> httpx.Response:
    body = json.dumps(ADA | different)  # ASCII, so that it can carry what UTF-8 cannot.
    return await auth.post("/api/users/signup", content=body, headers={"content-type": "application/json"})


async def sign_in(
    auth: httpx.AsyncClient, password: str = ADA["password"], email: str = ADA["email"]
) -> httpx.Response:
    return await auth.post("/api/users/signin", json={"email": email, "password": password})


async def who(auth: httpx.AsyncClient, headers: dict[str, str] | None = None) -> Any:
    answer = await auth.get("/api/users/currentuser", headers=headers)
    assert answer.status_code == 200
    return answer.json()["current_user"]


async def test_signing_up_opens_an_account_and_a_session_and_tells_the_others(
    auth: httpx.AsyncClient, events: Events, keys: Tokens
) -> None:
    answer = await sign_up(auth)

    assert answer.status_code == 201
    user = answer.json()
    assert user == {"id": user["id"], "email": "ada@souk.test", "name": "Ada", "roles": [], "verified": False}
    assert await who(auth) == user
    assert Sessions(keys.jwk_set).user(answer.cookies[COOKIE]) == User(**user)
    [registered] = await events.published(UserRegistered)
    assert registered == UserRegistered(user_id=user["id"])


async def test_the_session_is_a_cookie_that_scripts_and_other_sites_cannot_use(auth: httpx.AsyncClient) -> None:
    answer = await sign_up(auth)

    cookies = SimpleCookie("; ".join(answer.headers.get_list("set-cookie")))
    assert set(cookies) == {COOKIE, REFRESH_COOKIE}
    for name, seconds in ((COOKIE, 600), (REFRESH_COOKIE, 30 * 24 * 3600)):
        cookie = cookies[name]
        assert cookie["httponly"]
        assert cookie["samesite"] == "lax"
        assert cookie["path"] == "/"
        assert cookie["max-age"] == str(seconds)
        assert not cookie["secure"]  # a laptop has no https
    claims = jwt.decode(cookies[COOKIE].value, options={"verify_signature": False})
    assert claims["exp"] - claims["iat"] == 600


async def test_where_there_is_https_the_cookie_travels_over_nothing_else(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("COOKIE_SECURE", "true")
    environment.setenv("ACCESS_SECONDS", "60")
    async with running(app) as auth:
        answer = await sign_up(auth)
        cookies = SimpleCookie("; ".join(answer.headers.get_list("set-cookie")))

        assert set(cookies) == {"__Host-session", "__Host-refresh"}
        assert all(cookie["secure"] and cookie["path"] == "/" for cookie in cookies.values())
        assert cookies["__Host-session"]["max-age"] == "60"
        token = cookies["__Host-session"].value
        assert await who(auth, {"Cookie": f"__Host-session={token}"}) == answer.json()
        assert await who(auth, {"Cookie": f"session={token}"}) is None, "another host of the site could have set it"


async def test_an_address_is_one_account_in_any_case_and_however_many_ask_at_once(
    auth: httpx.AsyncClient, events: Events
) -> None:
    answers = await asyncio.gather(
        *(sign_up(auth, email=e) for e in ("ada@souk.test", "ADA@souk.test", "Ada@SOUK.test"))
    )

    assert sorted(a.status_code for a in answers) == [201, 409, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"email_taken"}
    assert len(await events.published(UserRegistered)) == 1


async def test_signing_in_again_after_signing_out(auth: httpx.AsyncClient) -> None:
    user = (await sign_up(auth)).json()

    signed_out = await auth.post("/api/users/signout")
    assert (signed_out.status_code, signed_out.content) == (204, b"")
    assert await who(auth) is None

    signed_in = await sign_in(auth, email="ADA@souk.test")
    assert (signed_in.status_code, signed_in.json()) == (200, user)
    assert await who(auth) == user


async def test_signing_out_without_a_session_is_fine(auth: httpx.AsyncClient) -> None:
    assert (await auth.post("/api/users/signout")).status_code == 204


async def test_spaces_belong_to_a_password(auth: httpx.AsyncClient) -> None:
    await sign_up(auth, password="  spacious  ")

    assert (await sign_in(auth, "spacious")).status_code == 401
    assert (await sign_in(auth, "  spacious  ")).status_code == 200


async def test_a_wrong_password_and_an_unknown_address_cannot_be_told_apart(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)

    wrong, unknown = [await sign_in(auth, "wrong password", f"{name}@souk.test") for name in ("ada", "nobody")]

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json()
    assert wrong.json()["code"] == "bad_credentials"
    assert "set-cookie" not in wrong.headers


async def test_nothing_secret_is_answered_or_published(auth: httpx.AsyncClient, events: Events, db: Database) -> None:
    answer = await sign_up(auth)

    kept = await db.users.find_one({"email": "ada@souk.test"})
    assert kept
    assert kept["password_hash"].startswith("$argon2id$")
    await events.published(UserRegistered)
    messages = await events.messages("USERS", "users.>")
    for text in (answer.text, *(message.data.decode() for message in messages)):
        assert "argon2" not in text
        assert ADA["password"] not in text


@pytest.mark.usefixtures("real_hashes")
async def test_an_old_hash_is_replaced_at_the_next_sign_in(auth: httpx.AsyncClient, db: Database) -> None:
    await sign_up(auth)
    weak = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),)).hash(ADA["password"])
    await db.users.update_one({}, {"$set": {"password_hash": weak}})

    both = await asyncio.gather(sign_in(auth), sign_in(auth))

    assert [a.status_code for a in both] == [200, 200]
    kept = await db.users.find_one({})
    assert kept
    assert "m=65536,t=3,p=4" in kept["password_hash"]
    assert (await sign_in(auth)).status_code == 200


# Guessing


async def test_the_sixth_wrong_password_in_a_minute_is_not_even_looked_at(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)
    assert [(await sign_in(auth, "wrong")).status_code for _ in range(5)] == [401] * 5

    refused = await sign_in(auth)  # even the right one

    assert refused.status_code == 429
    assert refused.json()["code"] == "too_many_requests"
    assert 12 <= int(refused.headers["retry-after"]) <= 72


async def test_guesses_that_come_all_at_once_are_no_more_than_guesses_one_by_one(auth: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(sign_in(auth, f"guess {n}") for n in range(12)))

    assert sorted(a.status_code for a in answers) == [401] * 5 + [429] * 7


async def test_one_account_under_attack_leaves_the_others_alone(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)
    await asyncio.gather(*(sign_in(auth, "wrong", "grace@souk.test") for _ in range(6)))

    assert (await sign_in(auth)).status_code == 200


async def test_an_address_that_tries_one_password_on_many_accounts_is_slowed_down(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("SIGNIN_FAILURES_PER_NETWORK", "3")
    async with running(app) as auth:
        await sign_up(auth)
        guesses = [(await sign_in(auth, "12345678", f"{n}@souk.test")).status_code for n in range(4)]
        assert guesses == [401, 401, 401, 429]
        assert (await sign_in(auth)).status_code == 429

        elsewhere = httpx.ASGITransport(app, client=("192.0.2.7", 1))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://souk.test") as neighbour:
            assert (await sign_in(neighbour)).status_code == 200


async def test_signing_in_often_is_no_offence(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)

    answers = await asyncio.gather(*(sign_in(auth) for _ in range(8)))

    assert {a.status_code for a in answers} == {200}


async def test_accounts_are_not_mass_produced_from_one_address(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SIGNUPS_PER_NETWORK", "2")
    async with running(app) as auth:
        answers = [await sign_up(auth, email=f"{n}@souk.test") for n in range(3)]

    assert [a.status_code for a in answers] == [201, 201, 429]
    assert int(answers[2].headers["retry-after"]) >= 1


async def test_accounts_are_not_mass_produced_from_many_addresses(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SIGNUPS_OVERALL", "1")
    async with running(app) as auth:
        answers = [await sign_up(auth, email=f"{n}@souk.test") for n in range(3)]

    assert [a.status_code for a in answers] == [201, 201, 429]
    assert answers[2].json()["code"] == "too_many_signups"
    assert int(answers[2].headers["retry-after"]) >= 1


async def answers_while_hashes_wait(
    patch: pytest.MonkeyPatch, refused: int, *calls: Awaitable[httpx.Response]
) -> list[httpx.Response]:
    """The answers to these calls, of which so many are refused before the first password is hashed."""
    go_on = threading.Event()

    def held(made: Any) -> Any:
        return lambda *arguments: made(*arguments) if go_on.wait(60) else None

    for name in ("hash", "verify_and_update"):
        patch.setattr(PasswordHash, name, held(getattr(PasswordHash, name)))
    asked = [asyncio.ensure_future(call) for call in calls]
    try:
        await eventually(lambda: asyncio.sleep(0, sum(task.done() for task in asked) >= refused))
    finally:
        go_on.set()
    return await asyncio.gather(*asked)


async def test_when_too_many_hash_at_once_the_rest_is_told_to_come_back(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PASSWORD_BACKLOG", "2")
    async with running(app) as auth:
        signing_up = [sign_up(auth, email=f"{n}@souk.test") for n in range(4)]
        answers = await answers_while_hashes_wait(environment, 2, *signing_up)

    assert sorted(a.status_code for a in answers) == [201, 201, 503, 503]
    assert {a.json()["code"] for a in answers if a.status_code == 503} == {"unavailable"}


async def test_an_address_that_has_much_to_hash_leaves_room_for_the_others(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("PASSWORD_BACKLOG", "4")
    environment.setenv("PASSWORDS_PER_NETWORK", "2")
    elsewhere = httpx.ASGITransport(app, client=("192.0.2.7", 1))
    async with (
        running(app) as auth,
        httpx.AsyncClient(transport=elsewhere, base_url="http://souk.test") as neighbour,
    ):
        many = [call for n in range(5) for call in (sign_up(auth, email=f"{n}@souk.test"), sign_in(auth))]
        *answers, welcome = await answers_while_hashes_wait(environment, 8, *many, sign_up(neighbour))

        assert welcome.status_code == 201
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 8
        assert {(a.json()["code"], a.headers["retry-after"]) for a in refused} == {("too_many_requests", "1")}
        assert (await sign_in(auth)).status_code == 200, "there is room again"


# Hostile


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"email": "not an address"}, "email"),
    ({"email": "ada@localhost"}, "email"),
    ({"email": f"{'a' * 250}@souk.test"}, "email"),
    ({"email": {"$gt": ""}}, "email"),
    ({"email": None}, "email"),
    ({"password": "1234567"}, "password"),
    ({"password": "x" * 129}, "password"),
    ({"password": 12345678}, "password"),
    ({"password": "\ud800" * 8}, "password"),
    ({"name": "   "}, "name"),
    ({"name": "x" * 101}, "name"),
    ({"name": "A\0da"}, "name"),
    ({"name": "A\nda"}, "name"),
    ({"name": "A\x85da"}, "name"),
    ({"is_admin": True}, "is_admin"),
]


async def test_a_wrong_field_is_named_and_opens_no_account(auth: httpx.AsyncClient, db: Database) -> None:
    for different, field in WRONG:
        answer = await sign_up(auth, **different)

        assert answer.status_code == 422, different
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "validation_failed"
        assert [e["field"] for e in answer.json()["errors"]] == [field], different

    assert await db.users.count_documents({}) == 0


async def test_what_is_no_body_is_a_problem_with_a_code(auth: httpx.AsyncClient) -> None:
    for path in ("signup", "signin"):
        for body in (b"{", b"", b"\xff\xfe", b"[]", b'"x"', b"null", b"{}" * 50_000):
            answer = await auth.post(f"/api/users/{path}", content=body, headers={"content-type": "application/json"})

            assert answer.status_code in {400, 413, 422}, body
            assert answer.json()["code"] in {"malformed_json", "validation_failed", "bad_request", "too_large"}, body


async def test_a_session_of_somebody_else_is_nobodys(auth: httpx.AsyncClient, keys: Tokens) -> None:
    ada = person()
    good = keys.headers(ada)
    assert (await who(auth, good))["id"] == ada.id

    forger = Tokens(kid=keys.kid)
    claims = jwt.decode(keys.token(ada), options={"verify_signature": False})
    unsigned = jwt.encode(claims, "", algorithm="none", headers={"kid": keys.kid})
    public_key = keys.key.public_key().public_bytes_raw()
    symmetric = jwt.encode(claims, public_key, algorithm="HS256", headers={"kid": keys.kid})
    for bad in (
        forger.token(ada),
        keys.token(ada, exp=1),
        keys.token(ada, aud="elsewhere"),
        keys.token(ada, iss="elsewhere"),
        Tokens(key=keys.key, kid="unknown").token(ada),
        unsigned,
        symmetric,
        "nonsense",
        "..",
    ):
        assert (
            await who(auth, {"Cookie": f"{COOKIE}={bad}"} if bad.isascii() else {"Cookie": "session=\u00e4.b.c"})
            is None
        )
