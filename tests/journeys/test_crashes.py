"""Any process may be killed at any time: afterwards every order ends as it should, and every event was handled."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from common.bus.streams import STREAMS
from infra.local.stack.stack import Stack
from tests.support.people import People, Person
from tests.support.proving import some_in_test
from tests.support.shopping import Json, becomes, leaves, money, ok, place, sell
from tests.support.stacks import events_of
from tests.support.waiting import eventually

SERVICES = ("items", "orders", "payments", "expiration", "auth")
VICTIMS = ("nats", "mongod", "redis", "orders payments", "mongod nats")


@dataclass(frozen=True)
class CrashStack:
    """Souk with a fault point in every service that publishes; `faults` has a file for each fault that is armed."""

    stack: Stack
    faults: Path


@pytest_asyncio.fixture(scope="module")
async def crash_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CrashStack]:
    folder = tmp_path_factory.mktemp("crashes")
    commands = {service: [sys.executable, "-m", "tests.support.crashing", service] for service in SERVICES}
    env = {service: {"FAULT": str(folder / service)} for service in SERVICES}
    async with Stack(folder / "souk", hold_seconds=12, commands=commands, env=env) as stack:
        yield CrashStack(stack, folder)


@pytest_asyncio.fixture
async def buyers_and_sellers(crash_stack: CrashStack) -> AsyncIterator[People]:
    async with AsyncExitStack() as exits:
        yield People(crash_stack.stack, exits)


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


async def paid_in_time(http: httpx.AsyncClient, order_id: str) -> bool:
    """Pay an order until that is answered; False if its hold was over before the servers were back."""
    body = {"order_id": order_id, "payment_method": "pm_card_visa"}

    async def answered() -> httpx.Response:
        try:
            answer = await http.post("/api/payments", json=body, headers={"Idempotency-Key": "pay"})
        except httpx.TransportError as error:
            raise AssertionError(f"POST /api/payments: {error!r}") from error
        assert answer.status_code in {201, 409}, f"{answer.status_code} {answer.text}"
        return answer

    answer = await eventually(answered, seconds=60)
    assert answer.status_code == 201 or answer.json()["code"] == "order_not_payable", answer.text
    return answer.status_code == 201


async def all_handled(stack: Stack) -> None:
    """Wait until no event waits in an outbox, with a consumer, or as a dead letter."""
    async with events_of(stack) as events:
        await events.handled(*STREAMS)
        assert await events.dead_letters(count=0) == []


@pytest.mark.parametrize("service", some_in_test(SERVICES, {"payments"}))
async def test_killed_between_the_write_and_the_publish(
    service: str, crash_stack: CrashStack, buyers_and_sellers: People
) -> None:
    seller, buyer = await buyers_and_sellers.new("Sid"), await buyers_and_sellers.new("Bea")
    fault = crash_stack.faults / service
    fault.touch()
    if service == "auth":
        user = {"email": "sid@souk.test", "password": "correct horse", "name": "Sid"}
        assert (await seller.http.post("/api/users/signup", json=user)).status_code == 502
    seats = {"title": "A seat", "price": 4500, "currency": "EUR", "quantity": 2}
    item = (await insisting(seller.http, "/api/items", seats))["id"]
    kept = await insisting(buyer.http, "/api/orders", {"item_id": item}, key="kept")
    left = await insisting(buyer.http, "/api/orders", {"item_id": item}, key="left")
    payment = {"order_id": kept["id"], "payment_method": "pm_card_visa"}
    await insisting(buyer.http, "/api/payments", payment, key="pay")

    await becomes(buyer, kept["id"], "paid")
    await becomes(buyer, left["id"], "expired")
    await money(buyer, kept["id"], "captured")
    await leaves(buyer, item, 1)
    await all_handled(crash_stack.stack)
    assert not fault.exists(), f"{service} never reached its fault point"


@pytest.mark.prove
@pytest.mark.parametrize("victims", VICTIMS)
async def test_killed_while_people_are_buying(
    victims: str, crash_stack: CrashStack, buyers_and_sellers: People
) -> None:
    stack = crash_stack.stack
    seller = await buyers_and_sellers.new("Sid")
    item = await sell(seller, 20)
    buyers = [await buyers_and_sellers.new(f"B{n}") for n in range(12)]
    await place(buyers[0], item)  # orders knows the item
    orders: list[tuple[Person, Json, bool]] = []

    async def buy(buyer: Person, pays: bool) -> None:
        placed = await insisting(buyer.http, "/api/orders", {"item_id": item}, key="order")
        orders.append((buyer, placed, pays and await paid_in_time(buyer.http, placed["id"])))

    async def two_have_bought() -> bool:
        return len(orders) >= 2

    async def kill() -> None:
        await eventually(two_have_bought)
        await asyncio.gather(*(stack.kill(victim) for victim in victims.split()))

    async def one_after_the_other(some: Sequence[Person], pays: bool) -> None:
        for buyer in some:
            await buy(buyer, pays)

    await asyncio.gather(
        kill(),
        one_after_the_other(buyers[1:5], True),
        one_after_the_other(buyers[5:9], True),
        one_after_the_other(buyers[9:], False),
    )
    await stack.ready()

    paid = 0
    for buyer, placed, pays in orders:
        if pays:
            paid += await settled(buyer, placed["id"]) == "paid"
        else:
            await becomes(buyer, placed["id"], "expired")
    await leaves(buyers[0], item, 20 - paid)
    await all_handled(stack)


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
