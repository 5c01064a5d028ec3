"""Keep a child process running: when it dies, start it again, with a growing delay between attempts."""

import asyncio
import signal
import time
from collections.abc import Callable

from infra.servers.process import Child, StartFailed

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
STEADY_SECONDS = 30.0
"""A child that lived this long has recovered: its next death is followed by the first delay again."""


class Supervisor:
    """Runs one child until it is stopped; `say` gets a line for every death and return."""

    def __init__(self, child: Child, say: Callable[[str], None]) -> None:
        self.child = child
        self.seconds = 0.0
        """Time from the start to the first answer."""
        self._started = False
        self._say = say
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Return once the child answers. Raises `StartFailed`; only a child that has answered once is started again."""
        began = time.monotonic()
        await self.child.start()
        self.seconds = time.monotonic() - began
        self._say(f"{self.child.name} is ready after {self.seconds:.1f} s")
        self._started = True
        self._task = asyncio.create_task(self._supervise())

    async def restart(self, limit: float) -> None:
        """Stop the child, which has `limit` seconds to finish its work, and start it again. Raises `StartFailed`."""
        self.release()
        await self.child.stop(limit)
        await self.start()

    async def answers(self) -> bool:
        """Return whether the child runs and does its work now."""
        try:
            return self.child.pid is not None and self._started and await self.child.answers()
        except OSError:
            return False

    def release(self) -> None:
        """Stop supervising: when the child ends, it is not started again."""
        if self._task:
            self._task.cancel()

    async def _supervise(self) -> None:
        delay = 0.0
        while True:
            began = time.monotonic()
            code = await self.child.wait()
            self._started = False
            steady = time.monotonic() - began > STEADY_SECONDS
            delay = FIRST_DELAY if steady or not delay else min(2 * delay, LONGEST_DELAY)
            self._say(f"{self.child.name} ended ({describe(code)}); next attempt in {delay:.1f} s")
            await asyncio.sleep(delay)
            try:
                await self.child.start()
            except (StartFailed, OSError) as error:
                self._say(str(error))
            else:
                self._started = True
                self._say(f"{self.child.name} is back (process {self.child.pid})")


def describe(code: int) -> str:
    """Return an exit code as text: `exit code 1`, `signal SIGKILL`."""
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
