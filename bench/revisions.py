"""`python -m bench.revisions BASE`: this revision of Souk against an older one, turn by turn in one run.

Each has a MongoDB and a NATS of its own, with one process of orders and one of payments. Prints the ratio of the rates
of POST orders and of POST payments, and the CPU per request of the process that answered. An order or a payment counts
as done when its events are out as well.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from bench.load import Request, Result, cpu_seconds, load, request
from common.bus.connection import Bus
from common.bus.durables import Durable
from common.bus.envelope import Envelope
from common.bus.provision import provision, read_table
from common.events import Currency, ItemListed, ItemStatus
from common.ids import new_id
from common.mongo.client import Database, database
from common.outbox import HAS_PENDING
from infra.bus import TABLE, durables
from infra.local.stack.program import Program
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import free_port
from infra.services import ROOT, service_command
from tests.support.revision import checked_out, commands_of
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

MEASURED = ("orders", "payments")
ITEMS = 200
BUYERS = 500


class Side:
    """One revision: its servers, its orders and its payments."""

    def __init__(self, folder: Path, commands: Mapping[str, Sequence[str]], table: Sequence[Durable]) -> None:
        self._folder = folder
        self._commands = commands
        self._table = [one for one in table if one.service in MEASURED]
        self._mongo = MongoServer(folder / "mongo")
        self._nats = NatsServer(folder / "nats")
        self._tokens = Tokens()
        self._sessions = {buyer.id: self._tokens.headers(buyer) for buyer in (person() for _ in range(BUYERS))}
        self._ports = {name: free_port() for name in MEASURED}
        self._dbs: dict[str, Database] = {}
        self._programs: dict[str, Program] = {}
        self._paid: set[str] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Side"]:
        """Everything up, and the items known to orders."""
        async with AsyncExitStack() as exits:
            for server in (self._mongo, self._nats):
                await server.start()
                exits.push_async_callback(server.stop)
            await provision(self._nats.url, self._table)
            for name in MEASURED:
                self._dbs[name] = await exits.enter_async_context(database(self._mongo.url_for(name)))
                program = self._programs[name] = self._program(name)
                await program.start()
                exits.push_async_callback(program.stop)
            async with Bus.connected(self._nats.url, "items") as bus:
                self._items = [new_id() for _ in range(ITEMS)]
                await bus.publish([Envelope.of(_listed(item)) for item in self._items])
            await eventually(self._all_known, seconds=60)
            yield self

    async def place(self, seconds: float, connections: int) -> Result:
        """Place orders for so many seconds. The time until their events are out belongs to it."""
        sessions, items = itertools.cycle(self._sessions.values()), itertools.cycle(self._items)

        def order() -> Request:
            return request("POST", "/api/orders", {"item_id": next(items)}, next(sessions))

        return await self._measure("orders", order, seconds, connections)

    async def pay(self, seconds: float, connections: int) -> Result:
        """Pay orders, each once, for so many seconds."""
        await eventually(self._all_due, seconds=60)
        unpaid = self._dbs["orders"].orders.find({"_id": {"$nin": list(self._paid)}, "status": "awaiting_payment"})
        orders = iter([(order["_id"], self._sessions[order["buyer_id"]]) async for order in unpaid])

        def payment() -> Request:
            order_id, session = next(orders)
            self._paid.add(order_id)
            body = {"order_id": order_id, "payment_method": "pm_card_visa"}
            return request("POST", "/api/payments", body, session)

        return await self._measure("payments", payment, seconds, connections)

    async def _measure(self, name: str, make: Callable[[], Request], seconds: float, connections: int) -> Result:
        pid = self._programs[name].pid or 0
        began, cpu = time.perf_counter(), cpu_seconds(pid)
        result = await load(self._ports[name], make, seconds, connections)
        await eventually(self._all_out, seconds=60)
        assert set(result.statuses) == {201}, result.statuses  # noqa: S101
        return Result(result.statuses, time.perf_counter() - began, result.times, cpu_seconds(pid) - cpu)

    async def _all_known(self) -> bool:
        return await self._dbs["orders"].stock.estimated_document_count() == ITEMS

    async def _all_due(self) -> bool:
        placed = await self._dbs["orders"].orders.estimated_document_count()
        return await self._dbs["payments"].dues.estimated_document_count() == placed

    async def _all_out(self) -> bool:
        waiting = [self._dbs["orders"].orders, self._dbs["orders"].stock, self._dbs["payments"].payments]
        return not [one for one in waiting if await one.find_one(HAS_PENDING, {"_id": 1})]

    def _program(self, name: str) -> Program:
        port = self._ports[name]
        env = {
            "PORT": str(port),
            "MONGO_URL": self._mongo.url_for(name),
            "NATS_URL": self._nats.url,
            "JWT_PUBLIC_KEYS": self._tokens.jwk_set,
            "HOLD_LIMIT": "10000",
            "WEBHOOK_SECRET": "a-secret-of-this-run",
        }
        return Program(name, self._folder / name, port, self._commands[name], env, lambda *_: None)


def _listed(item_id: str) -> ItemListed:
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


async def main() -> None:
    """Measure both revisions, and print the ratios of this one to the older one."""
    parser = argparse.ArgumentParser(prog="bench.revisions", description=__doc__)
    parser.add_argument("base", help="the older revision")
    parser.add_argument("--seconds", type=float, default=4, help="of each turn")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each revision")
    parser.add_argument("--connections", type=int, default=32)
    options = parser.parse_args()
    older = checked_out(options.base)
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        table = read_table((older / TABLE.relative_to(ROOT)).read_text())
        before = Side(folder / "before", commands_of(older), table)
        after = Side(folder / "after", {name: service_command(name) for name in MEASURED}, durables())
        for side in (before, after):
            await exits.enter_async_context(side.running())
        turns: dict[str, list[tuple[Result, Result]]] = {"POST orders": [], "POST payments": []}
        for _ in range(options.rounds):
            arguments = (options.seconds, options.connections)
            turns["POST orders"].append((await before.place(*arguments), await after.place(*arguments)))
            turns["POST payments"].append((await before.pay(*arguments), await after.pay(*arguments)))
    for name, pairs in turns.items():
        print(_compared(name, pairs))


def _compared(name: str, pairs: Sequence[tuple[Result, Result]]) -> str:
    ratios = sorted(after.rate / before.rate for before, after in pairs)
    before, after = [_figures(side) for side in zip(*pairs, strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"{name:14s} {spread}  before {before}, now {after}"


def _figures(turns: Sequence[Result]) -> str:
    rate, wait = statistics.median(t.rate for t in turns), statistics.median(t.quantile(0.5) for t in turns)
    return f"{rate:.0f}/s p50 {wait:.0f} ms CPU {statistics.median(t.cpu_each for t in turns):.0f} us"


if __name__ == "__main__":
    uvloop.run(main())
