"""A hundred thousand holds that end at once, in a process of its own."""

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import nats
import pytest
from nats.aio.msg import Msg
from redis.asyncio import Redis

from common.bus.provision import provision
from common.events import HoldElapsed
from expiration.consumers import consumers
from expiration.deadlines import milliseconds, utc_now
from infra.servers.process import Child
from tests.support.waiting import eventually

COUNT = 100_000


class Service(Child):
    """Expiration as it runs everywhere else."""

    def __init__(self, folder: Path, redis_url: str, nats_url: str) -> None:
        super().__init__("expiration", folder)
        self.urls = {"REDIS_URL": redis_url, "NATS_URL": nats_url}

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "expiration.main"]

    def environment(self) -> Mapping[str, str]:
        return {**os.environ, **self.urls, "PORT": str(self.port)}

    async def answers(self) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{self.port}/readyz")).is_success
            except httpx.TransportError:
                return False

    def peak_memory(self) -> int:
        """The most it ever had in memory, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak memory of a process")
@pytest.mark.prove
async def test_a_backlog_drains_in_the_order_of_the_deadlines_and_in_little_memory(
    redis: Redis, redis_url: str, bus_url: str, tmp_path: Path
) -> None:
    service = Service(tmp_path, redis_url, bus_url)
    await provision(bus_url, consumers.durables)
    await service.start()
    before = service.peak_memory()
    connection = await nats.connect(bus_url)
    received: list[tuple[str, str]] = []

    async def receive(message: Msg) -> None:
        received.append((message.data.decode(), (message.headers or {})["ce-time"]))

    try:
        await connection.subscribe(HoldElapsed.subject, cb=receive)
        due = utc_now() + timedelta(seconds=4)
        orders = {f"{i:06}": due + timedelta(milliseconds=i // 100) for i in range(COUNT)}
        await redis.zadd("prepared", {order: milliseconds(moment) for order, moment in orders.items()})
        await redis.rename("prepared", "deadlines")

        async def all_told() -> bool:
            return len(received) >= COUNT and not await redis.exists("deadlines")

        await eventually(all_told, seconds=120)
        seconds = (utc_now() - due).total_seconds()
        after = service.peak_memory()
        print(f"{COUNT} reported in {seconds:.1f} s; at most {after} MB, {before} MB before")  # noqa: T201 - shown by -s
    finally:
        await connection.close()
        await service.stop()

    reported = {HoldElapsed.model_validate_json(body).order_id: datetime.fromisoformat(time) for body, time in received}
    assert len(received) == COUNT, "each once"
    assert list(reported) == list(orders), "in the order of their deadlines"
    assert all(reported[order] >= deadline for order, deadline in orders.items()), "none early"
    assert after - before < 16, "the memory does not grow with the backlog"
