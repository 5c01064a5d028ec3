"""The same seed gives the same plan."""

from collections import Counter

from tests.chaos.plan import KINDS, make_plan


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
