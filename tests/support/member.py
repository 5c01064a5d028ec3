"""A member of the service `items` in a process of its own: one that a test hangs or kills, or whose handler kills it.

`python -m tests.support.member URL FOLDER` handles `StockChanged`. It writes a line to `FOLDER/handled`
for each event that it has handled, and one to `FOLDER/begun` for each that it begins.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from common.bus.connection import Bus
from common.bus.consumers import Consumers
from common.bus.provision import provision
from common.events import StockChanged
from tests.support.waiting import eventually

DEADLY = 666
"""The version of an event that kills the process."""

AWAY = 503
"""The version of an event whose handler needs a server that is away until `FOLDER/back` exists."""


class ServerAway(Exception):
    """A server that a handler needs does not answer."""


class Member:
    """The process, as the test has it."""

    def __init__(self, url: str, folder: Path) -> None:
        self._command = [sys.executable, "-m", "tests.support.member", url, str(folder)]
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None

    def versions(self, what: str = "handled") -> list[int]:
        """The versions of the events that it handled, or that it began to handle."""
        with suppress(FileNotFoundError):
            return [int(line) for line in (self._folder / what).read_text().split()]
        return []

    async def start(self) -> None:
        """Start it, and wait until it takes messages."""
        (self._folder / "ready").unlink(missing_ok=True)
        self._process = await asyncio.create_subprocess_exec(*self._command)

        async def ready() -> bool:
            return (self._folder / "ready").exists()

        await eventually(ready, 30)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process
        self._process.send_signal(number)

    @property
    def is_dead(self) -> bool:
        """Whether its process has ended."""
        return self._process is not None and self._process.returncode is not None

    async def death(self) -> int:
        """Wait for its end, and return how it ended."""
        assert self._process
        return await asyncio.wait_for(self._process.wait(), 60)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Member"]:
        """Run it; kill it on leaving."""
        await self.start()
        try:
            yield self
        finally:
            with suppress(ProcessLookupError):
                self.send(signal.SIGKILL)
            await self.death()


def note(folder: Path, what: str, version: int) -> None:
    """Write a line that a kill does not lose."""
    with (folder / what).open("a") as file:
        file.write(f"{version}\n")


def consumers_of(folder: Path) -> Consumers:
    """The one handler of the service."""
    consumers = Consumers("items")

    @consumers.on(StockChanged)
    async def copy_stock(event: StockChanged) -> None:
        note(folder, "begun", event.stock_version)
        if event.stock_version == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if event.stock_version == AWAY and not (folder / "back").exists():
            raise ServerAway
        await asyncio.sleep(0.001)
        note(folder, "handled", event.stock_version)

    return consumers


async def main(url: str, folder: Path) -> None:
    """Handle events until the process is killed."""
    consumers = consumers_of(folder)
    await provision(url, consumers.durables)
    async with (
        Bus.connected(url, "items", delays=(), away=(ServerAway,)) as bus,
        bus.consuming(consumers, []),
    ):
        (folder / "ready").touch()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
