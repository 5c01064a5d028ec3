"""Connections that can be cut, slowed down and held: TCP proxies to ports of 127.0.0.1."""

import asyncio
import contextlib
import socket
import struct

from infra.servers.process import free_port

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes closing a connection break it (RST) instead of ending it."""

CHUNK = 65_536


class Wire:
    """What happens to connections that lead to the target, a port of 127.0.0.1. `heal` ends every fault."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking, self._answering = asyncio.Event(), asyncio.Event()
        self.heal()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._tasks)

    async def open(self) -> None:
        """Begin; a wire without a port of its own has nothing to begin."""

    async def close(self) -> None:
        """Break every connection."""
        self._break()
        self.heal()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Break every connection, and every new one at once."""
        self._refusing = True
        self._break()

    def lead_to(self, target: int) -> None:
        """Break every connection; new ones lead to another port."""
        self._target = target
        self._break()

    def slow_down(self, delay: float) -> None:
        """Delay every piece of data by `delay` seconds, one after the other."""
        self._delay = delay

    def hold(self) -> None:
        """Forward nothing, without an error: what is sent arrives after `heal`."""
        self.hold_requests()
        self.hold_answers()

    def hold_requests(self) -> None:
        """Forward nothing to the target. Nobody notices until an answer is missed."""
        self._asking.clear()

    def hold_answers(self) -> None:
        """Forward nothing from the target, which gets and does everything."""
        self._answering.clear()

    def heal(self) -> None:
        """Forward everything at once again."""
        self._refusing = False
        self._delay = 0.0
        self._asking.set()
        self._answering.set()

    def _break(self) -> None:
        for writer in self._writers:
            connection: socket.socket = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward a connection until it ends or is broken."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            await self._serve(reader, writer)
        except OSError:
            pass  # The client sees a broken connection.
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            return
        await self._asking.wait()
        there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers.add(there)
        both = ((reader, there, self._asking), (there_reader, writer, self._answering))
        ways = [asyncio.create_task(self._pass_on(*way)) for way in both]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            there.transport.abort()
            writer.transport.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._writers.discard(there)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flowing: asyncio.Event
    ) -> None:
        while chunk := await reader.read(CHUNK):
            await flowing.wait()
            if self._delay:
                await asyncio.sleep(self._delay)
            writer.write(chunk)
            await writer.drain()
        await flowing.wait()  # Nobody hears of the end of a connection over a wire that is held.


class Proxy(Wire):
    """A wire whose connections come to a port of its own. `open` and `close` it."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.port = free_port()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Start to listen."""
        self._server = await asyncio.start_server(self.carry, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Stop listening and break every connection."""
        if self._server:
            self._server.close()
        await super().close()
