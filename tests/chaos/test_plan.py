"""The same seed gives the same plan."""

from collections import Counter
from pathlib import Path

from tests.chaos.fronts import sources_are_known
from tests.chaos.plan import KINDS, make_plan
from tests.chaos.replicated_world import ReplicatedWorld
from tests.chaos.world import World

ON_WIRES = ("cut", "slow", "hold", "hold requests", "hold answers", "black hole")
"""The kinds of faults that come over one wire."""


def test_the_same_seed_gives_the_same_plan_and_another_gives_another() -> None:
    assert make_plan(1, 600) == make_plan(1, 600)
    assert make_plan(1, 600) != make_plan(2, 600)


def test_a_shorter_run_has_the_beginning_of_the_same_plan() -> None:
    longer = make_plan(7, 600)

    assert make_plan(7, 60) == [fault for fault in longer if fault.at < 60]


def test_a_long_plan_has_many_faults_of_every_kind_each_at_a_target_of_its_kind() -> None:
    plan = make_plan(1, 600)

    assert len(plan) >= 150
    assert {fault.kind for fault in plan} == set(KINDS)
    for fault in plan:
        kind = KINDS[fault.kind]
        assert fault.target in kind.targets
        assert kind.lasts[0] <= fault.seconds <= kind.lasts[1]
        assert 0 < fault.at < 600


def test_every_kind_comes_before_any_comes_more_often_than_its_share() -> None:
    dealt = sum(kind.often for kind in KINDS.values())

    first = Counter(fault.kind for fault in make_plan(3, 600)[:dealt])

    assert first == {name: kind.often for name, kind in KINDS.items()}


def test_every_wire_of_the_plan_is_in_the_world_and_its_members_are_parted_in_every_way(tmp_path: Path) -> None:
    world = ReplicatedWorld(tmp_path, hold_seconds=4)
    kinds = world.kinds

    named = {name for kind in ON_WIRES for name in kinds[kind].targets}
    assert named < set(world.wires)
    assert {way for way in world.wires if way.startswith("nats-")} <= set(kinds["one-way partition"].targets)
    assert set(kinds["partial partition"].targets) < set(kinds["one-way partition"].targets) < set(world.wires)
    assert set(kinds["lost disk"].targets) <= set(kinds["partition"].targets)
    if sources_are_known():
        assert {"orders:mongod-1", "orders-2:mongod-3", "expiration-2:nats-2"} < named
        assert {"mongod-1:mongod-2", "nats-3:nats-1"} < set(kinds["one-way partition"].targets)
        assert "primary" in kinds["partition"].targets


def test_the_single_world_has_the_wires_of_its_plan(tmp_path: Path) -> None:
    world = World(tmp_path, hold_seconds=4)

    assert {name for kind in ON_WIRES if kind in world.kinds for name in world.kinds[kind].targets} <= set(world.wires)
