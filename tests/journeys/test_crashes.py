"""Any process may be killed at any time: afterwards every order ends as it should, and every event was handled."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from common.bus.connection import STREAMS
from infra.local.stack.stack import Stack
from tests.support.bus import Events
from tests.support.people import People, Person
from tests.support.shopping import Json, becomes, leaves, money, ok, place, sell
from tests.support.waiting import eventually


@asynccontextmanager
async def people_at(stack: Stack) -> AsyncIterator[People]:
    async with AsyncExitStack() as exits:
        yield People(stack, exits)


async def insisting(http: httpx.AsyncClient, path: str, body: Json, key: str | None = None) -> Json:
    """POST until it is answered: like a person who reloads, under the same Idempotency-Key."""
    headers = {"Idempotency-Key": key} if key else {}

    async def answered() -> Json:
        try:
            answer = await http.post(path, json=body, headers=headers)
        except httpx.TransportError as error:
            raise AssertionError(f"POST {path}: {error!r}") from error
        return ok(answer, 201)

    return await eventually(answered, seconds=60)


async def all_handled(stack: Stack) -> None:
    """Wait until no event waits in an outbox, with a consumer, or as a dead letter."""
    client = await nats.connect(stack.nats_url("orders"))
    events = Events(client.jetstream())
    await events.handled(*STREAMS)
    assert await events.dead_letters(count=0) == []
    await client.close()


@pytest.mark.parametrize("service", ["items", "orders", "payments", "expiration", "auth"])
async def test_killed_between_the_write_and_the_publish(service: str, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed"
    command = [sys.executable, "-m", "tests.support.crashing", service]
    async with (
        Stack(
            tmp_path / "souk",
            hold_seconds=6,
            commands={service: command},
            env={service: {"CRASHED": str(crashed)}},
        ) as stack,
        people_at(stack) as people,
    ):
        seller, buyer = await people.new("Sid"), await people.new("Bea")
        if service == "auth":
            user = {"email": "sid@souk.test", "password": "correct horse", "name": "Sid"}
            assert (await seller.http.post("/api/users/signup", json=user)).status_code == 502
        item = (
            await insisting(
                seller.http,
                "/api/items",
                {"title": "A seat", "price": 4500, "currency": "EUR", "quantity": 2},
            )
        )["id"]
        kept = await insisting(buyer.http, "/api/orders", {"item_id": item}, key="kept")
        left = await insisting(buyer.http, "/api/orders", {"item_id": item}, key="left")
        await insisting(
            buyer.http, "/api/payments", {"order_id": kept["id"], "payment_method": "pm_card_visa"}, key="pay"
        )

        await becomes(buyer, kept["id"], "paid")
        await becomes(buyer, left["id"], "expired")
        await money(buyer, kept["id"], "captured")
        await leaves(buyer, item, 1)
        await all_handled(stack)
        assert crashed.exists(), f"{service} never came to its fault point"


@pytest.mark.parametrize("victims", [["nats"], ["mongod"], ["redis"], ["orders", "payments"], ["mongod", "nats"]])
async def test_killed_while_people_are_buying(victims: Sequence[str], tmp_path: Path) -> None:
    async with Stack(tmp_path, hold_seconds=8) as stack, people_at(stack) as people:
        seller = await people.new("Sid")
        item = await sell(seller, 20)
        buyers = [await people.new(f"B{n}") for n in range(12)]
        await place(buyers[0], item)  # the item has arrived at orders
        told: list[tuple[Person, Json, bool]] = []

        async def buy(buyer: Person, pays: bool) -> None:
            placed = await insisting(buyer.http, "/api/orders", {"item_id": item}, key="order")
            if pays:
                body = {"order_id": placed["id"], "payment_method": "pm_card_visa"}
                await insisting(buyer.http, "/api/payments", body, key="pay")
            told.append((buyer, placed, pays))

        async def strike() -> None:
            await eventually(lambda: some_are_told(told))
            await asyncio.gather(*(stack.kill(victim) for victim in victims))

        async def one_after_the_other(some: Sequence[Person], pays: bool) -> None:
            for buyer in some:
                await buy(buyer, pays)

        await asyncio.gather(
            strike(),
            one_after_the_other(buyers[1:5], True),
            one_after_the_other(buyers[5:9], True),
            one_after_the_other(buyers[9:], False),
        )
        await stack.ready()

        paid = 0
        for buyer, placed, pays in told:
            if pays:
                found = await settled(buyer, placed["id"])
                paid += found == "paid"
            else:
                await becomes(buyer, placed["id"], "expired")
        await leaves(buyers[0], item, 20 - paid)
        await all_handled(stack)


async def some_are_told(told: Sequence[Any]) -> bool:
    return len(told) >= 2


async def settled(buyer: Person, order_id: str) -> str:
    """The order's final status: it agrees with the money."""

    async def agreed() -> str | None:
        answer = await buyer.http.get(f"/api/orders/{order_id}")
        known = await buyer.http.get("/api/payments", params={"order_id": order_id})
        if answer.status_code != 200 or known.status_code != 200:
            return None
        pair = (answer.json()["status"], [p["status"] for p in known.json()["items"]])
        return pair[0] if pair in (("paid", ["captured"]), ("expired", ["refunded"])) else None

    return await eventually(agreed, seconds=30, why=f"order {order_id} and its money do not agree")
