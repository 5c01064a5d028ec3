"""The whole bus is lost with its disk while people trade: one command, and the books balance and every order ends."""

import asyncio
import random
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from audit.reconciliation.checker import reconcile
from common.mongo.client import database
from infra.local.commands.republish import republish
from infra.local.stack.stack import Stack
from tests.support.people import People, Person
from tests.support.shopping import becomes, pay, place, sell
from tests.support.waiting import eventually

STOCK = 5_000

CARDS = (
    *("pm_card_visa", "pm_card_visa", "pm_card_duplicate", "pm_card_slow", "pm_card_late", "pm_card_declined"),
    *("pm_bank", "pm_bank_late", "pm_card_disputed", "pm_card_refund_fails"),
)


@dataclass
class Trade:
    """A market that people trade at, and whether it is over."""

    stack: Stack
    people: People
    item: str
    dice: random.Random
    over: bool = False

    async def visit(self, buyer: Person) -> None:
        """Place an order; then pay it, or cancel it, or forget it. Whatever is refused is nobody's worry here."""
        placed = await buyer.http.post("/api/orders", json={"item_id": self.item, "quantity": self.dice.randint(1, 2)})
        if placed.status_code != 201 or self.dice.random() < 0.15:
            await asyncio.sleep(0.05)
            return
        order_id = placed.json()["id"]
        if self.dice.random() < 0.15:
            await buyer.http.delete(f"/api/orders/{order_id}")
            return
        body = {"order_id": order_id, "payment_method": self.dice.choice(CARDS)}
        await buyer.http.post("/api/payments", json=body)

    async def keep_visiting(self, name: str) -> None:
        """One buyer after the other, until it is over."""
        while not self.over:
            with suppress(httpx.TransportError):
                await self.visit(await self.people.new(name))

    async def paid(self) -> int:
        """How many orders are paid."""
        async with database(self.stack.mongo_url("orders")) as db:
            return await db.orders.count_documents({"status": "paid"})

    async def all_ended(self) -> bool:
        """Whether every order is settled and every payment, too."""
        async with database(self.stack.mongo_url("orders")) as db:
            open_orders = await db.orders.count_documents({"status": "awaiting_payment"})
        async with database(self.stack.mongo_url("payments")) as db:
            open_payments = await db.payments.count_documents({"check_at": {"$exists": True}})
        assert (open_orders, open_payments) == (0, 0)
        return True


@asynccontextmanager
async def trading(folder: Path, seed: int, buyers: int) -> AsyncIterator[Trade]:
    """A Souk under load. At the end nobody buys any more, and it still runs."""
    async with Stack(folder, hold_seconds=8, log_level="WARNING") as stack, AsyncExitStack() as exits:
        people = People(stack, exits)
        trade = Trade(stack, people, await sell(await people.signed_up("Sid"), STOCK), random.Random(seed))  # noqa: S311 - nothing secret depends on it
        await place(await people.new("Ada"), trade.item)
        visitors = [asyncio.create_task(trade.keep_visiting(f"Buyer {number}")) for number in range(buyers)]
        try:
            yield trade
        finally:
            trade.over = True
            await asyncio.gather(*visitors)


async def lose_the_bus(stack: Stack) -> None:
    """The server dies, and its disk is gone before it comes back."""
    await stack.kill("nats")
    shutil.rmtree(stack.servers["nats"].folder / "data")
    await eventually(stack.supervisors["nats"].answers, 30)


async def check_all_is_well(trade: Trade) -> None:
    """Every order ends, the books balance, and Souk works as before."""
    await eventually(trade.all_ended, 120)
    report = await reconcile(trade.stack.nats_url("audit"), trade.stack.mongo_url("audit"), grace=60)
    # Open disputes and refunds that failed are for operators, as they were before.
    left = [one for one in report.violations if not one.expected.startswith("an operator settles ")]
    assert left == []
    assert report.counts["orders"] > 20
    buyer = await trade.people.new("Bea")
    later = await place(buyer, trade.item)
    await pay(buyer, later["id"])
    await becomes(buyer, later["id"], "paid")


async def lose_everything(folder: Path, seed: int, buyers: int, paid: int, *, audit_behind: bool = False) -> None:
    """The story: trade, lose the bus, go on trading, run the command, end."""
    async with trading(folder, seed, buyers) as trade:
        await eventually(lambda: _reached(trade, paid // 2), 120)
        if audit_behind:
            trade.stack.supervisors["audit"].child.send(signal.SIGSTOP)
        await eventually(lambda: _reached(trade, paid), 120)
        await lose_the_bus(trade.stack)
        if audit_behind:
            trade.stack.supervisors["audit"].child.send(signal.SIGCONT)
        assert await asyncio.to_thread(republish, trade.stack) == 0
        before = await trade.paid()
        await eventually(lambda: _reached(trade, before + paid // 4), 60, why="buying does not go on")
        trade.over = True
        await check_all_is_well(trade)


async def _reached(trade: Trade, count: int) -> bool:
    return await trade.paid() >= count


@pytest.mark.servers
@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("audit_behind", [False, True], ids=["audit knew", "audit was behind"])
async def test_a_bus_that_lost_everything_is_filled_again(tmp_path: Path, audit_behind: bool) -> None:
    await lose_everything(tmp_path / "souk", 1, buyers=3, paid=20, audit_behind=audit_behind)


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.servers
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_under_load_too(tmp_path: Path, seed: int) -> None:
    await lose_everything(tmp_path / "souk", seed, buyers=12, paid=300, audit_behind=seed == 3)
