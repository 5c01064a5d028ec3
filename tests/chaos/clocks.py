"""The clock of one process, which a fault sets wrong: libfaketime reads from a file how far it is off.

It covers what a process asks of the C library, so also ids that Rust makes. Monotonic time stays as it is: time-outs
are not affected. The clocks of servers stay right.
"""

import asyncio
import contextlib
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from infra.servers.process import Child, MissingBinary, find_binary
from infra.servers.server import write_private
from tests.support.memory import SHARED_MEMORY

SEEN_SECONDS = 4.0
"""How long a process may take to show its new time: it reads the file every second or two."""

CLOSE = 1.5
"""Seconds by which a `Date` header may differ from the time at which it was read; it has whole seconds."""


def library() -> Path | None:
    """Return libfaketime; None where there is none, as on macOS."""
    with contextlib.suppress(MissingBinary):
        return find_binary("libfaketime.so.1", distribution="libfaketime", instead="leave out faults of clocks")
    return None


class Clock:
    """The clock of a process that was started with this `environment`."""

    def __init__(self, folder: Path) -> None:
        """`folder` is that of the process."""
        self._file = folder / "clock"

    def environment(self) -> dict[str, str]:
        """Return what the process needs; nothing where libfaketime is missing."""
        if (found := library()) is None:
            return {}
        self.set(0)
        _forget_killed()
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, seconds: float) -> None:
        """Set the clock ahead by so many seconds (negative: behind), while the process runs."""
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self._file, f"{seconds:+f}\n")


def _forget_killed() -> None:
    """Remove what libfaketime left in memory for processes that were killed: it ends the next of that number."""
    for left in SHARED_MEMORY.glob("*faketime_*_*"):
        if not Path("/proc", left.name.rsplit("_", 1)[1]).exists():
            left.unlink(missing_ok=True)


async def until_off(child: Child, seconds: float) -> None:
    """Wait until the clock of a service is off by so many seconds, as its answers show. Raises `TimeoutError`."""
    async with asyncio.timeout(SEEN_SECONDS), httpx.AsyncClient() as http:
        while abs(await _shown(http, child) - seconds) > CLOSE:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def _shown(http: httpx.AsyncClient, child: Child) -> float:
    answer = await http.get(f"http://127.0.0.1:{child.port}/healthz")
    return parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5 - time.time()
