"""The checker is itself tested: each planted bug is caught, and by the rule that it breaks; without one, none is."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from infra.local.stack.services import SERVICES
from tests.chaos.plan import Fault
from tests.chaos.planted_bugs import BUGS
from tests.chaos.run import Run
from tests.chaos.world import World

HOLD_SECONDS = 2
SECONDS = 3.0
ORDERS = (12, 24)
"""How many are placed before trouble begins, and in all: enough for every bug to show."""


@dataclass(frozen=True)
class Infested:
    """A stack whose services have every bug; `bug` is the file with the name of the one that bites."""

    world: World
    bug: Path


@pytest_asyncio.fixture(scope="module")
async def infested(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Infested]:
    folder = tmp_path_factory.mktemp("infested")
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
        yield Infested(world, bug)


EVERYTHING_AGAIN = [Fault(at, "repeat events") for at in (1.0, 3.0, 5.0)]
DEATHS = [Fault(at, "kill service", "orders") for at in (0.0, 1.0, 2.0)]
UNREADABLE = [Fault(0.0, "unreadable event", "payments.captured")]

STUCK = {"ack before write", "deadline ignored", "refund never"}
"""What these bugs have left undone is never done: nobody needs to wait for it."""

CASES: list[tuple[str, list[Fault], set[str]]] = [
    ("", UNREADABLE + EVERYTHING_AGAIN, set()),
    ("unguarded stock", [], {"oversold"}),
    ("ack before write", DEATHS, {"shown", "charged", "overdue"}),
    ("event lost after write", [], {"untold"}),
    ("deadline ignored", [], {"overdue"}),
    ("refund twice", EVERYTHING_AGAIN, {"refunded twice"}),
    ("refund never", [], {"charged"}),
    ("dropped dead letter", UNREADABLE, {"dropped"}),
]


@pytest.mark.timeout(360)
@pytest.mark.parametrize(("bug", "plan", "rules"), CASES, ids=[bug or "no bug" for bug, _, _ in CASES])
async def test_each_planted_bug_is_caught(bug: str, plan: list[Fault], rules: set[str], infested: Infested) -> None:
    infested.bug.write_text(bug)
    seed = [one for one, _, _ in CASES].index(bug)  # other people in each run
    run = Run(seed, SECONDS, buyers=6, hold_seconds=HOLD_SECONDS, quiet_limit=6 if bug in STUCK else 60, plan=plan)
    run.calm_orders, run.least_orders = ORDERS
    run.offers, run.second_opinion = (3, 3, 8), not bug

    await run.happen(infested.world)
    infested.bug.write_text("")

    broken = {violation.rule for violation in run.violations}
    assert (rules & broken) if bug else not broken, run.violations


def test_every_bug_has_its_case() -> None:
    assert {bug for bug, _, _ in CASES} == {"", *BUGS}
