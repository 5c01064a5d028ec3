"""Servers that tell their clients one address for all of them: each source still has a wire of its own."""

import asyncio
import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.servers.process import free_port
from tests.chaos.proxy import Wire

TABLE = Path("/proc/net/tcp")
"""Where Linux lists connections: the ends of each, and the number of its socket."""

LOOKS = 3
"""A line of the table can be passed over while others vanish."""


def sources_are_known() -> bool:
    """Return whether a connection shows whose it is: only Linux has `/proc`."""
    return sys.platform == "linux" and TABLE.exists()


class Front:
    """The port at which everybody reaches one server. A connection goes over the wire of the process that made it."""

    def __init__(self, target: int, sources: Callable[[], Mapping[str, int | None]]) -> None:
        """`sources` returns the process ids of now by name. Whoever is not among them has the wire of no name."""
        self.port = free_port()
        self.wires: defaultdict[str, Wire] = defaultdict(lambda: Wire(target))
        """By the names of their sources."""
        self._sources = sources
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Stop listening and break every connection."""
        if self._server:
            self._server.close()
        for wire in self.wires.values():
            await wire.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, port = writer.get_extra_info("peername")
        source = await asyncio.to_thread(owner, port, self.port, self._sources())
        await self.wires[source].carry(reader, writer)


def owner(port: int, to: int, processes: Mapping[str, int | None]) -> str:
    """Return the name of the process that has the connection from `port` to `to`; an empty one if it is none of them.

    All processes of a network see all its connections, and who owns a process sees its open files.
    """
    if number := _socket_number(port, to):
        link = f"socket:[{number}]"
        for name, pid in processes.items():
            if pid is not None and _has_open(pid, link):
                return name
    return ""


def _socket_number(port: int, to: int) -> str | None:
    ends = f": 0100007F:{port:04X} 0100007F:{to:04X} "
    for _ in range(LOOKS):
        _, found, rest = TABLE.read_text().partition(ends)
        if found:
            return rest.split(maxsplit=7)[6]
    return None


def _has_open(pid: int, link: str) -> bool:
    with contextlib.suppress(OSError):  # The process is gone.
        return any(_leads_to(f"/proc/{pid}/fd/{file}", link) for file in os.listdir(f"/proc/{pid}/fd"))
    return False


def _leads_to(file: str, link: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.readlink(file) == link
    return False
