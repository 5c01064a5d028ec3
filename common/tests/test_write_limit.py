"""The limit of changes: so many at once, then evenly, and never a wait that is longer than it must be."""

import pytest

from common.http import write_limit
from common.http.write_limit import WriteLimit


class Seconds:
    """A clock in the place of the module's."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    clock = Seconds()
    monkeypatch.setattr(write_limit, "time", clock)
    return clock


def test_a_minutes_worth_at_once_then_one_at_a_time(clock: Seconds) -> None:
    limit = WriteLimit(per_minute=30)
    assert [limit.count("ada") for _ in range(31)] == [0] * 30 + [2]
    assert limit.count("bob") == 0

    clock.now += 2
    assert [limit.count("ada"), limit.count("ada")] == [0, 2]
    clock.now += 60
    assert [limit.count("ada") for _ in range(31)] == [0] * 30 + [2]


def test_a_refusal_does_not_make_the_wait_longer(clock: Seconds) -> None:
    limit = WriteLimit(per_minute=1)
    limit.count("ada")
    assert {limit.count("ada") for _ in range(100)} == {60}

    clock.now += 60
    assert limit.count("ada") == 0
