"""Rebuilding a projection: read the streams from the start, compare with what is stored, and repair it on request.

This runs beside the service: `python -m orders.projections orders.stock --swap`. Changes that the service makes
meanwhile are not differences and are never overwritten: each repair is guarded by the state that was compared
(docs/decisions/rebuild.md).
"""

import argparse
import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from common.bus.connection import BusError
from common.errors import SoukError

SETTLE_SECONDS = 2.0
"""Seconds in which a handler that is only behind catches up."""

MAX_SHOWN = 20
"""Differences that are printed; all are counted."""

State = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """A key whose stored state is not what the streams say. None means that there is no state."""

    key: str
    expected: State | None
    found: State | None

    def __str__(self) -> str:
        if self.expected is None or self.found is None:
            return f"{self.key}: {_shown(self.expected)} expected, {_shown(self.found)} found"
        names = sorted(n for n in {*self.expected, *self.found} if self.expected.get(n) != self.found.get(n))
        fields = (f"{n} {self.expected.get(n)!r} expected, {self.found.get(n)!r} found" for n in names)
        return f"{self.key}: {'; '.join(fields)}"


def _shown(state: State | None) -> str:
    return "nothing" if state is None else ", ".join(f"{name} {value!r}" for name, value in state.items())


class Projection(ABC):
    """A copy of what the streams say: a state under each key. States are compared with `==`."""

    name: ClassVar[str]
    """The argument of `make rebuild`, such as `orders.stock`."""

    @abstractmethod
    async def expected(self) -> dict[str, State]:
        """The states that the streams say, read from the first message to the newest now."""

    @abstractmethod
    async def found(self) -> dict[str, State]:
        """The states that are stored."""

    @abstractmethod
    async def repair(self, differences: Sequence[Difference]) -> None:
        """Store the expected state wherever the state that was found is still there."""


async def differences_of(projection: Projection) -> list[Difference]:
    """Differences that last: found twice, `SETTLE_SECONDS` apart, and confirmed by a second reading of the streams."""
    first, suspects = await _compare(projection)
    if not suspects:
        return []
    await asyncio.sleep(SETTLE_SECONDS)
    expected = await projection.expected()
    await asyncio.sleep(SETTLE_SECONDS)
    found = await projection.found()
    return [
        Difference(key, expected.get(key), found.get(key))
        for key in sorted(suspects)
        if expected.get(key) != found.get(key) and found.get(key) == first.get(key)
    ]


async def _compare(projection: Projection) -> tuple[dict[str, State], set[str]]:
    expected = await projection.expected()
    found = await projection.found()
    print(f"{projection.name}: {len(expected)} in the streams, {len(found)} here", flush=True)  # noqa: T201
    return found, {key for key in {*expected, *found} if expected.get(key) != found.get(key)}


async def rebuild(projection: Projection, swap: bool) -> int:
    """Print the differences and repair them if `swap`; return how many are left."""
    differences = await differences_of(projection)
    _show(differences)
    if differences and swap:
        await projection.repair(differences)
        print(f"{len(differences)} repaired; comparing again", flush=True)  # noqa: T201
        differences = await differences_of(projection)
        _show(differences)
    return len(differences)


def _show(differences: Sequence[Difference]) -> None:
    print(f"{len(differences)} differ" if differences else "nothing differs", flush=True)  # noqa: T201
    for difference in differences[:MAX_SHOWN]:
        print(f"  {difference}", flush=True)  # noqa: T201
    if len(differences) > MAX_SHOWN:
        print(f"  and {len(differences) - MAX_SHOWN} more", flush=True)  # noqa: T201


def main(
    opened: Callable[[], AbstractAsyncContextManager[Sequence[Projection]]], away: tuple[type[Exception], ...]
) -> int:
    """`python -m SERVICE.projections NAME [--swap]`: compare one of the `opened` projections.

    Returns the exit code: 1 if something differs, 2 if it cannot be compared, because of one of the errors `away`.
    """
    # Not pydantic-settings' CliApp: it would also read NAME and SWAP from the environment.
    parser = argparse.ArgumentParser(description="Compare a projection with the streams; --swap repairs it.")
    parser.add_argument("name")
    parser.add_argument("--swap", action="store_true")
    arguments = parser.parse_args()
    unavailable: tuple[type[Exception], ...] = (*away, BusError, OSError, SoukError)
    try:
        return asyncio.run(_run(opened, arguments.name, arguments.swap))
    except unavailable as error:
        print(f"cannot compare: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2


async def _run(opened: Callable[[], AbstractAsyncContextManager[Sequence[Projection]]], name: str, swap: bool) -> int:
    async with opened() as projections:
        known = {projection.name: projection for projection in projections}
        if name not in known:
            print(f"no such projection; there are: {', '.join(known)}", file=sys.stderr)  # noqa: T201
            return 2
        return 1 if await rebuild(known[name], swap) else 0
