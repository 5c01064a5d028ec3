"""Sessions across services: what auth ends is refused everywhere, and a new signing key logs nobody out."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from hashlib import sha256

import httpx
import pytest
import pytest_asyncio

from common.http.sessions import OPERATOR
from common.ids import new_id
from infra.local.commands.running import run_as
from infra.local.stack.stack import Stack
from tests.support.people import People, Person
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

ASKED = {
    "auth": "/api/users/sessions",
    "orders": "/api/orders",
    "payments": "/api/payments",
    "audit": "/api/audit/dead-letters",
    "items": f"/api/items/{new_id()}",
    "notifications": "/api/notifications/mails",
    "tickets": "/api/tickets",
    "web": "/api/users/me/export",
}
"""What only those with a session get, by service. Of items it is asked with DELETE."""

FOR_OPERATORS = {
    "auth": "/api/users/operators",
    "payments": "/api/payments/trouble",
    "audit": "/api/audit/dead-letters",
}
"""What only operators get, by service."""

CALLS = (("GET", "/api/orders"), ("GET", "/api/users/sessions"), ("POST", "/api/users/refresh"))


@pytest_asyncio.fixture(scope="module")
async def replicated(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk with two replicas of some services."""
    folder = tmp_path_factory.mktemp("replicated")
    async with Stack(folder, replicas={"auth": 2, "orders": 2}, say=lambda *_: None) as stack:
        yield stack


@pytest_asyncio.fixture
async def people(replicated: Stack) -> AsyncIterator[People]:
    """People at `replicated`."""
    async with AsyncExitStack() as exits:
        yield People(replicated, exits)


async def answers(stack: Stack, token: str, asked: Mapping[str, str] = ASKED) -> dict[str, tuple[int, str | None]]:
    """What every replica of every service that is asked answers to the holder of an access token, by its name."""
    headers = {"Authorization": f"Bearer {token}"}
    programs = {program.name: program for program in stack.services if program.name.partition("-")[0] in asked}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:

        async def ask(name: str) -> tuple[int, str | None]:
            service = name.partition("-")[0]
            method = "DELETE" if service == "items" else "GET"
            answer = await client.request(method, f"http://127.0.0.1:{programs[name].port}{asked[service]}")
            body = answer.json()
            return answer.status_code, body.get("code") if isinstance(body, dict) else None

        return dict(zip(programs, await asyncio.gather(*map(ask, programs)), strict=True))


async def grant(stack: Stack, person: Person, *more: str) -> None:
    """Make somebody an operator, or no longer."""
    code = await asyncio.to_thread(run_as, "auth", "auth.grant", person.user.email, *more, stack=stack)
    assert code == 0


async def test_an_ended_session_is_refused_by_every_replica_of_every_service(replicated: Stack, people: People) -> None:
    ada = await people.signed_up()
    token = ada.http.cookies["session"]
    before = await answers(replicated, token)
    replicas = {"auth", "auth-2", "orders", "orders-2", "items", "payments", "audit", "notifications", "tickets", "web"}
    assert set(before) == replicas
    assert {status for status, _ in before.values()} == {200, 403, 404}

    assert (await ada.http.post("/api/users/signout")).status_code == 204

    ended = time.monotonic()

    async def refused() -> bool:
        return set((await answers(replicated, token)).values()) == {(401, "session_ended")}

    await eventually(refused)
    print(f"refused everywhere after {time.monotonic() - ended:.3f} s")  # noqa: T201 - with -s, a figure


async def test_a_role_that_was_taken_away_is_refused_and_a_new_one_comes_with_a_refresh(
    replicated: Stack, people: People
) -> None:
    ola = await people.signed_up("Ola")

    async def operators_only(*expected: object) -> bool:
        answer = await ola.http.get(ASKED["audit"])
        assert (answer.status_code, answer.json().get("code")) == expected
        return True

    assert await operators_only(403, "operator_only")

    await grant(replicated, ola)
    await eventually(lambda: operators_only(401, "session_ended"))
    assert (await ola.http.post("/api/users/refresh")).json()["roles"] == [OPERATOR]
    assert await operators_only(200, None)

    await grant(replicated, ola, "--revoke")
    await eventually(lambda: operators_only(401, "session_ended"))
    assert (await ola.http.get("/api/orders")).status_code == 200, "what needs no role goes on"
    assert (await ola.http.post("/api/users/refresh")).json()["roles"] == []
    assert await operators_only(403, "operator_only")


@pytest.mark.prove
async def test_a_right_that_an_operator_takes_away_is_refused_by_every_replica(
    replicated: Stack, people: People
) -> None:
    ola, bo = await people.signed_up("Ola"), await people.signed_up("Bo")
    await grant(replicated, ola)
    await ola.http.post("/api/users/refresh")
    given = await ola.http.post("/api/users/operators", json={"email": bo.user.email})
    assert given.status_code == 201, given.text
    await bo.http.post("/api/users/refresh")
    token = bo.http.cookies["session"]
    before = await answers(replicated, token, FOR_OPERATORS)
    assert before == dict.fromkeys(("auth", "auth-2", "payments", "audit"), (200, None))

    assert (await ola.http.delete(f"/api/users/operators/{bo.user.id}")).status_code == 204

    async def refused() -> bool:
        return set((await answers(replicated, token, FOR_OPERATORS)).values()) == {(401, "session_ended")}

    await eventually(refused)


@pytest.mark.prove
@pytest.mark.servers
async def test_a_new_signing_key_logs_nobody_out(replicated: Stack, people: People) -> None:
    persons = [await people.signed_up(name) for name in ("Ada", "Bob", "Cleo")]
    old = replicated.keys.public_jwk["kid"]
    refused: list[str] = []
    served = 0
    over = asyncio.Event()

    async def go_on(person: Person) -> None:
        nonlocal served
        while not over.is_set():
            for method, path in (
                ("GET", "/api/orders"),
                ("GET", "/api/users/sessions"),
                ("POST", "/api/users/refresh"),
            ):
                key = {"Idempotency-Key": sha256(person.http.cookies["refresh"].encode()).hexdigest()}
                answer = await person.http.request(method, path, headers=key)
                served += answer.status_code == 200
                if answer.status_code == 401:
                    refused.append(f"{path}: {answer.text}")

    async with asyncio.TaskGroup() as group:
        for person in persons:
            group.create_task(go_on(person))
        await replicated.rotate_keys()
        rotated = served

        async def a_while_longer() -> bool:
            return served > rotated + 30

        await eventually(a_while_longer)
        over.set()

    assert refused == []
    assert replicated.keys.public_jwk["kid"] != old
    assert old in replicated.keys.public_keys, "until its last token has expired"
    print(f"{served} calls were answered, {rotated} of them during the rotation")  # noqa: T201 - with -s, a figure
