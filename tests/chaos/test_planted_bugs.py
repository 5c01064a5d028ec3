"""The checker is itself tested: it catches each planted bug by the rule that it breaks, and nothing without a bug."""

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from infra.services import SERVICES
from tests.chaos.plan import Fault
from tests.chaos.planted_bugs import BUGS
from tests.chaos.replicated_world import ReplicatedWorld
from tests.chaos.report import told
from tests.chaos.run import Run
from tests.chaos.world import World

log = logging.getLogger(__name__)

HOLD_SECONDS = 2
HOLD_LIMIT = 3
SECONDS = 3.0
ORDERS = (12, 24)
"""How many are placed before the first fault, and in all: enough for most bugs to show."""

RARE = {
    *("price of another version", "price not compared", "hold limit ignored", "sold out too early"),
    "failed refund not heard",
    *("generation unchecked", "extra admission forgotten", "signature unchecked"),
}
"""Bugs that take an edit, a hoard, a last unit, a bad card, a transfer, or a copied or forged code to show: these
runs are `MORE` times as long.
"""

MORE = 3

SEEDS = 5
"""Within so many runs, with other people each time, every bug is caught."""


@dataclass(frozen=True)
class PlantedWorld:
    """A stack whose services have every bug; the file `bug` names the one that is active."""

    world: World
    bug: Path


@pytest_asyncio.fixture(scope="module")
async def planted_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PlantedWorld]:
    async with planted(World, tmp_path_factory.mktemp("planted")) as world:
        yield world


@pytest_asyncio.fixture(scope="module")
async def replicated_planted_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PlantedWorld]:
    async with planted(ReplicatedWorld, tmp_path_factory.mktemp("replicated")) as world:
        yield world


@asynccontextmanager
async def planted(kind: type[World], folder: Path) -> AsyncIterator[PlantedWorld]:
    bug = folder / "bug"
    bug.write_text("")
    names = [service.name for service in SERVICES if service.uses == "mongod"]
    async with kind(
        folder / "souk",
        hold_seconds=HOLD_SECONDS,
        replicas={},
        commands={name: [sys.executable, "-m", "tests.chaos.planted_bugs", name] for name in names},
        env={name: {"BUG": str(bug), "HOLD_LIMIT": str(HOLD_LIMIT)} for name in names},
        say=lambda *_: None,
    ) as world:
        yield PlantedWorld(world, bug)


EVERYTHING_AGAIN = [Fault(at, "repeat events") for at in (1.0, 3.0, 5.0)]
DEATHS = [Fault(at, "kill service", "orders") for at in (0.0, 1.0, 2.0)]
DEATHS_OF_PAYMENTS = [Fault(at, "kill service", "payments") for at in (0.0, 1.5, 3.0)]
HELD_UP = [Fault(at, "pause", "payments", 2.5) for at in (1.0, 4.5, 8.0, 11.5, 15.0)]
UNREADABLE = [Fault(0.0, "unreadable event", "payments.captured")]

STUCK = {"ack before write", "deadline ignored", "refund never", "lease ignored"}
"""What these bugs leave undone is never done: waiting longer is of no use."""

CASES: list[tuple[str, list[Fault], set[str]]] = [
    ("", UNREADABLE + EVERYTHING_AGAIN + DEATHS[:1], set()),
    ("unguarded stock", [], {"oversold", "not linearizable"}),
    ("ack before write", DEATHS, {"shown", "charged", "overdue"}),
    ("event lost after write", [], {"unpublished"}),
    ("deadline ignored", [], {"overdue"}),
    ("refund twice", EVERYTHING_AGAIN, {"refunded twice"}),
    ("refund never", [], {"charged", "record"}),
    ("failed refund not heard", [], {"record", "account"}),
    ("dispute not heard", [], {"record", "account"}),
    ("charged after no", [], {"in time", "after no"}),
    ("lateness by arrival", HELD_UP, {"in time"}),
    ("dropped dead letter", UNREADABLE, {"dropped"}),
    ("key not remembered", [], {"two answers", "too many orders"}),
    ("lease ignored", DEATHS_OF_PAYMENTS, {"unsettled", "charged", "record"}),
    ("hold limit ignored", [], {"hold limit"}),
    ("price of another version", [], {"offer"}),
    ("price not compared", [], {"price"}),
    ("sold out too early", [], {"sold out too early", "not linearizable"}),
    ("withdrawal ignored", [], {"withdrawn", "not linearizable", "shown"}),
    ("given back twice", [], {"stock", "not linearizable"}),
    ("old news shown", EVERYTHING_AGAIN, {"shown"}),
    ("generation unchecked", [], {"old generation"}),
    ("scan answered before it is written", [], {"admitted twice", "lost admission"}),
    ("extra admission forgotten", [], {"lost scan", "extra"}),
    ("signature unchecked", [], {"forged"}),
]

UNDONE = [Fault(0.0, "unreplicated writes", seconds=18.0)]
"""A primary is deposed whose writes of the last seconds nobody else has. They last longer than any call waits."""

REPLICATED_CASES: list[tuple[str, list[Fault], set[str]]] = [
    ("", UNDONE, set()),
    ("local read before ack", UNDONE, {"lost", "lie", "in time", "charged", "record"}),
    ("sweeps local", UNDONE, {"phantom"}),
]


QUICK = {""}
"""What `make test` has: the run without a bug. `make prove` has the others."""


def marks(bug: str) -> list[pytest.MarkDecorator]:
    return [] if bug in QUICK else [pytest.mark.prove]


@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    ("bug", "plan", "rules"), [pytest.param(*case, id=case[0] or "no bug", marks=marks(case[0])) for case in CASES]
)
async def test_each_planted_bug_is_caught(
    bug: str, plan: list[Fault], rules: set[str], planted_world: PlantedWorld
) -> None:
    await catch(bug, plan, rules, planted_world)


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("bug", "plan", "rules"), REPLICATED_CASES, ids=[case[0] or "no bug" for case in REPLICATED_CASES]
)
async def test_each_bug_that_needs_several_members_is_caught(
    bug: str, plan: list[Fault], rules: set[str], replicated_planted_world: PlantedWorld
) -> None:
    await catch(bug, plan, rules, replicated_planted_world)


async def catch(bug: str, plan: list[Fault], rules: set[str], planted_world: PlantedWorld) -> None:
    """Within `SEEDS` runs, the bug breaks one of these rules. Without a bug, one run breaks none."""
    planted_world.bug.write_text(bug)
    first = 10 * ("", *BUGS).index(bug)  # other people in each run
    for seed in range(first, first + (SEEDS if bug else 1)):
        run = await trade(planted_world, bug, plan, seed)
        broken = {violation.rule for violation in run.violations}
        log.info("%s, seed %s: %s", bug or "no bug", seed, ", ".join(sorted(broken)) or "nothing")
        if rules & broken:
            break
    planted_world.bug.write_text("")

    assert (rules & broken) if bug else not broken, told(run)


async def trade(planted_world: PlantedWorld, bug: str, plan: list[Fault], seed: int) -> Run:
    """Run people in the world with this bug."""
    run = Run(seed, SECONDS, buyers=6, hold_seconds=HOLD_SECONDS, quiet_limit=6 if bug in STUCK else 60, plan=plan)
    run.calm_orders, run.least_orders = ORDERS[0], ORDERS[1] * (MORE if bug in RARE else 1)
    run.offers, run.ask_audit, run.hold_limit = (3, 3, 8), not bug, HOLD_LIMIT
    await run.execute(planted_world.world)
    return run


def test_every_bug_has_its_case() -> None:
    assert {bug for bug, _, _ in (*CASES, *REPLICATED_CASES)} == {"", *BUGS}
