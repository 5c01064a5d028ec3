"""A sale with everything at once: two orders processes, mixed quantities, cancels, every event twice and shuffled."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from common.mongo.client import Database, database
from tests.chaos.end_state import open_streams
from tests.chaos.repeats import Repeats
from tests.chaos.world import World
from tests.support.people import People, Person
from tests.support.shopping import becomes, leaves, ok, pay, sell
from tests.support.waiting import eventually

STOCK = 60


async def units(db: Database, item: str) -> tuple[int, int]:
    """The units that the stock counts as taken, and those of live orders, at the same moment."""
    async with db.client.start_session(snapshot=True) as session:
        stock: dict[str, Any] = await db.stock.find_one({"_id": item}, session=session) or {}
        live = {"item_id": item, "status": {"$in": ["awaiting_payment", "paid"]}}
        orders = await db.orders.find(live, {"quantity": 1}, session=session).to_list()
    return stock["taken"], sum(order["quantity"] for order in orders)


@pytest.mark.servers
@pytest.mark.prove
async def test_never_more_is_held_and_sold_than_there_is(tmp_path: Path) -> None:
    chance = random.Random(11)  # noqa: S311 - the same sale every time
    async with (
        World(tmp_path, hold_seconds=30, replicas={"orders": 2}) as stack,
        database(stack.mongo_url("orders")) as db,
        open_streams(stack) as js,
        AsyncExitStack() as exits,
    ):
        people = People(stack, exits)
        herd = [await people.new(f"B{n}") for n in range(120)]
        item = await sell(await people.new("Sid"), STOCK)
        repeats = Repeats(js, chance)
        over = asyncio.Event()

        async def buyer(person: Person, quantity: int, then: str) -> dict[str, Any] | None:
            answer = await person.http.post("/api/orders", json={"item_id": item, "quantity": quantity})
            if answer.status_code == 409:
                assert answer.json()["code"] == "sold_out"
                return None
            placed = ok(answer, 201)
            if then == "cancel":
                ok(await person.http.delete(f"/api/orders/{placed['id']}"))
            if then == "pay":
                await pay(person, placed["id"], chance.choice(["pm_card_visa", "pm_card_slow"]))
            return placed | {"then": then, "buyer": person}

        async def watch() -> int:
            looks = 0
            while not over.is_set():
                taken, live = await units(db, item)
                assert taken == live <= STOCK
                looks += 1
            return looks

        async def repeat() -> int:
            repeated = 0
            while not over.is_set():
                repeated += await repeats.new(limit=1_000)
            while more := await repeats.new(limit=1_000):
                repeated += more
            return repeated

        await eventually(lambda: arrived(db, item))
        watching, repeating = asyncio.create_task(watch()), asyncio.create_task(repeat())
        placed = await asyncio.gather(
            *(buyer(b, chance.randint(1, 4), chance.choice(["cancel", "pay", "leave"])) for b in herd)
        )
        final = {"cancel": "cancelled", "pay": "paid", "leave": "expired"}
        got = [order for order in placed if order]
        for order in got:
            await becomes(order["buyer"], order["id"], final[order["then"]], seconds=90)
        over.set()
        repeated = await repeating
        assert await watching > 10

        sold = sum(order["quantity"] for order in got if order["then"] == "pay")
        await leaves(herd[0], item, STOCK - sold)
        assert await units(db, item) == (sold, sold)
        assert len(got) >= 20
        assert repeated > 3 * len(got)


async def arrived(db: Database, item: str) -> bool:
    return await db.stock.find_one({"_id": item}) is not None
