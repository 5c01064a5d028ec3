"""What the bench of hung processes calls a missed aim."""

import pytest

from bench.hung import Phase, missed_aims


def phase(rate: float, *lags: float) -> Phase:
    return Phase("", 0.0, 1.0, {"place": rate, "pay": rate}, sorted(lags))


BEFORE = phase(10.0, 0.01)


def test_a_fault_that_costs_what_it_may_misses_no_aim() -> None:
    assert missed_aims(BEFORE, phase(4.0, *[0.01] * 200, 30.0), 0) == []


@pytest.mark.parametrize(
    ("during", "dead_letters", "missed"),
    [
        (phase(3.9, 0.01), 0, ["place: 3.90/s of 10.00/s", "pay: 3.90/s of 10.00/s"]),
        (phase(10.0, *[16.0] * 2, *[0.01] * 98), 0, ["p99 of the lag of events: 16.0 s"]),
        (phase(10.0), 0, ["p99 of the lag of events: inf"]),
        (phase(10.0, 0.01), 1, ["1 dead letters"]),
    ],
    ids=["slow", "late", "no event", "dead letter"],
)
def test_each_aim_is_missed_for_its_reason(during: Phase, dead_letters: int, missed: list[str]) -> None:
    said = missed_aims(BEFORE, during, dead_letters)

    assert [line[: len(words)] for line, words in zip(said, missed, strict=True)] == missed


def test_without_load_before_the_fault_nothing_was_measured() -> None:
    assert len(missed_aims(phase(0.0, 0.01), phase(0.0, 0.01), 0)) == 2
