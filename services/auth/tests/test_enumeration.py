"""Whether an address has an account shows in no answer, and in no work that an answer waits for.

The work is counted, not timed: the calls of the database, in their order, and the hashes of passwords.
"""

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from pwdlib import PasswordHash
from pymongo import monitoring

from auth.main import app
from common.events import PasswordResetRequested, SignUpRepeated
from tests.support.bus import Events
from tests.support.serving import running

ADA = {"email": "ada@souk.test", "password": "correct horse", "name": "Ada"}
NOBODY = "nobody@souk.test"


@dataclass
class Work:
    """What a request had done until its answer."""

    done: list[str] = field(default_factory=list)


_current: ContextVar[Work | None] = ContextVar("work", default=None)

WRITES = ("insert", "update")
"""Calls that may be made in a batch, by a task that is no request's: they count for the only request there is."""


class _Calls(monitoring.CommandListener):
    """Notes the calls of the database for a request. The relay's, which takes out what it has published, is none."""

    only: Work | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        work = self.only if event.command_name in WRITES else _current.get()
        if work is not None and "$pull" not in str(event.command):
            work.done.append(f"{event.command_name} {event.command[event.command_name]}")

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing."""


_calls = _Calls()
monitoring.register(_calls)  # For clients that are made from now on; it does nothing outside of `asked`.


@pytest.fixture(autouse=True)
def _hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes count as work; they are made in a thread, on behalf of one request at a time."""
    for name in ("hash", "verify_and_update"):
        monkeypatch.setattr(PasswordHash, name, _counted(getattr(PasswordHash, name)))


_hashing: list[str] = []


def _counted(made: Any) -> Any:
    def counted(*arguments: Any) -> Any:
        _hashing.append(made.__name__)
        return made(*arguments)

    return counted


async def asked(auth: httpx.AsyncClient, path: str, **body: str) -> tuple[int, bytes, list[str]]:
    """Status and body of an answer, and the work that was done for it."""
    work = _calls.only = Work()
    before, marked = len(_hashing), _current.set(work)
    try:
        answer = await auth.post(f"/api/users/{path}", json=body)
        return answer.status_code, answer.content, [*work.done, *_hashing[before:]]
    finally:
        _calls.only = None
        _current.reset(marked)


@pytest.fixture
def production(environment: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    environment.setenv("ENV", "prod")
    environment.setenv("COOKIE_SECURE", "true")
    environment.setenv("PUBLIC_URL", "https://souk.test")
    return environment


async def sign_up(auth: httpx.AsyncClient, **different: str) -> None:
    answer = await auth.post("/api/users/signup", json=ADA | different)
    assert answer.status_code in {201, 202}, answer.text
    auth.cookies.clear()


async def test_a_wrong_password_is_as_much_work_without_an_account(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)

    known = await asked(auth, "signin", email=ADA["email"], password="wrong horse")
    unknown = await asked(auth, "signin", email=NOBODY, password="wrong horse")

    assert known == unknown
    assert (known[0], known[2].count("verify_and_update")) == (401, 1)


async def test_a_wrong_recovery_code_is_as_much_work_without_an_account(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)

    known = await asked(auth, "recovery-codes/signin", email=ADA["email"], code="7q4k-m2xd-9p3r")
    unknown = await asked(auth, "recovery-codes/signin", email=NOBODY, code="7q4k-m2xd-9p3r")

    assert known == unknown
    assert known[0] == 401


async def test_a_lost_password_is_as_much_work_without_an_account(auth: httpx.AsyncClient, events: Events) -> None:
    await sign_up(auth)

    known = [await asked(auth, "password-reset", email=ADA["email"]) for _ in range(6)]
    unknown = [await asked(auth, "password-reset", email=NOBODY) for _ in range(6)]

    assert known == unknown  # Also the sixth, after which there is no mail.
    assert {status for status, _, _ in known} == {202}
    assert any(call.endswith(" requests") for call in known[0][2]), known
    assert len(await events.published(PasswordResetRequested, 5)) == 5


async def test_tries_are_refused_after_as_many_without_an_account(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)
    for path, secret in (("signin", {"password": "wrong"}), ("recovery-codes/signin", {"code": "wrong"})):
        known = [(await asked(auth, path, email=ADA["email"], **secret))[::2] for _ in range(7)]
        unknown = [(await asked(auth, path, email=NOBODY, **secret))[::2] for _ in range(7)]

        assert known == unknown
        assert [status for status, _ in known] == [401] * 5 + [429] * 2


async def test_moving_to_an_address_is_as_much_work_where_somebody_has_it(auth: httpx.AsyncClient) -> None:
    await sign_up(auth, email="bea@souk.test", name="Bea")
    await auth.post("/api/users/signup", json=ADA)

    taken = await asked(auth, "email", password=ADA["password"], new_email="bea@souk.test")
    free = await asked(auth, "email", password=ADA["password"], new_email=NOBODY)

    assert taken == free
    assert taken[0] == 202


async def test_another_mail_that_proves_an_address_takes_a_session_and_no_address(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)

    known = await asked(auth, "verify-email/send", email=ADA["email"])
    unknown = await asked(auth, "verify-email/send", email=NOBODY)

    assert known == unknown
    assert (known[0], known[2]) == (401, [])


async def test_what_a_passkey_signs_names_nobodys_passkeys(auth: httpx.AsyncClient) -> None:
    await sign_up(auth)
    for email in (ADA["email"], NOBODY):
        options = (await auth.post("/api/users/passkeys/signin/options", json={"email": email})).json()
        assert options.get("allowCredentials", []) == []


async def test_signing_up_in_production_hashes_once_whether_or_not_there_is_an_account(
    production: pytest.MonkeyPatch,
) -> None:
    async with running(app) as auth:
        new = await asked(auth, "signup", **ADA)
        known = await asked(auth, "signup", **ADA)

    assert new[:2] == known[:2]
    assert [work for work in new[2] if work == "hash"] == [work for work in known[2] if work == "hash"] == ["hash"]


async def test_signing_up_with_somebodys_address_again_and_again_sends_them_no_more_mails_than_others_do(
    production: pytest.MonkeyPatch, events: Events
) -> None:
    async with running(app) as auth:
        answers = [await asked(auth, "signup", **ADA) for _ in range(9)]
        assert {answer[:2] for answer in answers} == {answers[0][:2]}
        await asked(auth, "signup", **ADA | {"email": "bea@souk.test"})
        await asked(auth, "signup", **ADA | {"email": "bea@souk.test"})

        told = Counter(one.user_id for one in await events.published(SignUpRepeated, 5))
        assert sorted(told.values()) == [1, 4], "five mails an hour to one address, and its welcome is one of them"
