"""One step makes the streams what they should be; a service that finds them otherwise does not start."""

import asyncio
import logging
import os
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from common.bus.connection import Bus
from common.bus.durables import Durable
from common.bus.provision import Refused, provision
from common.bus.streams import stream_config
from common.settings import EX_CONFIG
from infra.servers.nats import NatsServer
from tests.support.bus import Events
from tests.support.waiting import eventually

DURABLE = Durable("items", "show_stock", "ORDERS", "orders.stock_changed")


async def test_the_step_may_run_again_and_changes_nothing_that_is_right(bus_url: str, events: Events) -> None:
    await provision(bus_url, [DURABLE])
    before = await events.js.stream_info("ORDERS"), await events.js.consumer_info("ORDERS", DURABLE.name)
    await provision(bus_url, [DURABLE])
    after = await events.js.stream_info("ORDERS"), await events.js.consumer_info("ORDERS", DURABLE.name)
    assert [asdict(info.config) for info in after] == [asdict(info.config) for info in before]


async def test_the_step_sets_right_what_somebody_changed(bus_url: str, events: Events) -> None:
    await events.js.update_stream(stream_config("ORDERS").evolve(republish=None))
    await provision(bus_url)
    assert (await events.js.stream_info("ORDERS")).config.republish == stream_config("ORDERS").republish


async def test_the_step_refuses_to_make_a_stream_keep_less(bus_url: str, events: Events) -> None:
    await events.js.update_stream(stream_config("RETRIES").evolve(max_age=0))
    with pytest.raises(Refused, match=r"stream RETRIES stays as it is.* max_age would become 604800, it is unlimited"):
        await provision(bus_url)
    assert (await events.js.stream_info("RETRIES")).config.max_age == 0


async def test_a_service_that_finds_a_stream_other_than_expected_does_not_start(
    bus_url: str, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    await events.js.update_stream(stream_config("ORDERS").evolve(max_msgs=5))
    with pytest.raises(SystemExit) as ended:
        async with Bus.connected(bus_url, "orders"):
            pass
    assert ended.value.code == EX_CONFIG
    assert "stream ORDERS is not as it should be: max_msgs is 5 and should be None" in capsys.readouterr().err


async def test_a_service_waits_for_a_stream_that_is_not_there(
    bus_url: str, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    await events.js.delete_stream("ORDERS")

    async def start() -> None:
        async with Bus.connected(bus_url, "orders"):
            pass

    with caplog.at_level(logging.WARNING):
        starting = asyncio.create_task(start())

        async def told() -> bool:
            return "waiting for the stream ORDERS: run the provisioning step" in caplog.text

        await eventually(told)
    with pytest.raises(NotFoundError):
        await events.js.stream_info("ORDERS")  # It has not created it.
    await provision(bus_url)
    await starting


@pytest.mark.servers
async def test_a_service_that_starts_waits_for_a_bus_that_hangs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = NatsServer(tmp_path)
    await server.start()
    assert server.pid

    async def start() -> None:
        async with Bus.connected(server.url, "orders"):
            pass

    async def said(words: str) -> bool:
        return words in caplog.text

    try:
        with caplog.at_level(logging.WARNING):
            starting = asyncio.create_task(start())
            await eventually(lambda: said("run the provisioning step"))
            os.kill(server.pid, signal.SIGSTOP)
            try:
                await eventually(lambda: said("waiting for the bus: it does not say"), 30)
            finally:
                os.kill(server.pid, signal.SIGCONT)
        await provision(server.url)
        await starting
    finally:
        await server.stop()
