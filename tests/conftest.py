"""The whole of Souk for journeys: real servers, all services and the gateway, once a test run."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from infra.local.stack.stack import Stack
from tests.support.browsing import chromium, hasty_opened, opened, photo, size
from tests.support.people import People

__all__ = ["chromium", "hasty_opened", "opened", "photo", "size"]  # fixtures of the tests of web

settings.register_profile(
    "steady", deadline=None, derandomize=True, max_examples=75, suppress_health_check=list(HealthCheck)
)
settings.register_profile("explore", settings.get_profile("steady"), derandomize=False, max_examples=5_000)
settings.load_profile("steady")


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
