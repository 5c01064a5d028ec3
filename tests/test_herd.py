"""A sale with everything at once: two orders processes, mixed quantities, cancels, every event twice and shuffled."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client

from common.mongo import Database, database
from common.testing import eventually
from infra.local.stack import Stack
from tests.conftest import People, Person
from tests.shopping import becomes, leaves, ok, sell

STOCK = 60
OWNERS = {"ITEMS": "items", "ORDERS": "orders", "PAYMENTS": "payments", "EXPIRATION": "expiration"}


class Echo:
    """Delivers every event once more: later, in another order, under a new message id."""

    def __init__(self, stack: Stack, chance: random.Random) -> None:
        self._stack = stack
        self._chance = chance
        self._next = dict.fromkeys(OWNERS, 1)
        self._ours: dict[str, set[int]] = {stream: set() for stream in OWNERS}
        self._connections: dict[str, Client] = {}
        self.repeated = 0

    async def open(self, exits: AsyncExitStack) -> None:
        """Connect as each owner: nobody else may publish its events."""
        for stream, owner in OWNERS.items():
            client = self._connections[stream] = await nats.connect(self._stack.nats_url(owner))
            exits.push_async_callback(client.close)

    async def round(self) -> int:
        """Repeat what has come since the last round; return how much that was."""
        heard: list[tuple[str, Any]] = []
        for stream, client in self._connections.items():
            js = client.jetstream()
            last = (await js.stream_info(stream)).state.last_seq
            for sequence in range(self._next[stream], last + 1):
                if sequence not in self._ours[stream]:
                    heard.append((stream, await js.get_msg(stream, sequence)))
            self._next[stream] = last + 1
        self._chance.shuffle(heard)
        for stream, message in heard:
            headers = {name: value for name, value in (message.headers or {}).items() if not name.startswith("Nats-")}
            headers["Nats-Msg-Id"] = f"echo-{self._chance.random()}"
            ack = await self._connections[stream].jetstream().publish(message.subject, message.data, headers=headers)
            self._ours[stream].add(ack.seq)
        self.repeated += len(heard)
        return len(heard)

    async def until_quiet(self) -> None:
        """Repeat until nothing new comes of it."""
        while await self.round():
            pass


async def units(db: Database, item: str) -> tuple[int, int]:
    """What the stock counts as taken, and what live orders add up to, at one moment."""
    async with db.client.start_session(snapshot=True) as session:
        stock: dict[str, Any] = await db.stock.find_one({"_id": item}, session=session) or {}
        live = {"item_id": item, "status": {"$in": ["awaiting_payment", "paid"]}}
        orders = await db.orders.find(live, {"quantity": 1}, session=session).to_list()
    return stock["taken"], sum(order["quantity"] for order in orders)


async def test_never_more_is_held_and_sold_than_there_is(tmp_path: Path) -> None:
    chance = random.Random(11)  # noqa: S311 - the same story every time
    async with (
        Stack(tmp_path, hold_seconds=8, replicas={"orders": 2}) as stack,
        database(stack.mongo_url("orders")) as db,
        AsyncExitStack() as exits,
    ):
        people = People(stack, exits)
        herd = [await people.new(f"B{n}") for n in range(120)]
        item = await sell(await people.new("Sid"), STOCK)
        echo = Echo(stack, chance)
        await echo.open(exits)
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
                body = {"order_id": placed["id"], "payment_method": chance.choice(["pm_card_visa", "pm_card_slow"])}
                ok(await person.http.post("/api/payments", json=body), 201)
            return placed | {"then": then, "buyer": person}

        async def watch() -> int:
            looks = 0
            while not over.is_set():
                taken, live = await units(db, item)
                assert taken == live <= STOCK
                looks += 1
            return looks

        async def repeat() -> None:
            while not over.is_set():
                await echo.round()

        watching, repeating = asyncio.create_task(watch()), asyncio.create_task(repeat())
        await eventually(lambda: arrived(db, item))
        placed = await asyncio.gather(
            *(buyer(b, chance.randint(1, 4), chance.choice(["cancel", "pay", "leave"])) for b in herd)
        )
        final = {"cancel": "cancelled", "pay": "paid", "leave": "expired"}
        got = [order for order in placed if order]
        for order in got:
            await becomes(order["buyer"], order["id"], final[order["then"]], seconds=60)
        over.set()
        await repeating
        assert await watching > 10
        await echo.until_quiet()

        sold = sum(order["quantity"] for order in got if order["then"] == "pay")
        await leaves(herd[0], item, STOCK - sold)
        assert await units(db, item) == (sold, sold)
        assert len(got) >= 20
        assert echo.repeated > 3 * len(got)


async def arrived(db: Database, item: str) -> bool:
    return await db.stock.find_one({"_id": item}) is not None
