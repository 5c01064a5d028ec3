"""`python -m bench.reads`: how soon a change shows on the other replica of items, from memory and from MongoDB.

Two replicas; stock changes of some items arrive at a fixed rate, as orders publishes them. Everybody's answer comes
from memory, and is asked for all the time, so that it is there; the seller's comes from MongoDB. Both clocks start when
the change is published, so its way through a consumer into MongoDB counts, too.
"""

import argparse
import asyncio
import json
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from bench.__main__ import PEOPLE, Bench
from bench.load import request
from bench.queueing import quantile
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.events import StockChanged
from infra.servers.process import free_port

ITEMS = 10
PAUSE = 0.02
"""Seconds between an answer and the next question. A change shows half of that later than it could, on average."""

OTHER = "items-2"
QUANTITY = 100_000


class Watch:
    """How long it took until each change showed, in seconds. `available` counts down, so it tells which one it is."""

    def __init__(self) -> None:
        self.published: dict[str, dict[int, float]] = {}
        self.lags: list[float] = []
        self.answers = 0

    def saw(self, item_id: str, available: int) -> None:
        """An answer shows this change, and so all before it."""
        self.answers += 1
        changes = self.published.get(item_id, {})
        for one in [one for one in changes if one >= available]:
            self.lags.append(time.perf_counter() - changes.pop(one))

    def quantile(self, part: float) -> float:
        """In milliseconds."""
        return quantile(sorted(self.lags), part)


async def look(port: int, item_id: str, headers: Mapping[str, str], watch: Watch, over: asyncio.Event) -> None:
    """Ask for an item until it is over."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    asked = request("GET", f"/api/items/{item_id}", headers=headers)
    while not over.is_set():
        writer.write(asked)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        [length] = re.findall(rb"content-length: (\d+)", head)
        watch.saw(item_id, json.loads(await reader.readexactly(int(length)))["available"])
        await asyncio.sleep(PAUSE)
    writer.close()


async def change(bus: Bus, items: list[str], rate: float, seconds: float, watches: list[Watch]) -> None:
    """Publish changes at a fixed rate, whatever they take."""
    began, number = time.perf_counter(), 0
    publishing: list[asyncio.Task[list[Envelope]]] = []
    while (due := number / rate) < seconds:
        await asyncio.sleep(max(0.0, began + due - time.perf_counter()))
        item_id, version = items[number % len(items)], number // len(items) + 1
        available = QUANTITY - version
        for watch in watches:
            watch.published.setdefault(item_id, {})[available] = time.perf_counter()
        event = StockChanged(item_id=item_id, stock_version=version, quantity=QUANTITY, available=available)
        publishing.append(asyncio.create_task(bus.publish([Envelope.of(event)])))
        number += 1
    await asyncio.gather(*publishing)


async def main() -> None:
    """Measure, and print p50 and p99."""
    parser = argparse.ArgumentParser(prog="bench.reads", description=__doc__)
    parser.add_argument("--rate", type=float, default=200, help="changes a second")
    parser.add_argument("--seconds", type=float, default=10)
    options = parser.parse_args()
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        bench = Bench(exits, folder)
        await bench.start()
        bench.ports[OTHER] = free_port()
        await exits.enter_async_context(bench.running("items", "items.main"))
        await exits.enter_async_context(bench.running("items", "items.main", OTHER))
        await bench.list_items()
        await bench.dbs["items"].items.update_many({}, {"$set": {"quantity": QUANTITY, "available": QUANTITY}})
        chosen = await bench.dbs["items"].items.find({}, {"seller_id": 1}).limit(ITEMS).to_list()
        sellers = {d["_id"]: d["seller_id"] for d in chosen}
        headers = {p.id: bench.tokens.headers(p) for p in PEOPLE}
        bus = await exits.enter_async_context(Bus.connected(bench.nats.url, "orders"))
        memory, database, over = Watch(), Watch(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for item_id, seller in sellers.items():
                tasks.create_task(look(bench.ports[OTHER], item_id, {}, memory, over))
                tasks.create_task(look(bench.ports[OTHER], item_id, headers[seller], database, over))
            await change(bus, list(sellers), options.rate, options.seconds, [memory, database])
            await asyncio.sleep(6)  # Longer than an answer lives: what does not show by then is lost.
            over.set()
        for name, watch in (("from memory", memory), ("from MongoDB", database)):
            missing = sum(map(len, watch.published.values()))
            print(
                f"{name:13s} {len(watch.lags)} changes shown, {missing} not; p50 {watch.quantile(0.5):.0f} ms, "
                f"p99 {watch.quantile(0.99):.0f} ms; {watch.answers} answers"
            )


if __name__ == "__main__":
    uvloop.run(main())
