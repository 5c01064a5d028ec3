"""Deleting an account: what is left says nothing about who it was."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from auth import grant
from auth.domain import Account
from auth.erase import erase as erase_by_id
from auth.main import app
from common.bus.connection import Bus
from common.clock import now
from common.directory import Directory
from common.events import SessionEnded, UserErased
from common.http.sessions import COOKIE
from common.ids import new_id
from common.mongo.client import Database
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.waiting import eventually

ADA = {"email": "ada.quux@souk.test", "password": "correct horse", "name": "Adæla Quux"}
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/145.0"}


async def signed_up(auth: httpx.AsyncClient, **different: str) -> dict[str, Any]:
    answer = await auth.post("/api/users/signup", json=ADA | different, headers=FIREFOX)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def erase(auth: httpx.AsyncClient, password: str = ADA["password"]) -> tuple[int, str | None]:
    """The status of the answer, and its code where it is a problem."""
    answer = await auth.request("DELETE", "/api/users/me", json={"password": password})
    return answer.status_code, answer.json()["code"] if answer.status_code >= 400 else None


async def everything(db: Database) -> bytes:
    """All documents of auth, as they are stored."""
    raw: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
    names = await db.list_collection_names()
    collections: list[Any] = [db.get_collection(name, raw) for name in names]
    return b"".join([one.raw for collection in collections async for one in collection.find()])


async def test_an_erased_account_leaves_its_id_and_everybody_is_told(
    auth: httpx.AsyncClient, db: Database, events: Events, bus_url: str
) -> None:
    user = await signed_up(auth)
    await auth.post("/api/users/signin", json={"email": ADA["email"], "password": "not this one"})
    await auth.post("/api/users/password-reset", json={"email": ADA["email"]})
    await auth.post("/api/users/email", json={"password": ADA["password"], "new_email": "quux@elsewhere.test"})
    before = await everything(db)
    assert [word in before for word in (b"quux", "Adæla".encode(), b"Firefox", b"elsewhere")] == [True] * 4

    assert await erase(auth) == (204, None)

    after = await everything(db)
    assert [word in after for word in (b"quux", "Adæla".encode(), b"Firefox", b"elsewhere", b"argon2")] == [False] * 5
    [erased] = await events.published(UserErased)
    assert erased.user_id == user["id"]
    assert [ended.user_id for ended in await events.published(SessionEnded)] == [user["id"]]
    assert b"quux" not in b"".join([message.data for message in await events.messages("USERS", "users.>")])
    async with Bus.connected(bus_url, "items") as bus:
        assert await Directory(bus).names([user["id"]]) == {}
        assert await Directory(bus).contact(user["id"]) is None
        assert await Directory(bus).user_with(ADA["email"]) is None
        assert await Directory(bus).named(ADA["name"]) == []
        assert await Directory(bus).user_with(user["id"]) is None


async def test_its_session_and_password_are_worth_nothing_and_its_address_is_free(auth: httpx.AsyncClient) -> None:
    user = await signed_up(auth)
    cookies = dict(auth.cookies)
    answer = await auth.request("DELETE", "/api/users/me", json={"password": ADA["password"]})
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    assert not auth.cookies

    auth.cookies.update(cookies)
    for method, path in (("POST", "refresh"), ("GET", "me"), ("DELETE", "me")):
        refused = await auth.request(method, f"/api/users/{path}", json={"password": ADA["password"]})
        assert refused.status_code == 401, path
    auth.cookies.clear()
    known = {"email": ADA["email"], "password": ADA["password"]}
    assert (await auth.post("/api/users/signin", json=known)).json()["code"] == "bad_credentials"
    assert (await signed_up(auth))["id"] != user["id"]


async def test_only_who_knows_the_password_and_has_no_role_deletes_an_account(
    auth: httpx.AsyncClient, environment: pytest.MonkeyPatch
) -> None:
    assert await erase(auth) == (401, "not_signed_in")
    user = await signed_up(auth)
    assert await erase(auth, "wrong horse") == (401, "bad_credentials")
    await grant.change(ADA["email"], revoke=False)
    assert await erase(auth) == (409, "has_role")

    mine = (await auth.get("/api/users/me")).json()
    assert (mine["id"], mine["email"], mine["name"]) == (user["id"], ADA["email"], ADA["name"])
    assert "password_hash" not in mine


async def test_what_a_last_request_left_behind_goes_when_no_token_counts_any_more(
    environment: pytest.MonkeyPatch, db: Database, events: Events
) -> None:
    async with running(app) as auth:
        user = await signed_up(auth)
        late = await db.sessions.find_one({"user_id": user["id"]})
        assert late
        assert await erase(auth) == (204, None)
        await db.sessions.insert_one({**late, "_id": new_id(), "family_hash": "another", "pending": []})
        due = await db.users.update_one({"erasure_due": {"$gt": now()}}, {"$set": {"erasure_due": now()}})
        assert due.modified_count == 1

        first, second = await events.published(UserErased, 2)

    assert (first.user_id, second.user_id) == (user["id"], user["id"])
    assert first.account_version < second.account_version
    assert b"Firefox" not in await everything(db)


async def test_a_command_deletes_who_came_back_with_a_backup(
    auth: httpx.AsyncClient, db: Database, events: Events
) -> None:
    user = await signed_up(auth)
    await auth.post("/api/users/password-reset", json={"email": ADA["email"]})
    await auth.post("/api/users/signin", json={"email": ADA["email"], "password": "not this one"})

    assert await erase_by_id(user["id"])
    assert not await erase_by_id(user["id"])

    await events.published(UserErased, 2)  # The running auth does the rest.
    assert [word in await everything(db) for word in (b"quux", b"Firefox")] == [False, False]
    assert [ended.user_id for ended in await events.published(SessionEnded)] == [user["id"]]
    [noted] = await eventually(lambda: events.messages("SECURITY", "security.auth.erased"))
    assert user["id"].encode() in noted.data


async def test_what_others_have_typed_goes_with_the_address(auth: httpx.AsyncClient, db: Database) -> None:
    await signed_up(auth)
    bea = await auth.post("/api/users/signup", json=ADA | {"email": "bea@souk.test", "name": "Bea"})
    token = {"Authorization": f"Bearer {bea.cookies[COOKIE]}"}
    asked = {"password": ADA["password"], "new_email": ADA["email"]}
    assert (await auth.post("/api/users/email", json=asked, headers=token)).status_code == 202
    signed_in = {"email": ADA["email"], "password": ADA["password"]}
    assert (await auth.post("/api/users/signin", json=signed_in)).status_code == 200

    assert await erase(auth) == (204, None)

    assert b"quux" not in await everything(db)


def test_an_erased_account_says_so_again_after_the_bus_has_lost_everything() -> None:
    account = Account.register(email=ADA["email"], name=ADA["name"], password_hash="x")
    account.saved()

    account.erase(NOW, NOW)
    [erased] = account.recorded
    account.saved()

    assert account.restated() == [erased.model_copy(update={"restated": True})]
    assert "Quux" not in str(account.to_document())
