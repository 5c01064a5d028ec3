"""One address for all, and a wire for each process."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.chaos.fronts import Front, sources_are_known

pytestmark = pytest.mark.skipif(not sources_are_known(), reason="only Linux shows whose a connection is")

CLIENT = """
import socket, sys
line = None
for word in sys.stdin:
    line = line or socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    line.sendall(word.encode())
    print(line.recv(100).decode(), end="", flush=True)
"""


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while text := await reader.read(100):
        writer.write(text)
    writer.close()


class Clients:
    """Processes that are connected to a server over its front."""

    def __init__(self, target: int) -> None:
        self.front = Front(target, lambda: {name: process.pid for name, process in self.processes.items()})
        self.processes: dict[str, Process] = {}

    async def start(self, name: str) -> None:
        """Start one. It connects when it is asked, and then the front knows whose process it is."""
        self.processes[name] = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, str(self.front.port), stdin=PIPE, stdout=PIPE
        )

    async def ask(self, name: str) -> bytes:
        process = self.processes[name]
        assert process.stdin
        assert process.stdout
        process.stdin.write(b"word\n")
        return await process.stdout.readline()

    async def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            await process.communicate()


@pytest_asyncio.fixture
async def clients() -> AsyncIterator[Clients]:
    async with AsyncExitStack() as exits:
        server = await asyncio.start_server(_echo, "127.0.0.1", 0)
        exits.callback(server.close)
        made = Clients(server.sockets[0].getsockname()[1])
        await made.front.open()
        exits.push_async_callback(made.front.close)
        exits.push_async_callback(made.end)
        yield made


async def test_each_process_has_a_wire_of_its_own_and_all_others_share_one(clients: Clients) -> None:
    for name in ("orders", "orders-2"):
        await clients.start(name)
        assert await clients.ask(name) == b"word\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", clients.front.port)
    writer.write(b"mine")
    assert await reader.read(100) == b"mine"

    assert {name: wire.connections for name, wire in clients.front.wires.items()} == {
        "orders": 1,
        "orders-2": 1,
        "": 1,
    }
    writer.close()


async def test_a_fault_of_one_process_is_none_of_another(clients: Clients) -> None:
    for name in ("orders", "orders-2"):
        await clients.start(name)
        await clients.ask(name)

    clients.front.wires["orders"].hold()

    assert await clients.ask("orders-2") == b"word\n"
    waiting = asyncio.create_task(clients.ask("orders"))
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    clients.front.wires["orders"].heal()
    assert await waiting == b"word\n"
