"""What `make dev` prints: every line with the name of its process, and a table of what runs where."""

import contextlib
import os
import re
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from common.telemetry import LogFormat
from infra.local.stack.supervisor import Supervisor

_NAME_WIDTH = 11
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_COLOURS = (32, 34, 35, 36, 92, 94, 95, 96)
"""For the names of processes. Red and yellow are left for errors and warnings."""


class Terminal:
    """Standard output. It has colours if it is a terminal, unless `NO_COLOR` is set (no-color.org)."""

    def __init__(self) -> None:
        self.log_format: LogFormat = "text" if sys.stdout.isatty() else "json"
        """The format of the services' logs that suits it."""
        self._coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._colours: dict[str, int] = {}

    def say(self, name: str, line: str) -> None:
        """Print a line of a process."""
        prefix = f"{name:<{_NAME_WIDTH}}"
        if self._coloured:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        else:
            line = _COLOUR.sub("", line)
        with contextlib.suppress(OSError):  # The reader of a pipe, or the terminal, may be gone.
            print(f"{prefix} {line}", flush=True)


def table(supervisors: Iterable[Supervisor]) -> list[str]:
    """Return the lines of a table of what runs where."""
    grid = Table("name", "address", "process", "ready after", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for supervisor in supervisors:
        child = supervisor.child
        grid.add_row(child.name, f"127.0.0.1:{child.port}", str(child.pid), f"{supervisor.seconds:.1f} s")
    console = Console(width=100, color_system=None)
    with console.capture() as captured:
        console.print(grid)
    return [line.rstrip() for line in captured.get().splitlines()]
