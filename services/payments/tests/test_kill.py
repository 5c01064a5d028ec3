"""kill -9 of real processes, again and again, at moments that nobody chose."""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx
import pytest
import pytest_asyncio

from common.bus.provision import provision
from common.events import (
    OrderPaymentRejected,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    RejectReason,
)
from common.mongo.client import Document
from infra.servers.mongo import MongoServer
from infra.servers.nats import NatsServer
from infra.servers.process import Child
from payments.consumers import consumers
from payments.settings import PaymentsSettings
from tests.support.proving import some_in_test
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import World

CARDS = ["pm_card_visa", "pm_card_declined", "pm_card_duplicate", "pm_card_lost", "pm_card_slow"]


C = TypeVar("C", bound=Child)


class Service(Child):
    """Payments as a process of its own."""

    def command(self) -> Sequence[str | Path]:
        return [sys.executable, "-m", "payments.main"]

    def environment(self) -> Mapping[str, str]:
        return os.environ

    async def answers(self) -> bool:
        async with httpx.AsyncClient() as http:
            try:
                return (await http.get(f"http://127.0.0.1:{self.port}/readyz")).is_success
            except httpx.TransportError:
                return False


@asynccontextmanager
async def running(child: C) -> AsyncIterator[C]:
    """A process, for as long as a test lasts."""
    await child.start()
    try:
        yield child
    finally:
        await child.stop()


@pytest_asyncio.fixture
async def mongo(mongo_server: Callable[[], MongoServer]) -> AsyncIterator[MongoServer]:
    async with running(mongo_server()) as server:
        yield server


@pytest_asyncio.fixture
async def nats(nats_server: Callable[[], NatsServer]) -> AsyncIterator[NatsServer]:
    async with running(nats_server()) as server:
        yield server


@pytest.fixture
def mongo_url(mongo: MongoServer) -> str:
    return mongo.url_for("payments")


@pytest.fixture
def bus_url(nats: NatsServer) -> str:
    return nats.url


@pytest_asyncio.fixture
async def service(settings: PaymentsSettings, tmp_path: Path) -> AsyncIterator[Service]:
    await provision(settings.nats_url.get_secret_value(), consumers.durables)
    async with running(Service("payments", tmp_path, settings.port)) as service:
        yield service


@pytest_asyncio.fixture
async def world(service: Service, world_of: Callable[[httpx.AsyncClient], "World"]) -> AsyncIterator["World"]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", timeout=10) as http:
        world = world_of(http)
        async with world.answering():
            yield world


async def insist(world: "World", order: OrderPlaced, method: str) -> httpx.Response:
    """Pay like somebody who tries again, under the same key, until he is answered."""

    async def answered() -> httpx.Response | None:
        try:
            answer = await world.pay(order.order_id, method, key=order.order_id)
        except httpx.TransportError:
            return None
        return answer if answer.status_code in {201, 402} else None

    return await eventually(answered, seconds=60)


async def killed_soon(victim: Child, chance: random.Random) -> None:
    """Kill a process while it is at work, and start it again."""
    await asyncio.sleep(chance.uniform(0.0, 0.15))
    await victim.kill()
    await victim.start()


async def settled(world: "World") -> Mapping[str, Document]:
    """Every payment by its order, once nothing is under way, to be reported or to be published."""
    unsettled = {"$or": [{"check_at": {"$exists": True}}, {"pending.0": {"$exists": True}}]}

    async def quiet() -> bool:
        return not await world.db.payments.count_documents(unsettled)

    await eventually(quiet, seconds=60)
    await world.reported()
    payments = await world.db.payments.find({}).to_list()
    by_order = {payment["order_id"]: payment for payment in payments}
    assert len(by_order) == len(payments)
    return by_order


@pytest.mark.parametrize("dying", some_in_test(["service", "mongo", "nats"], {"nats"}))
async def test_whatever_is_killed_however_often_money_moves_once_and_goes_back_once(
    world: "World", service: Service, mongo: MongoServer, nats: NatsServer, dying: str
) -> None:
    victim = {"service": service, "mongo": mongo, "nats": nats}[dying]
    chance = random.Random(20261122)  # noqa: S311 - picks moments, guards nothing
    answers: list[tuple[OrderPlaced, str, httpx.Response]] = []
    for _ in range(3):
        orders = [await world.placed_order() for _ in range(15)]
        methods = [CARDS[number % len(CARDS)] for number in range(15)]
        paying = asyncio.gather(*(insist(world, o, m) for o, m in zip(orders, methods, strict=True)))
        await killed_soon(victim, chance)
        answers += zip(orders, methods, await paying, strict=True)
    payments = await settled(world)

    assert payments.keys() == {order.order_id for order, _, _ in answers}
    assert {p["_id"] for p in payments.values()} == set(await world.db.sandbox_charges.distinct("_id"))
    for order, method, answer in answers:
        assert payments[order.order_id]["status"] == ("failed" if method == "pm_card_declined" else "captured")
        again = await world.pay(order.order_id, method, key=order.order_id)
        assert (again.status_code, again.content) == (answer.status_code, answer.content)
    good = {order.order_id: order for order, method, _ in answers if method != "pm_card_declined"}
    bad = payments.keys() - good.keys()
    assert Counter(e.order_id for e in await world.events.published(PaymentCaptured)) == Counter(good.keys())
    assert Counter(e.order_id for e in await world.events.published(PaymentFailed)) == Counter(bad)
    assert await world.money() == 1250 * len(good)

    for order in good.values():
        state = {**order.model_dump(), "order_version": 4, "payment_id": payments[order.order_id]["_id"]}
        rejected = OrderPaymentRejected(**state, reason=RejectReason.SOLD_OUT)
        await world.events.deliver_raw(rejected.subject, rejected.model_dump_json().encode())
    await killed_soon(victim, chance)

    # What was with the dead process and not acknowledged comes again when the server has missed it for long enough.
    refunded = await eventually(lambda: world.events.published(PaymentRefunded, len(good)), seconds=90)
    assert Counter(e.order_id for e in refunded) == Counter(good.keys())
    await settled(world)
    assert await world.money() == 0
    assert not await world.events.dead_letters(0)
