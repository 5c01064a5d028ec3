"""The whole of Souk under faults, and every promise kept. `make chaos` runs for as long as you like."""

from pathlib import Path

import pytest

from tests.chaos.clocks import library
from tests.chaos.disks import may_mount
from tests.chaos.fronts import sources_are_known
from tests.chaos.plan import CLOCK_STEPS, Fault
from tests.chaos.replicated_world import ReplicatedWorld
from tests.chaos.report import figures, told
from tests.chaos.run import Run
from tests.chaos.world import World

pytestmark = pytest.mark.servers
HOLD_SECONDS = 4


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_every_promise_is_kept_under_every_kind_of_fault(tmp_path: Path) -> None:
    await check_run(tmp_path, Run(seed=7, seconds=150, buyers=8, hold_seconds=HOLD_SECONDS), orders=60, kinds=14)


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "fault",
    [Fault(5, "kill service", "orders"), Fault(5, "pause", "items", 20), Fault(5, "pause", "orders-2", 20)],
    ids=str,
)
async def test_a_single_fault_of_a_replica_costs_next_to_no_answers(tmp_path: Path, fault: Fault) -> None:
    run = Run(seed=9, seconds=40, buyers=8, hold_seconds=HOLD_SECONDS, plan=[fault])

    await check_run(tmp_path, run, orders=20, kinds=1)


WRONG_CLOCKS = [
    Fault(2 + 5 * number, kind, target, 6)
    for number, (kind, target) in enumerate(
        [
            ("clock ahead", "auth"),
            ("clock behind", "orders"),
            ("clock ahead", "expiration"),
            ("clock ahead", "orders-2"),
            ("clock behind", "payments"),
            ("clock ahead", "payments-2"),
            ("clock behind", "items"),
            ("clock behind", "expiration-2"),
        ]
    )
]


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.skipif(library() is None, reason="there is no libfaketime here")
async def test_every_promise_is_kept_by_services_whose_clocks_are_wrong(tmp_path: Path) -> None:
    run = Run(seed=11, seconds=48, buyers=8, hold_seconds=HOLD_SECONDS, plan=WRONG_CLOCKS)

    await check_run(tmp_path, run, orders=40, kinds=2)


DUPLICATE_WINDOW = 120.0
"""Seconds in which JetStream knows an event that it has already."""


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_every_promise_is_kept_after_an_outage_that_outlasts_holds_and_the_memory_of_the_bus(
    tmp_path: Path,
) -> None:
    plan = [Fault(3, "bus outage", seconds=DUPLICATE_WINDOW + 5), Fault(135, "rolling restart")]
    run = Run(seed=13, seconds=140, buyers=4, hold_seconds=HOLD_SECONDS, plan=plan, calm_orders=5)

    await check_run(tmp_path, run, orders=20, kinds=2)

    assert run.end.stored_twice > 0  # The bus had stored events without an answer, and had forgotten their ids.


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.skipif(not may_mount(), reason="only root may mount a small disk")
async def test_every_promise_is_kept_when_the_disks_of_the_bus_and_of_mongodb_are_really_full(tmp_path: Path) -> None:
    plan = [Fault(3, "full disk", "nats", 2), Fault(25, "full disk", "mongod", 2)]
    run = Run(seed=17, seconds=45, buyers=8, hold_seconds=HOLD_SECONDS, plan=plan)

    await check_run(tmp_path, run, orders=20, kinds=1, small_disks=True)

    assert [result.note for result in run.faults if not result.happened] == []


PRODUCTION = [
    Fault(2, "unreplicated writes", seconds=3),
    Fault(14, "unreplicated writes", seconds=4),
    Fault(24, "lost disk", "mongod-2"),
    Fault(38, "lag", seconds=12),
    Fault(52, "step down"),
    Fault(56, "new leader", "ORDERS"),
    Fault(60, "black hole", "orders:nats-1", 20),
    Fault(62, "long pause", "payments-2", 20),
]


@pytest.mark.prove
@pytest.mark.timeout(900)
async def test_every_promise_is_kept_where_servers_have_three_members(tmp_path: Path) -> None:
    run = Run(seed=5, seconds=75, buyers=8, hold_seconds=HOLD_SECONDS, plan=PRODUCTION)
    await check_run(tmp_path, run, orders=40, kinds=7, world=ReplicatedWorld)


PARTITIONS = [
    Fault(2, "partition", "primary", 15),
    Fault(4, "partition", "nats-1", 15),
    Fault(24, "one-way partition", "mongod-1:mongod-2", 10),
    Fault(25, "one-way partition", "nats-2:nats-3", 10),
    Fault(42, "partial partition", "mongod-2:mongod-3", 10),
    Fault(43, "partial partition", "nats-1:nats-3", 10),
    Fault(54, "hold answers", "orders:mongod-1", 8),
    Fault(55, "cut", "payments-2:mongod-2", 2),
    Fault(56, "lost disk", "nats-2"),
]


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.skipif(not sources_are_known(), reason="only Linux shows whose a connection is")
async def test_every_promise_is_kept_by_clusters_whose_members_cannot_talk_to_each_other(tmp_path: Path) -> None:
    run = Run(seed=19, seconds=70, buyers=8, hold_seconds=HOLD_SECONDS, plan=PARTITIONS, least_orders=40)

    await check_run(tmp_path, run, orders=40, kinds=6, world=ReplicatedWorld)

    assert [result.note for result in run.faults if not result.happened] == []
    notes = {result.fault.target: result.note for result in run.faults if result.fault.kind == "partition"}
    assert "was deposed by" in notes["primary"]
    assert notes["nats-1"] == "out of touch: nats-1"


async def check_run(
    folder: Path, run: Run, *, orders: int, kinds: int, world: type[World] = World, small_disks: bool = False
) -> None:
    """The run finds no violation, with at least so many completed orders and kinds of faults."""
    run.least_orders = max(run.least_orders, 2 * orders)
    souk = world(
        folder,
        hold_seconds=HOLD_SECONDS,
        small_disks=small_disks,
        own_clocks=run.plan is None or any(fault.kind in CLOCK_STEPS for fault in run.plan),
        say=lambda *_: None,
    )
    async with souk:
        await run.execute(souk)

    report = figures(run)
    assert not run.violations, told(run)
    assert report["orders_completed"] >= orders
    assert len(report["faults"]) >= kinds
