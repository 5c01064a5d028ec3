"""The queueing model agrees with what is known without it."""

import pytest

from bench.queueing import Outcome, Setup, Times, simulated

TIMES = Times(
    client=0.0002,
    process=0.0005,
    process_group=0.001,
    mongo=0.0003,
    mongo_group=0.001,
    nats=0.0001,
    wait_group=0.002,
)


def mean(outcome: Outcome) -> float:
    return sum(outcome.times) / len(outcome.times)


def test_one_client_waits_for_each_step_and_for_nothing_else() -> None:
    found = simulated(TIMES, Setup(clients=1, cores=4), seconds=60)

    assert found.group == 1
    assert found.rate == pytest.approx(1 / 0.005, rel=0.03)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_clients_are_as_many_as_wait_at_a_time(processes: int) -> None:
    """Little's law."""
    found = simulated(TIMES, Setup(processes=processes, clients=32))

    assert found.rate * mean(found) == pytest.approx(32, rel=0.02)


def test_a_rate_that_is_carried_comes_out_and_no_thread_does_more_than_it_can() -> None:
    carried = simulated(TIMES, Setup(rate=300, cores=16, own_generator=False))
    too_much = simulated(TIMES, Setup(rate=5_000, cores=16, own_generator=False), seconds=5)

    assert carried.rate == pytest.approx(300, rel=0.05)
    assert too_much.rate < 1 / TIMES.process


def test_groups_grow_with_those_who_wait() -> None:
    sizes = [simulated(TIMES, Setup(clients=clients), seconds=5).group for clients in (1, 8, 32, 128)]

    assert sizes == sorted(sizes)
    assert sizes[-1] > 32


def test_processes_collide_on_one_item_and_not_where_each_has_its_own() -> None:
    one_item = simulated(TIMES, Setup(processes=2, items=1), seconds=5)
    alone = simulated(TIMES, Setup(processes=1, items=1), seconds=5)
    by_item = simulated(TIMES, Setup(processes=2, by_item=True), seconds=5)

    assert (one_item.retries > 100, alone.retries, by_item.retries) == (True, 0, 0)
    assert one_item.rate < alone.rate


def test_half_of_the_cores_are_half_as_fast() -> None:
    fast, slow = [simulated(TIMES, Setup(clients=1, cores=cores), seconds=60) for cores in (1.0, 0.5)]

    assert mean(slow) - TIMES.wait_group == pytest.approx(2 * (mean(fast) - TIMES.wait_group), rel=0.05)
