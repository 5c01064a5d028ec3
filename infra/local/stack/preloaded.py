"""Starts the services of a stack as children of one Python that has imported what they need (Linux only)."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.servers.process import Process, StartFailed, spawn
from infra.services import ROOT

INTERPRETER = ("LD_", "PYTHON")
"""How variables begin that a Python reads at its start: with another one of these, a program needs its own start."""


HUNG_SECONDS = 30.0
"""How long it may take to start a program, or to say how one ended. After that it hangs, and is killed: what runs dies
with it, and is started again without it.
"""


class Forked:
    """A program that was forked, as `asyncio.subprocess.Process` shows one."""

    def __init__(self, pid: int, stdout: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    async def wait(self) -> int:
        """Return the exit code once the program has ended."""
        await self._ended.wait()
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, code: int) -> None:
        """Note that the program has ended."""
        self.returncode = code
        self._ended.set()


class Preloaded:
    """One Python that waits to be forked; where it cannot be used, `may_start` is False."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment` is what the interpreter itself reads."""
        self._environment = environment
        self._process: Process | None = None
        self._forked: dict[int, Forked] = {}
        self._watched: set[int] = set()
        self._turn = asyncio.Lock()
        self._starting: asyncio.Future[Forked] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start it. It imports while other things start."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        command = [sys.executable, "-m", "infra.local.stack.preloading"]
        with theirs:
            self._process = await spawn(
                command, environment=self._environment, output=subprocess.DEVNULL, folder=ROOT, source=theirs.fileno()
            )
        asyncio.get_running_loop().add_reader(self._control, self._hear)

    async def stop(self) -> None:
        """End it, and every program that still runs."""
        if process := self._process:
            self._kill()
            self._lose()
            await process.wait()

    def may_start(self, command: Sequence[str | Path], environment: Mapping[str, str]) -> bool:
        """Return whether it runs, and would run the command as a Python of its own does."""
        alike = _of_interpreter(environment) == _of_interpreter(self._environment)
        return self._process is not None and alike and [*command[:2]] == [sys.executable, "-m"]

    async def run(self, command: Sequence[str | Path], environment: Mapping[str, str], folder: Path) -> Forked:
        """Start a program for which `may_start`. Raises `StartFailed`."""
        request = {"arguments": [*map(str, command[2:])], "env": dict(environment), "folder": str(folder)}
        async with self._turn:
            started = asyncio.create_task(self._start_one(json.dumps(request).encode()))
            try:
                return await asyncio.shield(started)
            except asyncio.CancelledError:
                # The answer comes all the same, and must not be taken for that to the next request.
                with contextlib.suppress(StartFailed):
                    (await started).send_signal(signal.SIGKILL)
                raise

    async def _start_one(self, request: bytes) -> Forked:
        loop, stdout = asyncio.get_running_loop(), asyncio.StreamReader()
        reading, writing = os.pipe()
        output, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdout), os.fdopen(reading, "rb"))
        self._starting, self._stdout = loop.create_future(), stdout
        try:
            socket.send_fds(self._control, [request], [writing])
        except OSError as error:
            output.close()
            raise StartFailed(f"the preloaded Python ended: {error}") from error
        finally:
            os.close(writing)
        try:
            async with asyncio.timeout(HUNG_SECONDS):
                return await self._starting
        except TimeoutError:
            output.close()
            self._kill()
            raise StartFailed(f"the preloaded Python started nothing for {HUNG_SECONDS:.0f} s: it is ended") from None

    def _hear(self) -> None:
        try:
            message = self._control.recv(4096)
        except OSError:
            message = b""
        match json.loads(message or "{}"):
            case {"started": pid} if self._starting and not self._starting.done():
                self._forked[pid] = Forked(pid, self._stdout)
                self._starting.set_result(self._forked[pid])
                self._watch(self._forked[pid])
            case {"ended": pid, "code": code}:
                self._forked.pop(pid).end(code)
            case _:
                self._lose()

    def _watch(self, forked: Forked) -> None:
        """Hear of the end of a program from the kernel, too: who should say so may hang."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            self._unwatch(watched)
            loop.call_later(HUNG_SECONDS, expect)

        def expect() -> None:
            if forked.returncode is None:
                self._kill()

        with contextlib.suppress(ProcessLookupError):
            watched = os.pidfd_open(forked.pid)
            self._watched.add(watched)
            loop.add_reader(watched, ended)

    def _unwatch(self, watched: int) -> None:
        self._watched.remove(watched)
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)

    def _kill(self) -> None:
        """End it at once. The end of its socket is heard next."""
        with contextlib.suppress(ProcessLookupError):
            if pid := self.pid:
                os.kill(pid, signal.SIGKILL)

    def _lose(self) -> None:
        """It has ended, or does so now. The kernel ends its children."""
        asyncio.get_running_loop().remove_reader(self._control)
        self._control.close()
        self._process = None
        for watched in [*self._watched]:
            self._unwatch(watched)
        for forked in self._forked.values():
            forked.end(-signal.SIGKILL)
        self._forked.clear()
        if self._starting and not self._starting.done():
            self._starting.set_exception(StartFailed("the preloaded Python ended"))


def _of_interpreter(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(INTERPRETER)}
