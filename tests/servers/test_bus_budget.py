"""A stream that is full keeps no other stream from storing: each has a budget of its own, reserved for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
import pytest_asyncio
from nats.js import JetStreamContext
from nats.js.errors import APIError

from common.bus.connection import Bus
from common.bus.provision import provision
from common.bus.streams import EVERY_STREAM, STREAMS, byte_budget
from infra.servers.nats import NatsServer

pytestmark = pytest.mark.servers

ROOM = 60_000_000


@pytest_asyncio.fixture
async def small_bus(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a bus with little room, without streams."""
    server = NatsServer(tmp_path)
    server.most_bytes = ROOM
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


@pytest_asyncio.fixture
async def js(small_bus: str) -> AsyncIterator[JetStreamContext]:
    """Direct access to it."""
    client = await nats.connect(small_bus)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def fill(js: JetStreamContext, subject: str) -> int:
    """Publish until the bus refuses; return how many it took."""
    for count in range(ROOM):
        try:
            await js.publish(subject, bytes(500_000), timeout=30)
        except APIError:
            return count
    raise AssertionError("it never refused")


async def test_a_full_stream_keeps_no_other_from_storing(small_bus: str, js: JetStreamContext) -> None:
    await provision(small_bus, room=ROOM)
    assert await fill(js, "orders.placed")
    for stream in STREAMS:
        if stream != "ORDERS":
            assert (await js.publish(f"{stream.lower()}.anything", b"{}")).stream == stream
    async with Bus.connected(small_bus, "orders"):
        pass  # a service accepts what it finds


async def test_the_step_gives_old_streams_their_budget_and_they_keep_what_they_have(
    small_bus: str, js: JetStreamContext
) -> None:
    await provision(small_bus)
    await js.publish("orders.placed", b"{}")

    await provision(small_bus, room=ROOM)

    info = await js.stream_info("ORDERS")
    assert (info.config.max_bytes, info.state.messages) == (byte_budget("ORDERS", ROOM), 1)
    await provision(small_bus)  # without a room it leaves the budget as it is
    assert (await js.stream_info("ORDERS")).config.max_bytes == byte_budget("ORDERS", ROOM)


@pytest.mark.parametrize(("stream", "subject"), [("ORDERS", "orders.placed"), ("SECURITY", "security.auth.flood")])
async def test_a_stream_that_is_larger_than_its_budget_gets_none_until_it_is_smaller(
    small_bus: str, js: JetStreamContext, caplog: pytest.LogCaptureFixture, stream: str, subject: str
) -> None:
    """Else it would refuse events, or drop the oldest, from this moment on."""
    await provision(small_bus)
    for _ in range(byte_budget(stream, ROOM) // 500_000 + 1):
        await js.publish(subject, bytes(500_000))

    await provision(small_bus, room=ROOM)

    assert f"the stream {stream} has" in caplog.text
    assert (await js.stream_info(stream)).config.max_bytes == -1
    await js.purge_stream(stream, keep=1)
    await provision(small_bus, room=ROOM)
    assert (await js.stream_info(stream)).config.max_bytes == byte_budget(stream, ROOM)


def test_the_budgets_fit_into_the_room_and_no_stream_is_without() -> None:
    budgets = [byte_budget(stream, 100_000) for stream in EVERY_STREAM]
    assert all(budgets)
    assert sum(budgets) <= 97_000
