"""Journeys through the ingress of a real cluster, while pods are deleted. Run by `make test-cluster` only."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio

from common.ids import new_id
from tests.cluster.cluster import APPS, Cluster
from tests.journeys.test_journeys import (
    test_a_sale_from_sign_up_to_refund,
    test_an_edit_shows_and_a_withdrawn_item_takes_no_orders,
    test_two_hundred_want_fifty,
    test_what_is_not_paid_goes_back_on_sale,
)
from tests.support.people import People, Person
from tests.support.shopping import Json, becomes, sell
from tests.support.waiting import eventually

__all__ = [
    "test_a_sale_from_sign_up_to_refund",
    "test_an_edit_shows_and_a_withdrawn_item_takes_no_orders",
    "test_two_hundred_want_fifty",
    "test_what_is_not_paid_goes_back_on_sale",
]

pytestmark = pytest.mark.timeout(900)


class Visitors(People):
    """People who come through the ingress."""

    def __init__(self, cluster: Cluster, exits: AsyncExitStack) -> None:
        super().__init__(cluster, exits)
        self._host = cluster.host

    async def anybody(self) -> httpx.AsyncClient:
        """Return a client that is not signed in."""
        http = await super().anybody()
        http.headers["Host"] = self._host
        return http


@pytest_asyncio.fixture(scope="session")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """Souk in a namespace of its own."""
    async with Cluster(tmp_path_factory.mktemp("overlay")).deployed() as deployed:
        yield deployed


@pytest_asyncio.fixture
async def people(cluster: Cluster) -> AsyncIterator[People]:
    """People where holds last 15 minutes."""
    await cluster.hold_for(900)
    async with AsyncExitStack() as exits:
        yield Visitors(cluster, exits)


@pytest_asyncio.fixture
async def hasty_people(cluster: Cluster) -> AsyncIterator[People]:
    """People where holds last 10 seconds."""
    await cluster.hold_for(10)
    async with AsyncExitStack() as exits:
        yield Visitors(cluster, exits)


async def test_sales_continue_while_pods_are_deleted(people: People, cluster: Cluster) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    for app in APPS:
        item = await sell(seller, 1)
        await cluster.delete_pods(app)

        placed = await insist(buyer, "/api/orders", {"item_id": item})
        await insist(buyer, "/api/payments", {"order_id": placed["id"], "payment_method": "pm_card_visa"})

        await becomes(buyer, placed["id"], "paid", seconds=90)
        await cluster.ready()


async def insist(buyer: Person, path: str, body: Json) -> Json:
    """The answer 201 to a POST, which is sent again with the same key until every server is back."""
    headers = {"Idempotency-Key": new_id()}

    async def accepted() -> Json | None:
        try:
            answer = await buyer.http.post(path, json=body, headers=headers)
        except httpx.TransportError:
            return None
        made: Json = answer.json() if answer.status_code == 201 else {}
        return made or None

    return await eventually(accepted, 120, why=f"no answer 201 from {path}")
