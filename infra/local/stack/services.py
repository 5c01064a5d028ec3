"""The services of the laptop stack: what each needs, and a child process that runs one of them."""

import asyncio
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from infra.local.stack import probe
from infra.servers.nats import NatsUser
from infra.servers.process import Child, spawn

ROOT = Path(__file__).parents[3]
_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_KEPT_LINES = 200

Say = Callable[[str, str], None]
"""Takes a line of output and the name of the process that wrote it, in the order name, line."""


@dataclass(frozen=True)
class Service:
    """What the stack has to know of a service to run it."""

    name: str
    publishes: str | None
    """The first word of the subjects of its events."""
    uses: str | None
    """The server that keeps its data."""
    asks: tuple[str, ...] = ()
    """Subjects of questions to other services."""

    def on_the_bus(self, password: str) -> NatsUser:
        """Return the service as a user of the bus."""
        return NatsUser(self.name, password, self.publishes, self.asks)


SERVICES = (
    Service("auth", publishes="users", uses="mongod"),
    Service("items", publishes="items", uses="mongod"),
    Service("orders", publishes="orders", uses="mongod"),
    Service("expiration", publishes="expiration", uses="redis"),
    Service("payments", publishes="payments", uses="mongod"),
    Service("audit", publishes="letters", uses="mongod", asks=("books.>",)),
    Service("web", publishes=None, uses=None),
)


class Program(Child):
    """A child whose output goes, line by line, to `say`; it sees no variable of this process that it does not need."""

    def __init__(
        self, name: str, folder: Path, port: int, command: Sequence[str | Path], variables: Mapping[str, str], say: Say
    ) -> None:
        super().__init__(name, folder, port)
        self._command = command
        self._variables = variables
        self._say = say
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader: asyncio.Task[None] | None = None

    def command(self) -> Sequence[str | Path]:
        """See `Child`."""
        return self._command

    def environment(self) -> Mapping[str, str]:
        """See `Child`."""
        return {**{name: os.environ[name] for name in _PASSED_ON if name in os.environ}, **self._variables}

    async def answers(self) -> bool:
        """See `Child`: everything that the program needs is there, too."""
        return (await probe.get(self.port, "/readyz")).status == 200

    async def wait(self) -> int:
        """See `Child`; what the program wrote has been passed on."""
        code = await super().wait()
        if self._reader:
            await asyncio.shield(self._reader)
        return code

    def last_lines(self, count: int = 15) -> str:
        """See `Child`."""
        return "\n".join(list(self._lines)[-count:])

    async def _spawn(self) -> asyncio.subprocess.Process:
        process = await spawn(self.command(), environment=self.environment(), output=subprocess.PIPE, folder=ROOT)
        self._lines.clear()
        self._reader = asyncio.create_task(self._read(cast("asyncio.StreamReader", process.stdout)))
        return process

    async def _read(self, output: asyncio.StreamReader) -> None:
        rest = b""
        while chunk := await output.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line)
        if rest:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        text = line.decode(errors="replace")
        self._lines.append(text)
        self._say(self.name, text)


def service_command(name: str) -> list[str]:
    """Return the command that runs a service with the Python of this process."""
    return [sys.executable, "-m", f"{name}.main"]
