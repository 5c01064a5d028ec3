"""Where REQUIRE_VERIFIED_EMAIL is true, whoever has not proved their address holds and sells nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from infra.local.stack.stack import Stack
from tests.journeys.test_mail import mail, token_in
from tests.support.people import People
from tests.support.shopping import ok, place, sell

pytestmark = pytest.mark.servers

STRICT = {"REQUIRE_VERIFIED_EMAIL": "true"}


@pytest_asyncio.fixture(scope="module")
async def strict_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Souk as in prod, as far as addresses are concerned."""
    env = dict.fromkeys(("auth", "items", "orders", "payments", "web"), STRICT)
    async with Stack(tmp_path_factory.mktemp("strict"), env=env) as running:
        yield running


@pytest_asyncio.fixture
async def strict_people(strict_stack: Stack) -> AsyncIterator[People]:
    """People at it."""
    async with AsyncExitStack() as exits:
        yield People(strict_stack, exits)


async def test_who_has_not_proved_their_address_neither_holds_nor_sells_until_they_have(strict_people: People) -> None:
    seller, buyer = await strict_people.signed_up("Sid"), await strict_people.signed_up("Bea")
    offer = {"title": "A seat", "price": 4500, "currency": "EUR", "quantity": 2}

    for person, path, body in (
        (seller, "/api/items", offer),
        (buyer, "/api/orders", {"item_id": "01a22555ba2375aba097624167d84ec1"}),
    ):
        refused = await person.http.post(path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "email_not_verified"), path
    ok(await buyer.http.get("/api/items"))
    assert ok(await buyer.http.get("/api/orders"))["items"] == []

    for person in (seller, buyer):
        token = token_in(await mail(person.http, person.user.email, "Welcome to Souk"))
        assert (await person.http.post("/api/users/verify-email", json={"token": token})).status_code == 204
        assert ok(await person.http.post("/api/users/refresh"))["verified"] is True
    item_id = await sell(seller, 2)
    assert (await place(buyer, item_id))["status"] == "awaiting_payment"
