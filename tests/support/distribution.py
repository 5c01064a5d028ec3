"""Which tests start servers, and which run in the same process when pytest uses several (`-n auto`).

Every process has servers of its own. A whole stack takes seconds of a core to start, so all tests of a folder that
share one run in one process, and so do all tests of a module that share something of the module. Every other test goes
to the process that is free next. The processes know the fixtures of the tests, but the one that distributes them does
not collect any: it reads the groups from a file.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from infra.servers.process import Child

STACKS = (
    *("crash_stack", "planted_world", "replicated_planted_world", "faulty_stack", "stack", "hasty_stack"),
    *("echoes", "seeded"),
)
"""Fixtures that start several services and that tests share."""

SHARED = (*STACKS, "localstripe", "rendered", "_trio")
"""Fixtures that are too expensive for more than one process of a folder. Of several, the first one counts."""

SERVERS = {*STACKS, "localstripe", "_mongo", "_trio", "_nats", "_redis", "mongo_server", "nats_server", "redis_server"}
"""Fixtures that start a server, or that a test uses to start one."""

URLS = ("MONGO_URL", "NATS_URL", "REDIS_URL")


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each group, and each test without one, to the process that is free next; large groups first."""

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        self._groups: dict[str, str] = {}

    def schedule(self) -> None:
        """Read the groups, which every process has written when it reports its collection."""
        self._groups = self._groups or json.loads(groups_file(self.config).read_text())
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling | None:
    """Distribute by groups unless another way is asked for (`--dist`)."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process for each core; a single one where all of them would share the servers."""
    if any(os.environ.get(url) for url in URLS):
        return 0
    return os.cpu_count() or 1


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell a process where to write the groups."""
    node.workerinput["groups"] = str(groups_file(node.config))


def groups_file(config: pytest.Config) -> Path:
    """Return the file, in the temporary folder of the run."""
    factory: pytest.TempPathFactory = config._tmp_path_factory  # type: ignore[attr-defined]
    return factory.getbasetemp() / "groups.json"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test that needs a server, before pytest selects by marker."""
    if not SERVERS.isdisjoint(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.servers)


@pytest.hookimpl(tryfirst=True)  # Before xdist says that this process has collected: then the file is read.
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the groups, if this is one of several processes."""
    if file := getattr(session.config, "workerinput", {}).get("groups"):
        fresh = Path(f"{file}.{os.getpid()}")
        fresh.write_text(json.dumps(groups_of(session.items)))
        fresh.replace(file)


def groups_of(items: Sequence[pytest.Item]) -> dict[str, str]:
    """Return the groups by node id."""
    return {item.nodeid: group for item in items if (group := _group_of(item))}


def _group_of(item: pytest.Item) -> str | None:
    fixtures = getattr(item, "fixturenames", ())
    if name := next((name for name in SHARED if name in fixtures), None):
        return f"{name} {item.path.parent}"
    return item.nodeid.partition("::")[0] if _shares_with_its_module(item) else None


def _shares_with_its_module(item: pytest.Item) -> bool:
    """Whether a fixture is made once for the module: by itself, each test would make it again."""
    return any(definitions[-1].scope == "module" for definitions in _definitions(item).values())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """End what the next test does not share: stacks without work take a third of two cores from the tests after them.

    In one of several processes only, where the tests of a group come one after the other.
    """
    yield
    if nextitem and hasattr(item.config, "workerinput"):
        end_unshared(item, nextitem)


def end_unshared(item: pytest.Item, following: pytest.Item) -> None:
    """End each of the `SHARED` fixtures that the item has and the following one has not."""
    for name, definitions in _definitions(item).items():
        if name in SHARED and name not in _definitions(following):
            definitions[-1].finish(item._request)  # type: ignore[attr-defined]


def _definitions(item: pytest.Item) -> Mapping[str, Sequence[pytest.FixtureDef[Any]]]:
    return item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Keep `make check` quick: a test that starts a server, itself or by any fixture, says so."""

    def refuse(child: Child, *_: object) -> None:
        pytest.fail(f"{item.nodeid} starts {child.name}: mark it with @pytest.mark.servers")

    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("servers"):
            patch.setattr(Child, "start", refuse)
        return (yield)
