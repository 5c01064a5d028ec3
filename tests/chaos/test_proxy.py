"""A connection that breaks, is held and is healed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.chaos.proxy import Proxy


class Line:
    """A client of the echo server behind the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def is_broken(self) -> bool:
        try:
            return await self.reader.read() == b""
        except ConnectionResetError:
            return True

    async def echo(self, text: bytes) -> bytes:
        self.writer.write(text)
        return await self.reader.read(1000)


class Wire(Proxy):
    """A proxy and its clients, which are closed with it."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self._lines: list[Line] = []

    async def line(self) -> Line:
        self._lines.append(Line(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self._lines[-1]

    async def close(self) -> None:
        for line in self._lines:
            line.writer.close()
            with contextlib.suppress(OSError):
                await line.writer.wait_closed()
        await super().close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while text := await reader.read(1000):
            writer.write(text)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    wire = Wire(server.sockets[0].getsockname()[1])
    await wire.open()
    yield wire
    await wire.close()
    server.close()


async def test_what_is_said_arrives_and_comes_back(wire: Wire) -> None:
    line = await wire.line()

    assert await line.echo(b"one") == b"one"
    assert await line.echo(b"two") == b"two"


async def test_the_end_of_one_side_is_the_end_of_the_other(wire: Wire) -> None:
    line = await wire.line()
    await line.echo(b"one")

    line.writer.write_eof()

    assert await line.reader.read() == b""


async def test_a_cut_breaks_what_is_connected_and_what_connects_until_it_is_healed(wire: Wire) -> None:
    line = await wire.line()
    await line.echo(b"one")

    wire.cut()

    assert await line.is_broken()
    late = await wire.line()
    assert await late.is_broken()

    wire.heal()
    assert await (await wire.line()).echo(b"two") == b"two"


async def test_what_is_held_arrives_once_it_is_healed_and_in_order(wire: Wire) -> None:
    line = await wire.line()
    await line.echo(b"one")

    wire.hold()
    line.writer.write(b"two")
    reading = asyncio.create_task(line.reader.read(1000))
    done, _ = await asyncio.wait([reading], timeout=0.05)
    assert not done
    wire.heal()

    assert await reading == b"two"


async def test_answers_are_held_while_requests_arrive() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.read(1000))
        writer.write(b"answer")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    wire = Wire(server.sockets[0].getsockname()[1])
    await wire.open()
    line = await wire.line()

    wire.hold_answers()
    line.writer.write(b"request")
    reading = asyncio.create_task(line.reader.read(1000))
    assert await heard.get() == b"request"
    done, _ = await asyncio.wait([reading], timeout=0.05)
    assert not done
    wire.heal()

    assert await reading == b"answer"
    await wire.close()
    server.close()


async def test_a_slow_wire_passes_on_everything(wire: Wire) -> None:
    line = await wire.line()
    wire.slow_down(0.01)

    assert [await line.echo(text) for text in (b"one", b"two", b"three")] == [b"one", b"two", b"three"]


async def test_nobody_behind_the_wire_breaks_the_connection() -> None:
    wire = Wire(1)
    await wire.open()
    line = await wire.line()

    assert await line.is_broken()
    await wire.close()


async def test_nobody_hears_of_the_end_of_a_connection_over_a_wire_that_is_held(wire: Wire) -> None:
    line = await wire.line()
    await line.echo(b"one")
    wire.hold()

    line.writer.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(until_none(wire), 0.05)
    assert wire.connections == 1
    wire.heal()

    await asyncio.wait_for(until_none(wire), 30)


async def test_a_new_connection_over_a_wire_that_is_held_gets_through_once_it_is_healed() -> None:
    reached = asyncio.Event()

    async def hear(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    wire = Wire(server.sockets[0].getsockname()[1])
    await wire.open()
    wire.hold()
    line = await wire.line()
    line.writer.write(b"one")
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(reached.wait(), 0.05)
    assert not reached.is_set()

    wire.heal()

    await asyncio.wait_for(reached.wait(), 30)
    await wire.close()
    server.close()


async def until_none(wire: Wire) -> None:
    while wire.connections:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
