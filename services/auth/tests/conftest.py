"""Auth as its tests see it: the real app over a real MongoDB and a real bus."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from auth.main import app
from common.clock import now
from common.http.dependencies import current_time
from tests.support.serving import running
from tests.support.sessions import Tokens


@pytest.fixture(scope="session")
def keys() -> Tokens:
    """The key pair of auth: whatever it signs, auth could have signed."""
    return Tokens()


@pytest.fixture
def real_hashes() -> None:
    """For a test that needs hashes as they are in production, or the time that they take."""


@pytest.fixture
def quick_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with a hundredth of its work, except for tests that use `real_hashes`."""
    if "real_hashes" in request.fixturenames:
        return
    quick = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=1024, parallelism=1),))
    monkeypatch.setattr(PasswordHash, "recommended", lambda: quick)


@pytest.fixture
def environment(
    quick_hashes: None, mongo_url: str, bus_url: str, keys: Tokens, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """What auth must be told; a test may set more before it asks for `auth`."""
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("NATS_URL", bus_url)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", keys.jwk_set)
    monkeypatch.setenv("JWT_PRIVATE_KEY", keys.private_pem)
    monkeypatch.setenv("MAIL_TOKEN_KEY", "a key for mails of tests")
    monkeypatch.setenv("PUBLIC_URL", "http://localhost:8080")
    return monkeypatch


@pytest_asyncio.fixture
async def auth(environment: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has opened auth; it keeps the cookies it gets."""
    async with running(app) as client:
        yield client


@pytest.fixture
def clock() -> Any:
    """Sets the time of auth, which stands still: `clock(hours=2)` is two hours after the start of the test."""
    began = now()

    def at(**later: float) -> None:
        app.dependency_overrides[current_time] = lambda: began + timedelta(**later)

    at()
    yield at
    app.dependency_overrides.clear()
