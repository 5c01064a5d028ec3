"""Every operation of the API, called as everybody who may and who may not: docs/authorization.md says what they get."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio

from common.http.sessions import COOKIE, OPERATOR
from common.ids import new_id
from infra.local.commands.running import run_as
from infra.local.stack.stack import Stack
from infra.services import ROOT
from tests.support.calls import API, DOCUMENT, call
from tests.support.forgeries import bad_tokens
from tests.support.market import Market
from tests.support.people import People, Person
from tests.support.waiting import eventually

TABLE = ROOT / "docs/authorization.md"
COLUMNS = ("nobody", "somebody else", "its owner", "an operator", "a bad session")

ROWS: dict[str, dict[str, str]] = {
    cells[0]: dict(zip(COLUMNS, cells[1:], strict=True))
    for line in re.findall(r"^\| ([A-Z]+ /.*) \|$", TABLE.read_text(), re.MULTILINE)
    if (cells := line.split(" | "))
}

NOT_ABOUT_THE_CALLER = {
    "bad_credentials",
    "challenge_invalid",
    "gate_closed",
    "letter_not_found",
    "passkey_needed",
    "passkey_refused",
    "person_not_found",
    "proof_needed",
}
"""Codes for a proof that is wrong or not there, a message that never failed, an account that is not: whoever asks."""

WITH_ACCOUNTS = {
    name
    for name, row in ROWS.items()
    if name.partition(" ")[2].startswith("/api/users/")
    and row["nobody"] == "401"
    and not re.search("sessions|refresh", name)
}
"""Operations for which everybody needs an account. Elsewhere a token is enough, and costs no password hash."""

FORMS = [path for path, methods in DOCUMENT["paths"].items() if "post" in methods and "/api/" not in path]
"""Pages that a form is sent to."""


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_without_its_token_is_refused_whoever_sends_it(path: str, people: People) -> None:
    there = re.sub(r"{\w+}", new_id(), path)
    for sender in (await people.anybody(), (await people.new("Eve")).http, (await people.new("Otto", OPERATOR)).http):
        answer = await sender.post(there, data={"reason": "none"})
        to_sign_in = answer.headers.get("location", "").startswith("/signin")  # Where pictures come, before anything.
        assert answer.status_code == 403 or to_sign_in


def test_every_operation_has_a_row() -> None:
    missing = [f"| {name} | ? | ? | ? | ? | ? |" for name in API if name not in ROWS]
    assert not missing, f"say in {TABLE.name} who may call it:\n" + "\n".join(missing)
    assert not set(ROWS) - set(API), f"{TABLE.name} has operations that are no more: {set(ROWS) - set(API)}"


@pytest_asyncio.fixture
async def people(stack: Stack) -> AsyncIterator[People]:
    """People at `stack`."""
    async with AsyncExitStack() as exits:
        yield People(stack, exits)


_ended: dict[str, str] = {}


async def ended_token(people: People, stack: Stack) -> str:
    """An access token whose session was ended; made once for a stack."""
    if stack.url not in _ended:
        somebody = await people.signed_up("Ada")
        _ended[stack.url] = somebody.http.cookies[COOKIE]
        await somebody.http.post("/api/users/signout")
    return _ended[stack.url]


_accounts: dict[tuple[str, str], Person] = {}


async def with_account(name: str, people: People, stack: Stack, *roles: str) -> Person:
    """Somebody whom auth knows; the same one each time, since a network signs up only so many people a minute."""
    if (stack.url, name) not in _accounts:
        _accounts[stack.url, name] = await people.signed_up(name)
        if OPERATOR in roles:
            account = _accounts[stack.url, name]
            assert await asyncio.to_thread(run_as, "auth", "auth.grant", account.user.email, stack=stack) == 0
            assert (await account.http.post("/api/users/refresh")).status_code == 200
    known = _accounts[stack.url, name]
    user = known.user.model_copy(update={"roles": roles})
    http = await people.anybody()
    http.cookies.update(known.http.cookies)
    return Person(user, http)


def outcome(answer: httpx.Response) -> str:
    """The answer in the words of the table."""
    assert answer.status_code < 500, answer.text
    code = answer.json().get("code") if answer.headers.get("content-type") == "application/problem+json" else None
    refused = answer.status_code in {401, 403, 404} and code not in NOT_ABOUT_THE_CALLER
    return str(answer.status_code) if refused else "yes"


@pytest.mark.parametrize("operation", ROWS)
async def test_everybody_gets_what_the_table_says(operation: str, people: People, stack: Stack) -> None:
    row = ROWS[operation]
    if operation in WITH_ACCOUNTS:
        owner = await with_account(
            f"Pia{operation[:5].lower()}" if "passkey_id" in operation else "Olga", people, stack
        )
    else:
        owner = await (people.signed_up("Olga") if "/api/users/" in operation else people.new("Olga"))
    operator = await people.new("Otto", OPERATOR)
    market = Market(people, owner, await people.new("Sid"), operator, stack.public_url)
    request = call(operation, await market.known(operation))
    anybody = await people.anybody()

    bad = {name: token for name, (token, _) in bad_tokens(stack.keys, owner.user).items()}
    bad["ended"] = await ended_token(people, stack)
    wanted = row["nobody"] if row["a bad session"] == "as nobody" else row["a bad session"]
    for name, token in bad.items():
        headers = request.get("headers", {}) | {"Authorization": f"Bearer {token}"}

        async def refused(headers: dict[str, str] = headers) -> bool:
            return outcome(await anybody.request(**request | {"headers": headers})) == wanted

        # An ended session is refused everywhere in a moment; anything else at once.
        await eventually(
            refused, 15 if name == "ended" else 0, why=f"a session that is {name} is not answered {wanted}"
        )

    somebody_else = await people.new("Eve")
    if operation in WITH_ACCOUNTS:
        somebody_else = await with_account("Eve", people, stack)
        operator = await with_account("Otto", people, stack, OPERATOR)
    found = {
        "nobody": outcome(await anybody.request(**request)),
        "somebody else": outcome(await somebody_else.http.request(**request)),
        "an operator": outcome(await operator.http.request(**request)),
        "its owner": outcome(await owner.http.request(**request)),  # Last: it may be gone afterwards.
    }
    assert found == {name: row[name] for name in found}
