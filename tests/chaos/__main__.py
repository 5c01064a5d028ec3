"""`python -m tests.chaos`: Souk under faults for SECONDS, then the checker. Exit code 1 if a promise was broken."""

import asyncio
import contextlib
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from infra.local.stack.ports import PortTaken
from infra.servers.process import MissingBinary, StartFailed
from tests.chaos.replicated_world import ReplicatedWorld
from tests.chaos.report import write_report
from tests.chaos.run import Run
from tests.chaos.world import World

WORLDS: dict[str, type[World]] = {"single": World, "replicated": ReplicatedWorld}
"""By TOPOLOGY: one mongod and one nats-server, or three of each."""

REPORT_EVERY = 10.0
"""Seconds between two lines of progress if the output is not a terminal."""


def number(name: str, default: int) -> int:
    """Return an environment variable as a whole number."""
    return int(os.environ.get(name) or default)


class Progress:
    """Shows the progress of a run: one changing line on a terminal, else a line every `REPORT_EVERY` seconds."""

    def __init__(self, console: Console, run: Run) -> None:
        self._console = console
        self._run = run
        self._step = "starting"
        self._since = time.monotonic()

    def step(self, name: str) -> None:
        """Note that the next step of the run has begun."""
        self._step, self._since = name, time.monotonic()

    @asynccontextmanager
    async def showing(self) -> AsyncIterator[None]:
        """Show the progress inside the context."""
        with Live(self.line(), console=self._console, transient=True) as live:
            task = asyncio.create_task(self._keep_showing(live))
            try:
                yield
            finally:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _keep_showing(self, live: Live) -> None:
        terminal = self._console.is_terminal
        while True:
            live.update(self.line())
            if not terminal:
                self._console.print(self.line())
            await asyncio.sleep(0.5 if terminal else REPORT_EVERY)

    def line(self) -> Text:
        """Return the progress as one line."""
        history = self._run.history
        results = self._run.faults
        last = f" (last: {results[-1].fault.kind} {results[-1].fault.target})" if results else ""
        seconds = time.monotonic() - self._since
        return Text.assemble(
            (f"{self._step} {seconds:.0f} s", "bold"),
            f"  {len(history.operations):,} operations  {history.orders:,} orders  {len(results)} faults{last}",
        )


async def main(out: Path) -> int:
    """Run, write the report into the folder `out` and print its summary. Return the exit code."""
    console = Console()
    hold = number("HOLD_SECONDS", 6)
    run = Run(number("SEED", 1), number("SECONDS", 60), number("BUYERS", 12), hold)
    progress = Progress(console, run)
    with (out / "souk.log").open("w", buffering=1) as log:
        world = WORLDS[os.environ.get("TOPOLOGY") or "single"](
            out / "souk",
            number("PORT", 0),
            hold_seconds=hold,
            small_disks=True,
            own_clocks=True,
            say=lambda name, line: print(f"{time.time():.3f} {name} {line}", file=log),
        )
        async with progress.showing(), world:
            await run.execute(world, progress.step)
    report = write_report(run, out)
    for violation in run.violations:
        console.print(f"[red]{violation.rule}[/] {violation.subject} {violation.what}", highlight=False)
    console.print(
        f"{len(run.violations)} violations  {report['orders_completed']:,} orders completed  "
        f"{report['operations_in_all']:,} operations  "
        f"{report['faults_in_all']} faults of {len(report['faults'])} kinds  "
        f"quiet after {report['seconds_to_quiet']} s  {(out / 'report.html').resolve().as_uri()}",
        soft_wrap=True,
        highlight=False,
    )
    if not run.violations:
        shutil.rmtree(out / "souk")
    return 1 if run.violations else 0


if __name__ == "__main__":
    folder = Path(os.environ.get("OUT") or ".chaos")
    shutil.rmtree(folder / "souk", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        sys.exit(asyncio.run(main(folder)))
    except (MissingBinary, StartFailed, PortTaken) as error:
        sys.exit(str(error))
