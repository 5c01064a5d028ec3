"""The whole of Souk for journeys: real servers, all services and the gateway, once a test run."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from common.auth import User
from common.testing import Tokens, person
from infra.local.keys import Keys
from infra.local.stack import Stack
from tests.browsing import chromium, hasty_opened, opened, photo, size

__all__ = ["chromium", "hasty_opened", "opened", "photo", "size"]  # fixtures of the tests of web

settings.register_profile(
    "steady", deadline=None, derandomize=True, max_examples=75, suppress_health_check=list(HealthCheck)
)
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False, max_examples=5_000)
settings.load_profile("steady")

TRUST = ssl.create_default_context()
"""Shared: a client of its own context takes as long as a dozen requests."""


@dataclass(frozen=True)
class Person:
    """Somebody at the gateway, signed in."""

    user: User
    http: httpx.AsyncClient


class Place(Protocol):
    """Where people meet: a laptop's stack, or a cluster."""

    keys: Keys

    @property
    def url(self) -> str:
        """The address of its gateway."""


class People:
    """Makes people who use a stack. Their connections are closed at the end of the test."""

    def __init__(self, stack: Place, exits: AsyncExitStack) -> None:
        self._tokens = Tokens(stack.keys.private_key)
        self._stack = stack
        self._exits = exits

    async def anybody(self) -> httpx.AsyncClient:
        """Return a client that is not signed in."""
        return await self._exits.enter_async_context(
            httpx.AsyncClient(base_url=self._stack.url, timeout=30, verify=TRUST)
        )

    async def new(self, name: str = "Ada", *roles: str) -> Person:
        """Return somebody with a session, but without the cost of a sign-up: 200 passwords are 40 seconds of work."""
        user, http = person(name, *roles), await self.anybody()
        http.headers.update(self._tokens.headers(user))
        return Person(user, http)

    async def signed_up(self, name: str = "Ada") -> Person:
        """Return somebody who has signed up at auth and carries its cookie."""
        user, http = person(name), await self.anybody()
        answer = await http.post(
            "/api/users/signup", json={"email": user.email, "password": "correct horse", "name": name}
        )
        assert answer.status_code == 201, answer.text
        return Person(User(**answer.json()), http)


@pytest_asyncio.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk with holds of 15 minutes."""
    said: list[str] = []
    async with Stack(tmp_path_factory.mktemp("souk"), say=lambda _, line: said.append(line)) as running:
        yield running
    assert [line for line in said if "Traceback" in line] == []  # whatever the tests have sent


@pytest_asyncio.fixture(scope="session")
async def hasty_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk with holds of 5 seconds."""
    async with Stack(tmp_path_factory.mktemp("hasty"), hold_seconds=5) as running:
        yield running


@pytest_asyncio.fixture
async def people(stack: Stack) -> AsyncIterator[People]:
    """People at `stack`."""
    async with AsyncExitStack() as exits:
        yield People(stack, exits)


@pytest_asyncio.fixture
async def hasty_people(hasty_stack: Stack) -> AsyncIterator[People]:
    """People at `hasty_stack`."""
    async with AsyncExitStack() as exits:
        yield People(hasty_stack, exits)
