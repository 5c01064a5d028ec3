"""Souk against the floor: one process each, 32 connections, real servers, turn by turn in one run.

Only the service that is measured runs beside the floor: on a few cores, readers of its events would compete with it.

Prints ratios; absolute figures are those of this machine. A POST counts as done when its event is out as well: the
time until the outbox is empty belongs to the run.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from bench.load import Request, Result, cpu_seconds, load, request
from common.bus.connection import Bus
from common.bus.envelope import Envelope
from common.bus.provision import provision
from common.events import Currency, ItemListed, ItemStatus
from common.ids import new_id
from common.mongo.client import Database, database
from infra.bus import durables
from infra.local.stack.program import Program
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import free_port
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

ITEMS = 1_000
BODY = {"title": "A lamp", "description": "It shines.", "price": 1250, "currency": "EUR", "quantity": 5}
PEOPLE = [person() for _ in range(500)]

PATHS = ("item", "page", "listing", "order", "hot")

Turn = Callable[[float], Awaitable[Result]]


class Bench:
    """The servers, the floor and two services of Souk."""

    def __init__(self, exits: AsyncExitStack, folder: Path) -> None:
        self.exits = exits
        self.folder = folder
        self.mongo = MongoServer(folder / "mongo")
        self.nats = NatsServer(folder / "nats")
        self.tokens = Tokens()
        self.headers = [self.tokens.headers(p) for p in PEOPLE]
        self.ports: dict[str, int] = {}
        self.programs: dict[str, Program] = {}
        self.dbs: dict[str, Database] = {}

    async def start(self) -> None:
        """Everything up, 1,000 items known everywhere."""
        for server in (self.mongo, self.nats):
            await server.start()
            self.exits.push_async_callback(server.stop)
        for name in ("floor", "items", "orders"):
            self.dbs[name] = await self.exits.enter_async_context(database(self.mongo.url_for(name)))
            self.ports[name] = free_port()
        await self.exits.enter_async_context(self.running("floor", "bench.floor"))
        self.ids = [new_id() for _ in range(ITEMS)]
        document = BODY | {"seller_id": "s", "seller_name": "Sid", "available": 5, "status": "listed", "version": 1}
        await self.dbs["floor"].items.insert_many([{"_id": i, **document} for i in self.ids])
        await provision(self.nats.url, [one for one in durables() if one.service in ("items", "orders")])
        bus = await self.exits.enter_async_context(Bus.connected(self.nats.url, "items"))
        listed = [Envelope.of(self.listed(i)) for i in self.ids]
        assert len(await bus.publish(listed[:500]) + await bus.publish(listed[500:])) == ITEMS  # noqa: S101

    async def list_items(self) -> None:
        """Fill items through its own front door."""
        await load(self.ports["items"], self.post_item, seconds=2)
        self.known = [d["_id"] for d in await self.dbs["items"].items.find({}, {"_id": 1}).limit(ITEMS).to_list()]

    async def all_arrived(self) -> bool:
        """Whether orders has heard of every item, those that items was measured with included, and is at rest."""
        known = await self.dbs["orders"].stock.estimated_document_count()
        listed = await self.dbs["items"].items.estimated_document_count()
        return known == ITEMS + listed and await self.all_out("orders")

    @asynccontextmanager
    async def running(self, name: str, module: str, replica: str = "") -> AsyncIterator[None]:
        """One process, under its own name if it is a second one of a service."""
        port = self.ports[replica or name]
        variables = {
            "PORT": str(port),
            "MONGO_URL": self.mongo.url_for(name),
            "NATS_URL": self.nats.url,
            "JWT_PUBLIC_KEYS": self.tokens.jwk_set,
            "HOLD_LIMIT": "10000",
            "TOTAL_HOLD_LIMIT": "1000000",
            "WRITES_PER_MINUTE": "1000000",
            "LOG_LEVEL": os.environ.get("LOG_LEVEL", "INFO"),
        }
        key = replica or name
        program = Program(key, self.folder / key, port, [sys.executable, "-m", module], variables, lambda *_: None)
        if name == "floor":
            program.answers = self.floor_answers  # type: ignore[method-assign]
        await program.start()
        self.programs[key] = program
        try:
            yield
        finally:
            await program.stop()

    async def floor_answers(self) -> bool:
        """Whether the floor takes connections: it has no probe."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.ports["floor"])
        writer.close()
        return True

    def listed(self, item_id: str) -> ItemListed:
        """The event that makes an item known to orders."""
        return ItemListed(
            item_id=item_id,
            item_version=1,
            seller_id="s",
            title="A lamp",
            description="It shines.",
            price=1250,
            currency=Currency.EUR,
            quantity=1_000_000,
            status=ItemStatus.LISTED,
        )

    def get_floor(self) -> Request:
        """One item of the floor."""
        return request("GET", f"/{random.choice(self.ids)}")

    def get_item(self) -> Request:
        """One item of Souk."""
        return request("GET", f"/api/items/{random.choice(self.known)}")

    def get_floor_page(self) -> Request:
        """The newest items of the floor."""
        return request("GET", "/")

    def get_page(self) -> Request:
        """The front page of Souk."""
        return request("GET", "/api/items")

    def post_floor(self) -> Request:
        """A new item of the floor."""
        return request("POST", "/", BODY)

    def post_item(self) -> Request:
        """A new item of Souk."""
        return request("POST", "/api/items", BODY, random.choice(self.headers))

    def post_order(self) -> Request:
        """An order for any of the items."""
        return request("POST", "/api/orders", {"item_id": random.choice(self.ids)}, random.choice(self.headers))

    def post_hot_order(self) -> Request:
        """An order for the one item that everybody wants."""
        return request("POST", "/api/orders", {"item_id": self.ids[0]}, random.choice(self.headers))

    def turn(self, name: str, make: Callable[[], Request], connections: int) -> Turn:
        """One measured run against a process."""

        async def run(seconds: float) -> Result:
            pid = self.programs[name].pid or 0
            began, cpu = time.perf_counter(), cpu_seconds(pid)
            result = await load(self.ports[name], make, seconds, connections)
            if name != "floor":
                await eventually(lambda: self.all_out(name), seconds=60)
            assert not set(result.statuses) - {200, 201}, result.statuses  # noqa: S101
            return Result(result.statuses, time.perf_counter() - began, result.times, cpu_seconds(pid) - cpu)

        return run

    async def all_out(self, name: str) -> bool:
        """Whether every event of a service is published."""
        waiting = {"pending.0": {"$exists": True}}
        db = self.dbs[name]
        return not [c for c in ("items", "orders", "stock") if await db[c].find_one(waiting, {"_id": 1})]


async def compare(name: str, aim: str, ours: Turn, other: Turn, seconds: float, rounds: int) -> None:
    """Print the median ratio of pairs of runs, and the middle pair's figures."""
    pairs = []
    for _ in range(rounds):
        pairs.append((await ours(seconds), await other(seconds)))
    pairs.sort(key=lambda pair: pair[0].rate / pair[1].rate)
    ratios = [a.rate / b.rate for a, b in pairs]
    a, b = pairs[len(pairs) // 2]
    print(
        f"{name:44s} {statistics.median(ratios):5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}, aim {aim})"
        f"  {a.rate:6.0f}/s p50 {a.quantile(0.5):5.1f} p99 {a.quantile(0.99):6.1f} ms CPU {a.cpu_each:4.0f} us"
        f"  against {b.rate:6.0f}/s p50 {b.quantile(0.5):5.1f} p99 {b.quantile(0.99):6.1f} ms CPU {b.cpu_each:4.0f} us",
        flush=True,
    )


async def main() -> None:
    """Run every comparison."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="of each run")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs of each comparison")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--only", choices=PATHS, action="append", help="this path, and others that are named so")
    options = parser.parse_args()
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        bench = Bench(exits, folder)
        await bench.start()

        def turn(name: str, make: Callable[[], Request]) -> Turn:
            return bench.turn(name, make, options.connections)

        get, floor_get = turn("items", bench.get_item), turn("floor", bench.get_floor)
        page, floor_page = turn("items", bench.get_page), turn("floor", bench.get_floor_page)
        post, floor_post = turn("items", bench.post_item), turn("floor", bench.post_floor)
        spread, hot = turn("orders", bench.post_order), turn("orders", bench.post_hot_order)
        paths = options.only or PATHS

        async def against(path: str, name: str, aim: str, ours: Turn, other: Turn) -> None:
            if path in paths:
                await compare(name, aim, ours, other, options.seconds, options.rounds)

        async with bench.running("items", "items.main"):
            await bench.list_items()
            await against("item", "GET an item / bare find_one", "3.0", get, floor_get)
            await against("page", "GET the first page / bare find of 20", "2.0", page, floor_page)
            await against("listing", "POST an item / bare insert and publish", "1.0", post, floor_post)
        if not {"order", "hot"} & set(paths):
            return
        async with bench.running("orders", "orders.main"):
            await eventually(bench.all_arrived, seconds=60)
            await against("order", "POST orders, 1,000 items / the same", "1.0", spread, floor_post)
            await against("hot", "POST orders, one item / 1,000 items", "1.5", hot, spread)


if __name__ == "__main__":
    uvloop.run(main())
