"""Which tests start servers, and which run in the same process when pytest uses several (`-n auto`).

Every process has servers of its own. A whole stack takes ten seconds of a core to start, so all tests that share one
run in one process. Every other test goes to the process that is free next.
"""

import os

import pytest

from infra.servers.process import Child

STACKS = ("crash_stack", "planted_world", "faulty_stack", "stack", "hasty_stack", "echoes")
"""Fixtures that start several services and that tests share."""

SHARED = (*STACKS, "localstripe", "rendered")
"""Fixtures that are too expensive for more than one process. A test may use several: the first one counts."""

SERVERS = {*STACKS, "localstripe", "_mongo", "_nats", "_redis", "mongo_server", "nats_server", "redis_server"}
"""Fixtures that start a server, or that a test uses to start one."""

URLS = ("MONGO_URL", "NATS_URL", "REDIS_URL")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test by its fixtures, before pytest selects by marker and xdist reads the groups."""
    fixtures = getattr(item, "fixturenames", ())
    if not SERVERS.isdisjoint(fixtures):
        item.add_marker(pytest.mark.servers)
    if group := next((name for name in SHARED if name in fixtures), None):
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two processes for each core, because most tests wait; only one where all of them would share the servers."""
    if any(os.environ.get(url) for url in URLS):
        return 0
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(autouse=True)
def _no_server_without_marker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `make check` quick: a test that starts a server says so."""

    def refuse(child: Child, *_: object) -> None:
        pytest.fail(f"{request.node.nodeid} starts {child.name}: mark it with @pytest.mark.servers")

    if not request.node.get_closest_marker("servers"):
        monkeypatch.setattr(Child, "start", refuse)
