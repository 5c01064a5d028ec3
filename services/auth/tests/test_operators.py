"""Operators give and take the right to be one; somebody always stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx
import jwt
import pytest
import pytest_asyncio

from auth import grant
from auth.main import app
from common.events import RolesChanged
from common.http.sessions import COOKIE, OPERATOR, User
from common.mongo.client import Database
from tests.support.authenticator import Authenticator
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens
from tests.support.waiting import eventually

from .test_security_log import Noted, noted  # noqa: F401 - a fixture

PASSWORD = "correct horse"


@dataclass
class Someone:
    """Somebody with an account, and their browser."""

    id: str
    email: str
    http: httpx.AsyncClient

    async def gives(self, email: str) -> httpx.Response:
        """Make somebody an operator."""
        return await self.http.post("/api/users/operators", json={"email": email})

    async def takes(self, user_id: str) -> httpx.Response:
        """Take the right of somebody."""
        return await self.http.delete(f"/api/users/operators/{user_id}")

    async def refreshes(self) -> list[str]:
        """A new access token. Returns its roles."""
        assert (await self.http.post("/api/users/refresh")).status_code == 200
        return list(jwt.decode(self.http.cookies[COOKIE], options={"verify_signature": False}).get("roles", []))

    async def adds_passkey(self) -> Authenticator:
        """Add a passkey."""
        device = Authenticator()
        proof = await self.http.post("/api/users/password/prove", json={"password": PASSWORD})
        assert proof.status_code == 200, proof.text
        credential = device.create((await self.http.post("/api/users/passkeys/options")).json())
        added = await self.http.post("/api/users/passkeys", json={"credential": credential, "name": "Phone"})
        assert added.status_code == 201, added.text
        return device

    async def proves(self, device: Authenticator) -> None:
        """Confirm with the passkey."""
        options = (await self.http.post("/api/users/passkeys/prove/options")).json()
        answer = await self.http.post("/api/users/passkeys/prove", json={"credential": device.get(options)})
        assert answer.status_code == 200, answer.text


class Office:
    """Auth, and people who use it."""

    def __init__(self, exits: AsyncExitStack, first: httpx.AsyncClient) -> None:
        self._exits, self._first = exits, first

    async def joins(self, name: str, *, operator: bool = False) -> Someone:
        """Somebody signs up; an operator is made one by the command."""
        transport = self._first._transport
        http = httpx.AsyncClient(
            transport=transport, base_url=self._first.base_url, event_hooks=self._first.event_hooks
        )
        await self._exits.enter_async_context(http)
        email = f"{name.lower()}@souk.test"
        answer = await http.post("/api/users/signup", json={"email": email, "password": PASSWORD, "name": name})
        assert answer.status_code == 201, answer.text
        someone = Someone(answer.json()["id"], email, http)
        if operator:
            await grant.change(email, revoke=False)
            assert await someone.refreshes() == [OPERATOR]
        return someone


@pytest_asyncio.fixture
async def office(auth: httpx.AsyncClient) -> AsyncIterator[Office]:
    async with AsyncExitStack() as exits:
        yield Office(exits, auth)


@pytest_asyncio.fixture
async def strict_office(environment: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    """Where operators must have a passkey and a confirmed address, as in production."""
    environment.setenv("REQUIRE_PASSKEY", "true")
    environment.setenv("REQUIRE_VERIFIED_EMAIL", "true")
    async with running(app) as first, AsyncExitStack() as exits:
        yield Office(exits, first)


def code(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of a problem."""
    return answer.status_code, answer.json()["code"]


async def names(someone: Someone) -> list[str]:
    """Who is an operator."""
    answer = await someone.http.get("/api/users/operators")
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()]


async def test_an_operator_makes_another_one_and_ends_it(office: Office, events: Events, noted: Noted) -> None:  # noqa: F811
    ola, bo = await office.joins("Ola", operator=True), await office.joins("Bo")

    async def said(what: str) -> bool:
        entry = await noted("roles_changed")
        return (entry["user_id"], entry["detail"]) == (bo.id, f"operator {what} by {ola.id}")

    given = await ola.gives("BO@souk.test")

    assert given.status_code == 201
    assert given.json() == {"id": bo.id, "email": bo.email, "name": "Bo", "has_passkey": False}
    assert await names(ola) == ["Bo", "Ola"]
    assert await bo.refreshes() == [OPERATOR]
    await eventually(lambda: said("granted"))

    assert (await ola.takes(bo.id)).status_code == 204
    assert await names(ola) == ["Ola"]
    assert await bo.refreshes() == []
    changes = [one for one in await events.published(RolesChanged, 3) if one.user_id == bo.id]
    assert [one.roles for one in changes] == [(OPERATOR,), ()]
    assert code(await ola.takes(bo.id)) == (404, "person_not_found")

    await eventually(lambda: said("revoked"))


async def test_the_right_is_given_once_however_many_give_it(office: Office, events: Events) -> None:
    ola, otto = await office.joins("Ola", operator=True), await office.joins("Otto", operator=True)
    bo = await office.joins("Bo")

    answers = await asyncio.gather(*(one.gives(bo.email) for one in (ola, otto, ola, otto)))

    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len([one for one in await events.published(RolesChanged, 3) if one.user_id == bo.id]) == 1


async def test_the_last_operator_stays_one(office: Office) -> None:
    ola = await office.joins("Ola", operator=True)

    assert code(await ola.takes(ola.id)) == (409, "last_operator")
    assert await names(ola) == ["Ola"]


@pytest.mark.parametrize("own", [True, False], ids=["each their own", "each the other's"])
async def test_of_two_who_take_the_right_at_the_same_moment_one_stays(office: Office, db: Database, own: bool) -> None:
    ola, otto = await office.joins("Ola", operator=True), await office.joins("Otto", operator=True)

    for _ in range(10):
        pairs = ((ola, ola), (otto, otto)) if own else ((ola, otto), (otto, ola))
        answers = await asyncio.gather(*(actor.takes(whose.id) for actor, whose in pairs))

        staying = [user["_id"] async for user in db.users.find({"roles": OPERATOR})]
        assert len(staying) == 1
        assert sorted(answer.status_code for answer in answers) == ([204, 409] if own else [204, 403])
        for someone in (ola, otto):
            await grant.change(someone.email, revoke=False)
            await someone.refreshes()


async def test_who_has_just_lost_the_right_gives_and_takes_nothing_with_an_older_token(
    office: Office, keys: Tokens
) -> None:
    ola, bo = await office.joins("Ola", operator=True), await office.joins("Bo")
    # A token that no replica has heard is outdated: its version is far ahead.
    user = (await bo.http.get("/api/users/currentuser")).json()["current_user"]
    bo.http.headers.update(keys.headers(User(**{**user, "roles": [OPERATOR]}), ver=99))
    bo.http.cookies.clear()

    assert await names(bo) == ["Ola"]
    assert code(await bo.gives(bo.email)) == (403, "operator_only")
    assert code(await bo.takes(ola.id)) == (403, "operator_only")
    assert code(await bo.takes(bo.id)) == (404, "person_not_found")
    assert await names(ola) == ["Ola"]


async def test_who_has_a_passkey_is_asked_for_it(office: Office) -> None:
    ola, bo = await office.joins("Ola", operator=True), await office.joins("Bo")
    device = await ola.adds_passkey()

    assert code(await ola.gives(bo.email)) == (403, "proof_needed")
    assert code(await ola.takes(ola.id)) == (403, "proof_needed")
    await ola.proves(device)
    assert (await ola.gives(bo.email)).status_code == 201
    assert (await ola.takes(bo.id)).status_code == 204


async def confirms_address(user_id: str, db: Database) -> None:
    """As a click on the link in the mail does."""
    await db.users.update_one({"_id": user_id}, {"$set": {"verified": True}, "$inc": {"version": 1}})


async def test_where_it_is_asked_for_only_who_has_a_passkey_and_a_confirmed_address_becomes_one(
    strict_office: Office, db: Database
) -> None:
    ola, bo = await strict_office.joins("Ola", operator=True), await strict_office.joins("Bo")
    await confirms_address(ola.id, db)
    assert code(await ola.gives(bo.email)) == (403, "passkey_needed")
    await ola.proves(await ola.adds_passkey())

    assert code(await ola.gives(bo.email)) == (409, "person_not_verified")
    await confirms_address(bo.id, db)
    assert code(await ola.gives(bo.email)) == (409, "person_has_no_passkey")
    await bo.adds_passkey()
    given = await ola.gives(bo.email)
    assert (given.status_code, given.json()["has_passkey"]) == (201, True)


async def test_nobody_else_sees_or_changes_operators(office: Office, auth: httpx.AsyncClient) -> None:
    ola, bo = await office.joins("Ola", operator=True), await office.joins("Bo")

    assert code(await ola.gives("nobody@souk.test")) == (404, "person_not_found")
    for answer in (await bo.http.get("/api/users/operators"), await bo.gives(bo.email), await bo.takes(ola.id)):
        assert code(answer) == (403, "operator_only")
    assert (await auth.get("/api/users/operators")).status_code == 401
