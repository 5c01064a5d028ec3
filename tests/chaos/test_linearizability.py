"""The search for an order that explains every answer: of a register, and of histories where there is none."""

import random
from itertools import permutations

import pytest

from tests.chaos.linearizability import NEVER, Call, Verdict, examine

Step = tuple[str, int]


class Register:
    """A number that is read and written."""

    def apply(self, state: int, step: Step) -> int | None:
        kind, number = step
        return number if kind == "write" or state == number else None

    def lacking(self, state: int, step: Step) -> int:
        return int(self.apply(state, step) is None)


def write(number: int, invoked: float, returned: float = NEVER, after: int | None = None) -> Call[Step]:
    return Call(("write", number), invoked, returned, after)


def read(number: int, invoked: float, returned: float = NEVER) -> Call[Step]:
    return Call(("read", number), invoked, returned)


EXPLAINED = [
    [],
    [write(1, 0, 1), read(1, 2, 3)],
    [write(1, 0, 5), read(0, 1, 2), read(1, 3, 4)],
    [write(1, 0, 9), write(2, 0, 9), read(2, 1, 2), read(1, 3, 4)],
    [write(1, 0), read(0, 5, 6), read(1, 7, 8)],  # no answer, and it happened later
    [write(1, 0), read(0, 5, 6), read(0, 7, 8)],  # no answer, and it never happened
    [write(1, 0, 2), write(1, 1, 6), read(1, 2, 3), write(2, 4, 5), read(1, 7, 8)],
    [read(1, 0, 2), write(1, 2, 3)],  # at the same moment
    [write(1, 0, 9, after=1), write(2, 0, 9), read(1, 10, 11)],
]

UNEXPLAINED = [
    ([read(1, 0, 1)], 0),
    ([write(1, 0, 1), read(0, 2, 3)], 1),
    ([write(1, 0, 5), read(1, 1, 2), read(0, 3, 4)], 2),  # a read that goes back
    ([write(1, 0), read(1, 5, 6), read(0, 7, 8)], 2),  # what happened stays, also without an answer
    ([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5), read(2, 6, 7)], 2),
    ([write(1, 5), read(1, 1, 2)], 1),  # before it was asked for
    ([write(1, 0, 9, after=1), write(2, 0, 9), read(2, 10, 11)], 2),
]


@pytest.mark.parametrize("calls", EXPLAINED)
def test_a_history_that_some_order_explains(calls: list[Call[Step]]) -> None:
    assert examine(calls, 0, Register()) == Verdict()


@pytest.mark.parametrize(("calls", "unexplained"), UNEXPLAINED)
def test_the_first_answer_that_no_order_explains_is_named(calls: list[Call[Step]], unexplained: int) -> None:
    assert examine(calls, 0, Register()) == Verdict(unexplained)


def test_the_search_finds_an_order_exactly_when_trying_all_of_them_does() -> None:
    chance = random.Random(1)
    verdicts = [_compare([_some_call(chance) for _ in range(chance.randrange(1, 7))]) for _ in range(1_000)]

    assert 100 < sum(verdicts) < 900  # both happen


def _some_call(chance: random.Random) -> Call[Step]:
    invoked = chance.randrange(8)
    returned = NEVER if chance.random() < 0.2 else invoked + chance.randrange(1, 5)
    return Call((chance.choice(("read", "write")), chance.randrange(3)), invoked, returned)


def _compare(calls: list[Call[Step]]) -> bool:
    found = examine(calls, 0, Register()).unexplained is None
    assert found == any(_explains(order) for order in _orders(calls)), calls
    return found


def _orders(calls: list[Call[Step]]) -> list[tuple[Call[Step], ...]]:
    """Every order of the calls that returned, with any of those that did not."""
    returned = [call for call in calls if call.returned < NEVER]
    others = [call for call in calls if call.returned == NEVER]
    return [
        order
        for chosen in range(2 ** len(others))
        for order in permutations(returned + [call for n, call in enumerate(others) if chosen >> n & 1])
    ]


def _explains(order: tuple[Call[Step], ...]) -> bool:
    state: int | None = 0
    for n, call in enumerate(order):
        if any(later.returned < call.invoked for later in order[n + 1 :]):
            return False
        state = None if state is None else Register().apply(state, call.step)
    return state is not None


def test_many_calls_without_an_answer_do_not_slow_the_search_down() -> None:
    unanswered = [write(n % 4, n / 10) for n in range(60)]
    answered = [read(n % 4, 10 + n, 10.5 + n) for n in range(60)]

    assert examine(unanswered + answered, 0, Register()) == Verdict()


def test_a_search_that_takes_too_long_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.linearizability.MOST_VISITS", 10)
    calls = [write(n, 0, 100) for n in range(12)] + [read(99, 1, 2)]

    assert examine(calls, 0, Register()) == Verdict(decided=False)
