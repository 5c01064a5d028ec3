"""A service of the laptop stack as a child process."""

import asyncio
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast

from infra.local.stack import probe
from infra.local.stack.preloaded import Forked, Preloaded
from infra.servers.process import Child, Process, spawn
from infra.services import ROOT

PASSED_ON = ("PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "DOCKER_HOST", "NO_COLOR")
"""Variables of this process that every program gets."""

_KEPT_LINES = 200

Say = Callable[[str, str], None]
"""Takes the name of a process and a line of its output."""


class Program(Child):
    """A child whose output goes, line by line, to `say`. Its environment is `env` and `PASSED_ON`, nothing else."""

    def __init__(
        self,
        name: str,
        folder: Path,
        port: int,
        command: Sequence[str | Path],
        env: Mapping[str, str],
        say: Say,
        preloaded: Preloaded | None = None,
    ) -> None:
        """`preloaded` starts it sooner, where it can."""
        super().__init__(name, folder, port)
        self._preloaded = preloaded
        self._command = command
        self.env = dict(env)
        """Its variables from the next start on."""
        self._say = say
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._reader: asyncio.Task[None] | None = None
        self.last_wrote = 0.0
        """When the newest line came, on the clock of `time.monotonic`."""

    def command(self) -> Sequence[str | Path]:
        return self._command

    def environment(self) -> Mapping[str, str]:
        return {**passed_on(), **self.env}

    async def answers(self) -> bool:
        """Return whether the program and everything it uses are ready, also what it could serve without."""
        return (await probe.get(self.port, "/readyz?everything=true")).status == 200

    async def wait(self) -> int:
        """Return the exit code once the program has ended and `say` has got its last line."""
        code = await super().wait()
        if self._reader:
            await asyncio.shield(self._reader)
        return code

    def last_lines(self, count: int = 15) -> str:
        return "\n".join(list(self._lines)[-count:])

    async def _spawn(self) -> Process:
        command, environment = self.command(), self.environment()
        if self._preloaded and self._preloaded.may_start(command, environment):
            process: Forked | asyncio.subprocess.Process = await self._preloaded.run(command, environment, ROOT)
        else:
            process = await spawn(command, environment=environment, output=subprocess.PIPE, folder=ROOT)
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
        self.last_wrote = time.monotonic()
        self._say(self.name, text)


def passed_on() -> dict[str, str]:
    """Return the variables of this process that every program gets."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}
