"""What the person at the terminal sees: every line with the name of its process, and a table of what runs where."""

import contextlib
import os
import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from infra.local.stack.supervisor import Supervisor

_NAME_WIDTH = 11
_COLOURS = (32, 33, 34, 35, 36, 92, 93, 94, 95, 96)


class Terminal:
    """Standard output; coloured where a person looks at it."""

    def __init__(self) -> None:
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self._colours: dict[str, int] = {}

    def say(self, name: str, line: str) -> None:
        """Print a line of a process."""
        prefix = f"{name:<{_NAME_WIDTH}}"
        if self._coloured:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
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
