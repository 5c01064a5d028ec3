"""Orders as its neighbours see it: HTTP in front, the bus beside it, real servers behind."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from common.bus.provision import provision
from common.events import (
    Currency,
    DisputeStatus,
    HoldElapsed,
    ItemChanged,
    ItemListed,
    ItemStatus,
    ItemWithdrawn,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentRefunded,
    PaymentRefundFailed,
)
from common.http.sessions import User
from common.ids import new_id
from common.mongo.client import Database
from orders.consumers import consumers
from orders.main import app
from tests.support.bus import Events
from tests.support.serving import running
from tests.support.sessions import Tokens, person

SELLER = person("Sid")


@dataclass
class World:
    """One orders process and what a test does to it."""

    http: httpx.AsyncClient
    events: Events
    tokens: Tokens
    db: Database
    hold_seconds: int = 900

    async def listed(self, quantity: int = 5, price: int = 1250, seller: User = SELLER) -> str:
        """The id of an item that orders has heard of."""
        item_id = new_id()
        await self.events.deliver(self.item(ItemListed, item_id, 1, quantity=quantity, price=price, seller=seller))
        return item_id

    def item(
        self, kind: Any, item_id: str, version: int, quantity: int = 5, price: int = 1250, seller: User = SELLER
    ) -> Any:
        """An item event."""
        return kind(
            item_id=item_id,
            item_version=version,
            seller_id=seller.id,
            title="A lamp",
            description="",
            price=price,
            currency=Currency.EUR,
            quantity=quantity,
            status=ItemStatus.WITHDRAWN if kind is ItemWithdrawn else ItemStatus.LISTED,
        )

    async def change(self, item_id: str, version: int, **state: Any) -> None:
        """The seller edits."""
        await self.events.deliver(self.item(ItemChanged, item_id, version, **state))

    async def place(
        self,
        item_id: str,
        quantity: int = 1,
        buyer: User | None = None,
        expected: Any = None,
        **headers: str,
    ) -> httpx.Response:
        """POST /api/orders, perhaps with the `expected` price."""
        body = {"item_id": item_id, "quantity": quantity, **(expected or {})}
        return await self.http.post("/api/orders", json=body, headers=self.tokens.headers(buyer or person()) | headers)

    async def placed(self, item_id: str, quantity: int = 1, buyer: User | None = None) -> dict[str, Any]:
        """An order that was placed for sure."""
        answer = await self.place(item_id, quantity, buyer)
        assert answer.status_code == 201, answer.text
        placed: dict[str, Any] = answer.json()
        return placed

    async def get(self, path: str, who: User, **params: Any) -> httpx.Response:
        """GET as somebody."""
        return await self.http.get(f"/api/orders{path}", headers=self.tokens.headers(who), params=params or None)

    async def cancel(self, order_id: str, who: User) -> httpx.Response:
        """DELETE as somebody."""
        return await self.http.delete(f"/api/orders/{order_id}", headers=self.tokens.headers(who))

    async def refund(self, order_id: str, who: User) -> httpx.Response:
        """Ask for a refund as somebody."""
        return await self.http.post(f"/api/orders/{order_id}/refund", headers=self.tokens.headers(who))

    async def order(self, order_id: str) -> dict[str, Any]:
        """The order as it is kept."""
        found = await self.db.orders.find_one({"_id": order_id})
        assert found is not None
        return found

    async def stock(self, item_id: str) -> dict[str, Any]:
        """The stock as it is kept."""
        found = await self.db.stock.find_one({"_id": item_id})
        assert found is not None
        return found

    async def run_out(self, order_id: str) -> None:
        """The order's time is over, as the clock and expiration say."""
        await self.db.orders.update_one({"_id": order_id}, [{"$set": {"expires_at": "$placed_at"}}])
        await self.events.deliver(HoldElapsed(order_id=order_id))

    def authorized(self, order: dict[str, Any], payment_id: str) -> PaymentAuthorized:
        """The money for an order is ready."""
        return PaymentAuthorized(**self._payment(order, payment_id))

    def captured(self, order: dict[str, Any], payment_id: str) -> PaymentCaptured:
        """The money for an order came."""
        return PaymentCaptured(**self._payment(order, payment_id))

    def failed(self, order: dict[str, Any], payment_id: str, reason: str) -> PaymentFailed:
        """No money came."""
        return PaymentFailed(**self._payment(order, payment_id), reason=reason)

    def refunded(self, order: dict[str, Any], payment_id: str) -> PaymentRefunded:
        """The money went back."""
        return PaymentRefunded(**self._payment(order, payment_id), reason="asked for")

    def refund_failed(self, order: dict[str, Any], payment_id: str) -> PaymentRefundFailed:
        """The money did not arrive at the buyer's."""
        return PaymentRefundFailed(**self._payment(order, payment_id), reason="account_closed")

    def disputed(self, order: dict[str, Any], payment_id: str, dispute: DisputeStatus) -> PaymentDisputed:
        """The buyer's bank wants the money."""
        return PaymentDisputed(**self._payment(order, payment_id), reason="fraudulent", dispute=dispute)

    def _payment(self, order: dict[str, Any], payment_id: str) -> dict[str, Any]:
        return {
            "payment_id": payment_id,
            "payment_version": 2,
            "order_id": order["id"],
            "buyer_id": order["buyer_id"],
            "amount": order["total"],
            "currency": order["currency"],
        }


@pytest_asyncio.fixture
async def orders(
    mongo_url: str, db: Database, bus_url: str, events: Events, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    """A running orders service."""
    monkeypatch.setenv("MONGO_URL", mongo_url)
    monkeypatch.setenv("NATS_URL", bus_url)
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)
    await provision(bus_url, consumers.durables)
    async with running(app) as http:
        yield World(http, events, tokens, db)
