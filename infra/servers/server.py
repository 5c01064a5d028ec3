"""What the servers have in common: a child process that others reach under a URL. No service runs this code."""

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path

from infra.servers.process import Child, find_binary


class Server(Child):
    """A child that others reach under a URL."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address for clients, with credentials where the whole server has one password."""


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read: all of it, or nothing."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(file)


def server_binary(*names: str, distribution: str, variable: str) -> Path:
    instead = f"set {variable} to a server that runs already"
    return find_binary(*names, distribution=distribution, instead=instead)


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
