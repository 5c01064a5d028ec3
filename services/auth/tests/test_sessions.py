"""Sessions over HTTP: they are refreshed, seen and ended, and a token that comes twice ends them."""

import asyncio
import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import httpx
import pytest

from auth.main import app
from auth.sessions.client import device_of
from common.clock import now
from common.events import SessionEnd, SessionEnded
from common.http.sessions import COOKIE, REFRESH_COOKIE
from common.mongo.client import Database
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens
from tests.support.waiting import eventually

ADA = {"email": "ada@souk.test", "password": "correct horse", "name": "Ada"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


async def sign_up(auth: httpx.AsyncClient) -> str:
    """Sign up; return the refresh token."""
    answer = await auth.post("/api/users/signup", json=ADA)
    assert answer.status_code == 201
    return answer.cookies[REFRESH_COOKIE]


async def sign_in(auth: httpx.AsyncClient, agent: str = FIREFOX) -> dict[str, str]:
    """Sign in on another device; return its cookies as a header."""
    body = {"email": ADA["email"], "password": ADA["password"]}
    answer = await auth.post("/api/users/signin", json=body, headers={"User-Agent": agent, "Cookie": "none=1"})
    assert answer.status_code == 200
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in answer.cookies.items())}


async def refresh(auth: httpx.AsyncClient, token: str, key: str | None = None) -> httpx.Response:
    """Exchange a refresh token."""
    headers = {"Cookie": f"{REFRESH_COOKIE}={token}", **({"Idempotency-Key": key} if key else {})}
    auth.cookies.clear()
    answer = await auth.post("/api/users/refresh", headers=headers)
    auth.cookies.clear()
    return answer


def bearer(answer: httpx.Response) -> dict[str, str]:
    return {"Authorization": f"Bearer {answer.cookies[COOKIE]}"}


async def is_over(auth: httpx.AsyncClient, token: str) -> None:
    """Check that neither this refresh token nor its like refresh the session."""
    answer = await refresh(auth, token)
    assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")


async def test_a_refresh_gives_new_tokens_and_the_old_one_is_worth_nothing(auth: httpx.AsyncClient) -> None:
    first = await sign_up(auth)

    answer = await refresh(auth, first)

    assert answer.status_code == 200
    assert answer.json()["email"] == ADA["email"]
    second = answer.cookies[REFRESH_COOKIE]
    assert second != first
    assert (await auth.get("/api/users/currentuser", headers=bearer(answer))).json()["current_user"] == answer.json()
    assert (await refresh(auth, second)).status_code == 200


async def test_a_refresh_token_that_comes_twice_ends_the_session_and_its_access_tokens(
    auth: httpx.AsyncClient, events: Events
) -> None:
    first = await sign_up(auth)
    answer = await refresh(auth, first)

    await is_over(auth, first)

    await is_over(auth, answer.cookies[REFRESH_COOKIE])
    [ended] = await events.published(SessionEnded)
    assert ended.reason is SessionEnd.REUSED
    assert ended.user_id == answer.json()["id"]

    async def refused() -> bool:
        seen = await auth.get("/api/users/sessions", headers=bearer(answer))
        return seen.status_code == 401 and seen.json()["code"] == "session_ended"

    await eventually(refused)


async def test_however_old_the_token_is_it_ends_the_session(auth: httpx.AsyncClient) -> None:
    first = newest = await sign_up(auth)
    for _ in range(20):
        newest = (await refresh(auth, newest)).cookies[REFRESH_COOKIE]

    await is_over(auth, first)

    await is_over(auth, newest)


async def test_of_many_at_once_with_one_key_all_get_the_same_next_token(auth: httpx.AsyncClient) -> None:
    first = await sign_up(auth)

    answers = await asyncio.gather(*(refresh(auth, first, "k") for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    [second] = {answer.cookies[REFRESH_COOKIE] for answer in answers}
    assert (await refresh(auth, second, "k2")).status_code == 200


async def test_of_many_at_once_without_a_key_none_keeps_the_session(auth: httpx.AsyncClient) -> None:
    first = await sign_up(auth)

    answers = await asyncio.gather(*(refresh(auth, first) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401, 401]
    [won] = [answer for answer in answers if answer.status_code == 200]
    await is_over(auth, won.cookies[REFRESH_COOKIE])


async def test_an_answer_is_repeated_for_thirty_seconds_and_only_for_its_key(
    auth: httpx.AsyncClient, clock: Any
) -> None:
    first = await sign_up(auth)
    second = (await refresh(auth, first, "k")).cookies[REFRESH_COOKIE]
    clock(seconds=30, milliseconds=-1)
    assert (await refresh(auth, first, "k")).cookies[REFRESH_COOKIE] == second

    third = (await refresh(auth, second, "k")).cookies[REFRESH_COOKIE]
    await is_over(auth, second)  # without the key

    await is_over(auth, third)


@pytest.mark.usefixtures("clock")
async def test_a_replica_that_signs_with_another_key_repeats_the_same_answer(
    environment: pytest.MonkeyPatch, keys: Tokens
) -> None:
    async with running(app) as auth:
        first = await sign_up(auth)
        second = (await refresh(auth, first, "k")).cookies[REFRESH_COOKIE]
    rotated = Tokens()
    both = json.loads(keys.jwk_set)["keys"] + json.loads(rotated.jwk_set)["keys"]
    environment.setenv("JWT_PUBLIC_KEYS", json.dumps({"keys": both}))
    environment.setenv("JWT_PRIVATE_KEY", rotated.private_pem)

    async with running(app) as auth:
        assert (await refresh(auth, first, "k")).cookies[REFRESH_COOKIE] == second
        assert (await refresh(auth, second, "k2")).status_code == 200


async def test_after_thirty_seconds_a_repetition_is_a_reuse(auth: httpx.AsyncClient, clock: Any) -> None:
    first = await sign_up(auth)
    second = (await refresh(auth, first, "k")).cookies[REFRESH_COOKIE]
    clock(seconds=30)

    assert (await refresh(auth, first, "k")).status_code == 401

    await is_over(auth, second)


async def test_a_session_lasts_thirty_days_after_its_last_refresh(auth: httpx.AsyncClient, clock: Any) -> None:
    first = await sign_up(auth)
    clock(days=29)
    second = (await refresh(auth, first)).cookies[REFRESH_COOKIE]
    clock(days=58)
    third = (await refresh(auth, second)).cookies[REFRESH_COOKIE]
    clock(days=88, seconds=10)

    await is_over(auth, third)


async def test_what_is_no_refresh_token_is_no_session(auth: httpx.AsyncClient) -> None:
    good = await sign_up(auth)
    for bad in ("", "x", good[:-1], good + "A", "A" * 64, "\x7f" * 64, "." * 64, good[:-4] + "===="):
        await is_over(auth, bad)
    auth.cookies.clear()
    assert (await auth.post("/api/users/refresh")).json()["code"] == "session_ended"
    assert (await refresh(auth, good)).status_code == 200, "and none of them hurt the good one"


async def test_the_database_has_no_token(auth: httpx.AsyncClient, db: Database) -> None:
    first = await sign_up(auth)
    second = (await refresh(auth, first, key := sha256(first.encode()).hexdigest())).cookies[REFRESH_COOKIE]

    kept = str(await db.sessions.find_one({}))

    for secret in (first, second, first[21:], second[21:], first[:21], key):
        assert secret not in kept


async def test_a_person_sees_their_sessions_and_ends_one(auth: httpx.AsyncClient, events: Events) -> None:
    await sign_up(auth)
    phone = await sign_in(auth, "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5) Version/17.5 Mobile/15E148 Safari/604.1")
    laptop = await sign_in(auth)

    found = (await auth.get("/api/users/sessions", headers=laptop)).json()

    assert [(one["device"], one["address"], one["current"]) for one in found] == [
        ("Firefox, Linux", "127.0.0.0/24", True),
        ("Safari, iPhone", "127.0.0.0/24", False),
        ("Python", "127.0.0.0/24", False),
    ]
    assert all(datetime.fromisoformat(one["last_seen"]) <= datetime.now(UTC) for one in found)
    for _ in range(2):
        ended = await auth.delete(f"/api/users/sessions/{found[1]['id']}", headers=laptop)
        assert (ended.status_code, ended.content) == (204, b"")
    assert len((await auth.get("/api/users/sessions", headers=laptop)).json()) == 2
    assert (await auth.post("/api/users/refresh", headers=phone)).status_code == 401
    [event] = await events.published(SessionEnded)
    assert (event.session_id, event.reason) == (found[1]["id"], SessionEnd.ENDED_BY_USER)


async def test_all_other_sessions_end_at_once(auth: httpx.AsyncClient, events: Events) -> None:
    await sign_up(auth)
    others = [await sign_in(auth) for _ in range(3)]
    this = await sign_in(auth)

    assert (await auth.delete("/api/users/sessions", headers=this)).status_code == 204

    [left] = (await auth.get("/api/users/sessions", headers=this)).json()
    assert left["current"]
    for other in others:
        assert (await auth.post("/api/users/refresh", headers=other)).status_code == 401
    assert len(await events.published(SessionEnded, 4)) == 4


async def test_nobody_ends_the_session_of_somebody_else(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)
    [mine] = (await auth.get("/api/users/sessions")).json()
    mallory = await auth.post("/api/users/signup", json={**ADA, "email": "mallory@souk.test"})

    for session_id, status in ((mine["id"], 404), ("0" * 32, 404), ("nonsense", 422), ("a" * 65, 422)):
        answer = await auth.delete(f"/api/users/sessions/{session_id}", headers=bearer(mallory))
        assert answer.status_code == status
    auth.cookies.clear()
    assert (await auth.delete("/api/users/sessions")).status_code == 401
    assert (await auth.get("/api/users/sessions")).status_code == 401


async def test_signing_out_ends_the_session(auth: httpx.AsyncClient, events: Events) -> None:
    token = await sign_up(auth)

    answer = await auth.post("/api/users/signout")

    assert answer.status_code == 204
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert not auth.cookies
    [ended] = await events.published(SessionEnded)
    assert ended.reason is SessionEnd.SIGNED_OUT
    await is_over(auth, token)
    again = await auth.post("/api/users/signout", headers={"Cookie": f"{REFRESH_COOKIE}={token}"})
    assert again.status_code == 204


async def test_signing_out_with_an_expired_access_token_ends_the_session_too(auth: httpx.AsyncClient) -> None:
    token = await sign_up(auth)
    del auth.cookies[COOKIE]

    assert (await auth.post("/api/users/signout")).status_code == 204

    await is_over(auth, token)


async def test_a_session_that_ended_before_the_start_of_a_replica_is_refused_there(
    environment: pytest.MonkeyPatch, events: Events
) -> None:
    async with running(app) as auth:
        await sign_up(auth)
        headers = {"Cookie": f"{COOKIE}={auth.cookies[COOKIE]}"}
        await auth.post("/api/users/signout")
        await events.published(SessionEnded)

    async with running(app) as restarted:
        answer = await restarted.get("/api/users/sessions", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (401, "session_ended")


async def test_mongodb_forgets_only_sessions_without_unpublished_events(auth: httpx.AsyncClient, db: Database) -> None:
    await sign_up(auth)

    async def published() -> bool:
        return await db.sessions.count_documents({"pending": []}) == 1

    await eventually(published)
    index = (await db.sessions.index_information())["forgotten"]
    assert index["partialFilterExpression"] == {"pending": []}
    assert await _in_index(db) == 1
    await db.sessions.update_one({}, {"$set": {"pending": [{"id": "e1", "time": now()}]}})
    assert await _in_index(db) == 0, "it stays, while an event waits"


async def _in_index(db: Database) -> int:
    """The number of sessions that MongoDB will forget."""
    wanted = {"pending": [], "expires_at": {"$gt": now()}}
    return len(await db.sessions.find(wanted).hint("forgotten").to_list())


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (FIREFOX, "Firefox, Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/126.0.0.0 Safari/537.36 Edg/126.0", "Edge, Windows"),
        ("Mozilla/5.0 (Linux; Android 14) Chrome/126.0.0.0 Mobile Safari/537.36", "Chrome, Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/17.5 Safari/605.1.15", "Safari, macOS"),
        ("Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) CriOS/126.0 Mobile Safari/604.1", "Chrome, iPad"),
        ("curl/8.5.0", "curl"),
        ("", "unknown"),
        ("<script>alert(1)</script>" * 1_000, "unknown"),
    ],
)
def test_a_device_has_a_short_name(agent: str, device: str) -> None:
    assert device_of(agent) == device
