"""The checker is itself tested: it catches each planted bug by the rule that it breaks, and nothing without a bug."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from infra.services import SERVICES
from tests.chaos.plan import Fault
from tests.chaos.planted_bugs import BUGS
from tests.chaos.run import Run
from tests.chaos.world import World

HOLD_SECONDS = 2
SECONDS = 3.0
ORDERS = (12, 24)
"""How many are placed before the first fault, and in all: enough for every bug to show."""


@dataclass(frozen=True)
class PlantedWorld:
    """A stack whose services have every bug; the file `bug` names the one that is active."""

    world: World
    bug: Path


@pytest_asyncio.fixture(scope="module")
async def planted_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PlantedWorld]:
    folder = tmp_path_factory.mktemp("planted")
    bug = folder / "bug"
    bug.write_text("")
    names = [service.name for service in SERVICES if service.uses == "mongod"]
    async with World(
        folder / "souk",
        hold_seconds=HOLD_SECONDS,
        replicas={},
        commands={name: [sys.executable, "-m", "tests.chaos.planted_bugs", name] for name in names},
        env={name: {"BUG": str(bug)} for name in names},
        say=lambda *_: None,
    ) as world:
        yield PlantedWorld(world, bug)


EVERYTHING_AGAIN = [Fault(at, "repeat events") for at in (1.0, 3.0, 5.0)]
DEATHS = [Fault(at, "kill service", "orders") for at in (0.0, 1.0, 2.0)]
UNREADABLE = [Fault(0.0, "unreadable event", "payments.captured")]

STUCK = {"ack before write", "deadline ignored", "refund never"}
"""What these bugs leave undone is never done: waiting longer is of no use."""

CASES: list[tuple[str, list[Fault], set[str]]] = [
    ("", UNREADABLE + EVERYTHING_AGAIN, set()),
    ("unguarded stock", [], {"oversold"}),
    ("ack before write", DEATHS, {"shown", "charged", "overdue"}),
    ("event lost after write", [], {"unpublished"}),
    ("deadline ignored", [], {"overdue"}),
    ("refund twice", EVERYTHING_AGAIN, {"refunded twice"}),
    ("refund never", [], {"charged"}),
    ("dropped dead letter", UNREADABLE, {"dropped"}),
]


QUICK = {"", "unguarded stock"}
"""Cases of `make test`; `make prove` has the others."""


def marks(bug: str) -> list[pytest.MarkDecorator]:
    return [] if bug in QUICK else [pytest.mark.prove]


@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    ("bug", "plan", "rules"), [pytest.param(*case, id=case[0] or "no bug", marks=marks(case[0])) for case in CASES]
)
async def test_each_planted_bug_is_caught(
    bug: str, plan: list[Fault], rules: set[str], planted_world: PlantedWorld
) -> None:
    planted_world.bug.write_text(bug)
    seed = [one for one, _, _ in CASES].index(bug)  # other people in each run
    run = Run(seed, SECONDS, buyers=6, hold_seconds=HOLD_SECONDS, quiet_limit=6 if bug in STUCK else 60, plan=plan)
    run.calm_orders, run.least_orders = ORDERS
    run.offers, run.ask_audit = (3, 3, 8), not bug

    await run.execute(planted_world.world)
    planted_world.bug.write_text("")

    broken = {violation.rule for violation in run.violations}
    assert (rules & broken) if bug else not broken, run.violations


def test_every_bug_has_its_case() -> None:
    assert {bug for bug, _, _ in CASES} == {"", *BUGS}
