"""With the bus away, pages and orders go on: what has to be told to other services waits until it is back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio

from infra.local.stack.stack import Stack
from tests.support.people import People
from tests.support.shopping import Json, in_effect, ok, place, sell
from tests.support.stacks import away
from tests.support.waiting import eventually

pytestmark = pytest.mark.servers

SERVE_WITHOUT_THE_BUS = ("auth", "items", "orders", "payments", "audit", "web")


@pytest_asyncio.fixture(scope="module")
async def own_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with Stack(tmp_path_factory.mktemp("busless")) as stack:
        yield stack


@pytest_asyncio.fixture
async def at_stack(own_stack: Stack) -> AsyncIterator[People]:
    async with AsyncExitStack() as exits:
        yield People(own_stack, exits)


async def readiness(stack: Stack, service: str) -> tuple[int, Json]:
    """The status of the `/readyz` of a service, and what it says about the bus."""
    [program] = [program for program in stack.services if program.name == service]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{program.port}", timeout=30) as probe:
        answer = await probe.get("/readyz")
        return answer.status_code, answer.json().get("servers", {}).get("bus")


@pytest.mark.prove
async def test_without_the_bus_souk_still_sells_and_promises_only_what_it_keeps(
    own_stack: Stack, at_stack: People
) -> None:
    seller, buyer = await at_stack.new("Sid"), await at_stack.new("Bea")
    item = await sell(seller, 5)
    await place(buyer, item)
    async with away(own_stack, "nats"):

        async def noticed() -> bool:
            for name in SERVE_WITHOUT_THE_BUS:
                assert await readiness(own_stack, name) == (200, {"answers": False, "needed": False})
            assert await readiness(own_stack, "expiration") == (503, {"answers": False, "needed": True})
            return True

        await eventually(noticed)
        for _ in range(30):  # longer than the gateway needs to notice, too
            ok(await buyer.http.get(f"/api/items/{item}"))
            assert (await buyer.http.get(f"/items/{item}")).status_code == 200
            assert ok(await buyer.http.get("/api/users/currentuser"))["current_user"]
            ok(await buyer.http.get("/api/payments"))
            ok(await buyer.http.get("/api/orders"))
        await place(buyer, item)

        withdrawn = ok(await seller.http.delete(f"/api/items/{item}"))
        assert (withdrawn["status"], withdrawn["in_effect"]) == ("withdrawn", False)
        cookie = {"Cookie": seller.http.headers["Authorization"].replace("Bearer ", "session=")}
        assert "Your last change takes effect in a moment" in (await seller.http.get("/my/items", headers=cookie)).text
        await place(buyer, item)  # it was not promised that there would be none

    await eventually(lambda: in_effect(buyer, item))
    refused = await buyer.http.post("/api/orders", json={"item_id": item})
    assert ok(refused, 409)["code"] == "item_withdrawn"


async def test_once_a_withdrawal_is_in_effect_nobody_orders(own_stack: Stack, at_stack: People) -> None:
    seller, buyer = await at_stack.new("Sid"), await at_stack.new("Bea")
    for _ in range(10):
        item = await sell(seller, 5)
        await place(buyer, item)

        ok(await seller.http.delete(f"/api/items/{item}"))
        await eventually(lambda item=item: in_effect(seller, item))  # type: ignore[misc]

        assert ok(await buyer.http.post("/api/orders", json={"item_id": item}), 409)["code"] == "item_withdrawn"


ROUTES = ("/api/users/currentuser", "/api/items", "/api/orders", "/api/payments")


@pytest.mark.prove
async def test_without_its_database_a_service_says_when_to_try_again(own_stack: Stack, at_stack: People) -> None:
    buyer = await at_stack.new("Ben")
    async with away(own_stack, "mongod"):

        async def noticed() -> bool:
            return (await readiness(own_stack, "items"))[0] == 503

        await eventually(noticed)
        for _ in range(3):  # the gateway notices, too: the last requests find no replica that is ready
            answers = await asyncio.gather(*(buyer.http.get(route, timeout=30) for route in ROUTES))
            refused = [answer for answer in answers if answer.status_code != 200]
            assert [(answer.status_code, answer.headers.get("retry-after")) for answer in refused] == [(503, "1")] * 3
