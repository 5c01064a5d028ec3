"""All that is old leaves the bus while people trade, again and again, and no service notices that it has."""

import asyncio
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from audit.archive import archive
from audit.event_log.store import EventLog
from common.bus.archive import ARCHIVED
from common.bus.connection import Bus
from common.bus.stream_trim import trimming
from common.clock import now
from common.events import OrderPaid, OrderPlaced
from common.http.sessions import OPERATOR
from common.mongo.client import database
from infra.bus import PROVISIONER
from infra.local.commands.rebuild import PROJECTIONS
from infra.local.commands.republish import republish
from infra.local.stack.program import passed_on
from infra.local.stack.stack import Stack
from infra.services import ROOT
from tests.local.test_bus_lost import Trade, check_all_is_well, lose_the_bus, trading
from tests.support.shopping import ok
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers


async def archive_all(stack: Stack) -> int:
    """Archive whatever has been handled, however young it is; return how many events of orders are left on the bus."""
    async with database(stack.mongo_url("audit")) as db:
        for name in ARCHIVED:
            async with trimming(stack.nats_url(PROVISIONER), name) as stream:
                await archive(stream, EventLog(db), now())
    async with trimming(stack.nats_url(PROVISIONER), "ORDERS") as stream, aclosing(stream.messages()) as messages:
        return len([message async for message in messages])


async def run(stack: Stack, service: str, module: str, *arguments: str) -> tuple[int | None, str]:
    """Run a module as a service of the stack; return its exit code and what it printed."""
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        env=passed_on() | stack.env(service), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await program.communicate()
    return program.returncode, output.decode()


async def first_paid(stack: Stack) -> str:
    """The first order that was paid, as a service learns it that reads from the first event on."""
    async with (
        Bus.connected(stack.nats_url("payments"), "payments") as bus,
        aclosing(bus.stored_events(OrderPaid)) as paid,
    ):
        async for event in paid:
            return event.order_id
    raise AssertionError("no order was paid")


async def has_all_orders(trade: Trade) -> None:
    """Every order that is in the database was placed by exactly one event, if one reads them from the first on."""
    async with database(trade.stack.mongo_url("orders")) as db:
        there = sorted([document["_id"] async for document in db.orders.find({}, {"_id": 1})])
    async with Bus.connected(trade.stack.nats_url("payments"), "payments") as bus:
        assert sorted([event.order_id async for event in bus.stored_events(OrderPlaced)]) == there


@pytest.mark.prove
@pytest.mark.timeout(600)
async def test_old_events_leave_the_bus_under_load_and_everything_goes_on(tmp_path: Path) -> None:
    async with trading(tmp_path / "souk", 7, buyers=3) as trade:
        stack = trade.stack
        for paid in (5, 10, 20):

            async def enough(paid: int = paid) -> bool:
                return await trade.paid() >= paid

            await eventually(enough, 120)
            await archive_all(stack)
        trade.over = True
        await eventually(trade.all_ended, 120)

        async def nothing_is_left() -> bool:
            return await archive_all(stack) == 0

        await eventually(nothing_is_left, 60)
        await has_all_orders(trade)
        for name in PROJECTIONS:
            service = name.partition(".")[0]
            code, printed = await run(stack, service, f"{service}.projections", name)
            assert (code, printed.splitlines()[-1]) == (0, "nothing differs"), (name, printed)
        operator = await trade.people.new("Ola", OPERATOR)
        assert ok(await operator.http.get(f"/api/audit/orders/{await first_paid(stack)}"))["story"]

        await lose_the_bus(stack)
        assert await asyncio.to_thread(republish, stack) == 0
        await has_all_orders(trade)
        await check_all_is_well(trade)
