"""Whole stacks that many tests share, and people who use them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import nats
import pytest
import pytest_asyncio

from infra.bus import PROVISIONER
from infra.local.stack.ports import OFFSETS
from infra.local.stack.stack import Stack
from infra.servers.process import free_port, reserve_port
from tests.support.bus import Events
from tests.support.people import People

ONE_NETWORK = {
    "auth": {"SIGNIN_FAILURES_PER_NETWORK": "600", "SIGNUPS_PER_NETWORK": "600", "MAILS_PER_NETWORK": "600"},
}
"""All tests come from one network: what one of them guesses must not be held against the next."""


def free_block() -> int:
    """A gateway port with all its offsets free, and kept from other test processes."""
    while True:
        first = free_port()
        if all(reserve_port(first + offset) for offset in OFFSETS.values() if offset):
            return first


@asynccontextmanager
async def away(stack: Stack, name: str) -> AsyncIterator[None]:
    """Inside, a process was killed and does not come back. After it, all of Souk is ready again."""
    supervisor = stack.supervisors[name]
    supervisor.release()
    await supervisor.child.kill()
    try:
        yield
    finally:
        await supervisor.start()
        await stack.ready()


@asynccontextmanager
async def events_of(stack: Stack) -> AsyncIterator[Events]:
    """What is on the bus of a stack, for who may do everything there."""
    client = await nats.connect(stack.nats_url(PROVISIONER))
    try:
        yield Events(client.jetstream(timeout=10))
    finally:
        await client.close()


@pytest_asyncio.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk with holds of 15 minutes. No test may make a service log a stack trace."""
    lines: list[str] = []
    async with Stack(
        tmp_path_factory.mktemp("souk"), env=ONE_NETWORK, say=lambda _, line: lines.append(line)
    ) as running:
        yield running
    assert [line for line in lines if "Traceback" in line] == []


@pytest_asyncio.fixture(scope="session")
async def hasty_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk with holds of 12 seconds: short, but enough to pay on a busy machine."""
    async with Stack(tmp_path_factory.mktemp("hasty"), hold_seconds=12, env=ONE_NETWORK) as running:
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
