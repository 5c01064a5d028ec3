"""Rebuilding a projection: read the streams from the start, compare with what is there, and mend on request.

It runs beside the service: `python -m orders.projections stock --swap`. What comes in meanwhile is no difference and is
never overwritten: every mend is guarded by what was seen (docs/decisions/rebuild.md).
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
from common.mongo.client import AWAY

SETTLE_SECONDS = 2.0
"""Seconds in which a handler that is merely behind gets there."""

MAX_SHOWN = 20
"""Differences that are printed; all are counted."""

State = Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """A key under which something else is kept than the streams say. None: nothing."""

    key: str
    expected: State | None
    found: State | None

    def __str__(self) -> str:
        if self.expected is None or self.found is None:
            return f"{self.key}: {_told(self.expected)} expected, {_told(self.found)} found"
        names = sorted(n for n in {*self.expected, *self.found} if self.expected.get(n) != self.found.get(n))
        said = (f"{n} {self.expected.get(n)!r} expected, {self.found.get(n)!r} found" for n in names)
        return f"{self.key}: {'; '.join(said)}"


def _told(state: State | None) -> str:
    return "nothing" if state is None else ", ".join(f"{name} {value!r}" for name, value in state.items())


class Projection(ABC):
    """A copy of what the streams say. Its states are compared with `==`."""

    name: ClassVar[str]
    """As `make rebuild` knows it: `orders.stock`."""

    @abstractmethod
    async def expected(self) -> dict[str, State]:
        """What the streams say, read from the first message to the newest there is."""

    @abstractmethod
    async def found(self) -> dict[str, State]:
        """What is kept."""

    @abstractmethod
    async def mend(self, differences: Sequence[Difference]) -> None:
        """Keep what is expected, wherever what was found is still there."""


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
    """Print what differs, mend it if `swap`; return how many differences there are left."""
    differences = await differences_of(projection)
    _show(differences)
    if differences and swap:
        await projection.mend(differences)
        print(f"{len(differences)} mended; looking again", flush=True)  # noqa: T201
        differences = await differences_of(projection)
        _show(differences)
    return len(differences)


def _show(differences: Sequence[Difference]) -> None:
    print(f"{len(differences)} differ" if differences else "nothing differs", flush=True)  # noqa: T201
    for difference in differences[:MAX_SHOWN]:
        print(f"  {difference}", flush=True)  # noqa: T201
    if len(differences) > MAX_SHOWN:
        print(f"  and {len(differences) - MAX_SHOWN} more", flush=True)  # noqa: T201


def main(opened: Callable[[], AbstractAsyncContextManager[Sequence[Projection]]]) -> int:
    """`python -m SERVICE.rebuild NAME [--swap]`. Exit code 1: something differs; 2: it could not be found out."""
    parser = argparse.ArgumentParser(description="Compare a projection with the streams, and mend it with --swap.")
    parser.add_argument("name")
    parser.add_argument("--swap", action="store_true")
    arguments = parser.parse_args()

    async def run() -> int:
        async with opened() as projections:
            chosen = [one for one in projections if one.name == arguments.name]
            if not chosen:
                print(f"no such projection; there are: {', '.join(p.name for p in projections)}", file=sys.stderr)  # noqa: T201
                return 2
            return int(bool(await rebuild(chosen[0], arguments.swap)))

    try:
        return asyncio.run(run())
    except (*AWAY, BusError, OSError, SoukError) as error:
        print(f"it could not be compared: {type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 2
