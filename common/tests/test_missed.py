"""Events that no replica has handled yet are read from their stream."""

import signal
from collections.abc import Callable

import pytest

from common.bus import stream_reader
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.errors import Unavailable
from common.events import HoldElapsed
from common.ids import new_id
from infra.servers.nats import NatsServer
from tests.support.bus import Events
from tests.support.waiting import eventually


async def test_those_of_one_id_are_found_among_others_and_one_that_is_no_event_is_left_to_its_consumer(
    bus_url: str, events: Events
) -> None:
    order_id = new_id()
    own, other = HoldElapsed(order_id=order_id), HoldElapsed(order_id=new_id())
    async with Bus.connected(bus_url, "expiration") as bus:
        await events.deliver_raw(HoldElapsed.subject, f'{{"order": "{order_id}"}}'.encode())
        assert len(await bus.publish([Envelope.of(event) for event in (other, own, other)])) == 3
        missed = bus.missed(HoldElapsed)

        assert await missed(order_id) == [own]
        assert await missed(new_id()) == []


async def test_a_bus_that_hangs_or_is_away_is_said(
    nats_server: Callable[[], NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_reader, "FETCH_TIMEOUT", 0.5)
    server = nats_server()
    await server.start()
    try:
        async with Bus.connected(server.url, "orders") as bus:
            missed = bus.missed(HoldElapsed)
            server.send(signal.SIGSTOP)
            with pytest.raises(Unavailable, match="the bus is away"):
                await missed(new_id())
            server.send(signal.SIGCONT)
            await server.kill()
            await eventually(lambda: is_away(bus))
            monkeypatch.setattr(stream_reader, "FETCH_TIMEOUT", 3_600)
            with pytest.raises(Unavailable, match="the bus is away"):
                await missed(new_id())
    finally:
        await server.stop()


async def is_away(bus: Bus) -> bool:
    return not bus.connected_now
