"""A small disk for the data of a server, which a fault really fills. Only root may mount one."""

import asyncio
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from infra.servers.nats import NatsServer
from infra.servers.process import Child

PIECE = bytes(64 * 1024)

NOTICED_SECONDS = 60.0
"""How long a server may take to notice that its disk is full."""


@functools.cache
def may_mount() -> bool:
    """Return whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        if subprocess.run(_mount(Path(folder), 1), capture_output=True, check=False).returncode:  # noqa: S603
            return False
        subprocess.run(["umount", folder], check=True)  # noqa: S603, S607
    return True


class SmallDisk:
    """A file system in memory, mounted at `folder`. When it is unmounted, its files stay in `folder`."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder
        self._megabytes = megabytes

    async def mount(self) -> None:
        """Mount it, empty, in place of one that a killed run has left."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._folder.is_mount():
            await _run("umount", str(self._folder))
        await _run(*_mount(self._folder, self._megabytes))

    async def unmount(self) -> None:
        """Unmount it if it is mounted. Nothing may use it any more."""
        if self._folder.is_mount():
            self.make_room()
            copy = self._folder.with_name(f"{self._folder.name}.copy")
            await asyncio.to_thread(shutil.copytree, self._folder, copy)
            await _run("umount", str(self._folder))
            self._folder.rmdir()
            copy.rename(self._folder)

    def fill(self) -> None:
        """Leave no free byte."""
        file = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            with contextlib.suppress(OSError):
                while True:
                    os.write(file, PIECE)
        finally:
            os.close(file)

    def make_room(self) -> None:
        """Free what `fill` has taken."""
        self._filler.unlink(missing_ok=True)

    @property
    def _filler(self) -> Path:
        return self._folder / "filler"


async def until_noticed(server: Child) -> None:
    """Wait until a server has written that its disk is full. Raises `TimeoutError`."""
    async with asyncio.timeout(NOTICED_SECONDS):
        while not any(_complains(file) for file in (server.output, Path(f"{server.output}.1"))):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def no_longer_stores(server: NatsServer) -> bool:
    """Whether nats-server has given a stream up since its start: it stores nothing of it until it is started again."""
    return server.output.exists() and "critical write error" in server.output.read_text(errors="replace")


def _complains(output: Path) -> bool:
    return output.exists() and "no space left on device" in output.read_text(errors="replace").lower()


def _mount(folder: Path, megabytes: int) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)]


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    if process.returncode:
        raise OSError(errors.decode().strip())
