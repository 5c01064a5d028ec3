"""Is there one order of calls that explains every answer? The search of Wing and Gong, with the memory of Lowe.

Wing and Gong, "Testing and Verifying Concurrent Objects" (1993): each call happens at one moment between its request
and its answer. Lowe, "Testing for Linearizability" (2017): no pair of done calls and state is visited twice, and the
call whose answer is due is tried first. Porcupine divides a history by key first; so does the caller of this. Pure.
"""

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

State = TypeVar("State", bound=Hashable)
Step = TypeVar("Step", bound=Hashable)
Done = TypeVar("Done", bound=Hashable, contravariant=True)

NEVER = math.inf

MOST_VISITS = 100_000
"""Pairs of done calls and state that a search visits before it leaves a history undecided: a few seconds."""


@dataclass(frozen=True)
class Call(Generic[Step]):
    """A step that happens at one moment from `invoked` to `returned`, with the answer that is part of the step.

    If it never returned (`NEVER`), it happens at any moment later, or not at all. `after` is the place in the history
    of a call that must happen before.
    """

    step: Step
    invoked: float
    returned: float = NEVER
    after: int | None = None


class Model(Protocol[State, Done]):
    """What steps do to one thing."""

    def apply(self, state: State, step: Done) -> State | None:
        """The state after the step; None if the step, with its answer, is impossible in this state."""

    def lacking(self, state: State, step: Done) -> int:
        """How far the state is from one in which the step is possible; 0 if it is. It only guides the search."""


@dataclass(frozen=True)
class Verdict:
    """`unexplained` is the place of the first call that no order explains; None if there is one, or if undecided."""

    unexplained: int | None = None
    decided: bool = True


def examine(calls: Sequence[Call[Step]], start: State, model: Model[State, Step]) -> Verdict:
    """Search an order of the calls, beginning in the state `start`."""
    return _Search(calls, model).run(start)


class _Search(Generic[State, Step]):
    """Calls are numbered by when their answers are due, so the lowest bit that `done` lacks is due first."""

    def __init__(self, calls: Sequence[Call[Step]], model: Model[State, Step]) -> None:
        self._places = sorted(range(len(calls)), key=lambda place: calls[place].returned)
        self._calls = [calls[place] for place in self._places]
        number = {place: n for n, place in enumerate(self._places)}
        self._before = {n: number[c.after] for n, c in enumerate(self._calls) if c.after is not None}
        self._bound = {*self._before, *self._before.values()}
        self._invoked = _invoked_before(self._calls)
        self._model = model
        self._visited: set[tuple[int, State]] = set()
        self._furthest = 0

    def run(self, start: State) -> Verdict:
        path = [self._next(0, start)]
        if self._due(0) is None:
            return Verdict()
        while path:
            if len(self._visited) > MOST_VISITS:
                return Verdict(decided=False)
            following = next(path[-1], None)
            if following is None:
                path.pop()
            elif self._due(following[0]) is None:
                return Verdict()
            elif following not in self._visited:
                self._visited.add(following)
                path.append(self._next(*following))
        return Verdict(self._places[self._furthest])

    def _due(self, done: int) -> int | None:
        """The call whose answer is due first; None if none is."""
        first = _lowest_bit(~done)
        return first if first < len(self._calls) and self._calls[first].returned < NEVER else None

    def _next(self, done: int, state: State) -> Iterator[tuple[int, State]]:
        """What is done, and the state, after each call that can be next: the most helpful one first."""
        due = self._due(done)
        if due is None:
            return
        self._furthest = max(self._furthest, due)
        found = []
        for n in self._candidates(done, due):
            after = self._model.apply(state, self._calls[n].step)
            if after is None or (after == state and self._calls[n].returned == NEVER):
                continue
            distance = -1 if n == due else self._model.lacking(after, self._calls[due].step)
            found.append((distance, n, after))
        for _, n, after in sorted(found, key=lambda one: one[:2]):
            yield done | 1 << n, after

    def _candidates(self, done: int, due: int) -> Iterator[int]:
        """Calls that were invoked before an answer was due. Of equal ones, the one that is due first stands for all."""
        seen: set[Step] = set()
        waiting = self._invoked[due] & ~done
        while waiting:
            n = _lowest_bit(waiting)
            waiting &= waiting - 1
            if n in self._bound:
                if n not in self._before or done >> self._before[n] & 1:
                    yield n
            elif self._calls[n].step not in seen:
                seen.add(self._calls[n].step)
                yield n


def _lowest_bit(bits: int) -> int:
    return (bits & -bits).bit_length() - 1


def _invoked_before(calls: Sequence[Call[Step]]) -> list[int]:
    """For each call, the calls that were invoked before its answer was due, as bits; `calls` are sorted by that."""
    by_time = sorted(range(len(calls)), key=lambda n: calls[n].invoked, reverse=True)
    invoked, masks = 0, []
    for call in calls:
        while by_time and calls[by_time[-1]].invoked <= call.returned:
            invoked |= 1 << by_time.pop()
        masks.append(invoked)
    return masks
