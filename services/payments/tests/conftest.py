"""A running payments service under test, and the world around it: orders, buyers, the sandbox's ledger."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI
from nats.errors import Error as NatsError
from pymongo.errors import PyMongoError
from starlette.types import ASGIApp

from common.bus.connection import Bus
from common.bus.provision import provision
from common.events import (
    CancelReason,
    Currency,
    Event,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderPlaced,
    OrderRefundRequested,
    RejectReason,
)
from common.http.sessions import User
from common.ids import new_id
from common.mongo.client import AWAY, Database, Document
from common.outbox import Relay
from infra.servers.process import free_port
from payments.cashier import Cashier
from payments.consumers import consumers
from payments.domain import Payment
from payments.due import Due, DueState
from payments.gateways.port import PaymentGateway
from payments.gateways.sandbox import SandboxGateway
from payments.main import app
from payments.settings import PaymentsSettings
from payments.store import DueStore, PaymentStore
from services.payments.tests.providers import sandbox_money
from tests.support.bus import Events
from tests.support.documented import compared
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

Serve = Callable[[ASGIApp, int], AbstractAsyncContextManager[httpx.AsyncClient]]

SECRET = "a secret for the tests alone"


def new_order(buyer_id: str, *, hold: timedelta = timedelta(minutes=15), amount: int = 1250) -> OrderPlaced:
    """An order as orders publishes it."""
    return OrderPlaced(
        order_id=new_id(),
        order_version=1,
        buyer_id=buyer_id,
        seller_id=new_id(),
        item_id=new_id(),
        item_title="Two seats in row 5",
        quantity=2,
        unit_price=amount // 2,
        currency=Currency.EUR,
        expires_at=datetime.now(UTC) + hold,
    )


def state(order: OrderPlaced, version: int) -> dict[str, Any]:
    """The order as a later event carries it."""
    return {**order.model_dump(), "order_version": version}


@dataclass
class World:
    """Payments, running on a port of its own, and everything around it."""

    http: httpx.AsyncClient
    events: Events
    db: Database
    tokens: Tokens
    buyer: User
    placed: dict[str, OrderPlaced] = field(default_factory=dict)
    sold_out: set[str] = field(default_factory=set)
    """The ids of orders whose units somebody else has: orders rejects their payments."""
    silent: bool = False
    """Whether orders says nothing."""

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Decide about every authorized payment as orders does, for as long as it is authorized."""
        over = asyncio.Event()  # Not cancelled: pymongo on Python 3.11 may swallow a cancellation.
        task = asyncio.create_task(self._answer(over))
        try:
            yield
        finally:
            over.set()
            await task

    async def _answer(self, over: asyncio.Event) -> None:
        while not over.is_set():
            with suppress(NatsError, PyMongoError, TimeoutError):
                for payment in await self.db.payments.find({"status": "authorized"}).to_list():
                    if not self.silent:
                        await self._decide(payment["order_id"], payment["_id"])
            await asyncio.sleep(0.01)

    async def _decide(self, order_id: str, payment_id: str) -> None:
        said = {**state(self.placed[order_id], 2), "payment_id": payment_id}
        event: Event = OrderPaymentAccepted(**said)
        if order_id in self.sold_out:
            event = OrderPaymentRejected(**said, reason=RejectReason.SOLD_OUT)
        headers = {"Nats-Msg-Id": f"{payment_id}-answer"}
        await self.events.js.publish(event.subject, event.model_dump_json().encode(), headers=headers)

    def new_order(self) -> OrderPlaced:
        """An order of `buyer` that payments does not know."""
        return self._known_to_orders(new_order(self.buyer.id))

    def _known_to_orders(self, order: OrderPlaced) -> OrderPlaced:
        self.placed[order.order_id] = order
        return order

    async def placed_order(self, *, hold: timedelta = timedelta(minutes=15), amount: int = 1250) -> OrderPlaced:
        """An order of `buyer` that payments knows."""
        order = self._known_to_orders(new_order(self.buyer.id, hold=hold, amount=amount))
        await self.events.deliver(order)
        return order

    async def paid(self, order: OrderPlaced, payment_id: str, version: int = 3) -> OrderPaid:
        """Orders publishes that the order is paid."""
        event = OrderPaid(**state(order, version), payment_id=payment_id)
        await self.events.deliver(event)
        return event

    async def accepted(self, order: OrderPlaced, payment_id: str, version: int = 2) -> OrderPaymentAccepted:
        """Orders keeps the units for the payment."""
        event = OrderPaymentAccepted(**state(order, version), payment_id=payment_id)
        await self.events.deliver(event)
        return event

    async def cancelled(self, order: OrderPlaced, version: int = 2) -> OrderCancelled:
        """Orders publishes that the order is cancelled."""
        event = OrderCancelled(**state(order, version), reason=CancelReason.BUYER)
        await self.events.deliver(event)
        return event

    async def rejected(self, order: OrderPlaced, payment_id: str) -> OrderPaymentRejected:
        """Orders rejects the payment."""
        event = OrderPaymentRejected(**state(order, 4), payment_id=payment_id, reason=RejectReason.SOLD_OUT)
        await self.events.deliver(event)
        return event

    async def refund_requested(self, order: OrderPlaced, payment_id: str) -> OrderRefundRequested:
        """The seller gives the money back."""
        event = OrderRefundRequested(**state(order, 4), payment_id=payment_id)
        await self.events.deliver(event)
        return event

    async def pay(
        self, order_id: str, method: str = "pm_card_visa", key: str | None = None, buyer: User | None = None
    ) -> httpx.Response:
        """POST /api/payments as `buyer`."""
        headers = self.tokens.headers(buyer or self.buyer) | ({"Idempotency-Key": key} if key else {})
        body = {"order_id": order_id, "payment_method": method}
        return await self.http.post("/api/payments", json=body, headers=headers)

    async def captured(self, order: OrderPlaced) -> Document:
        """A payment for an order whose money is here. The answer to a request may come earlier."""
        answer = await self.pay(order.order_id)
        assert answer.status_code == 201, answer.text
        return await self.becomes(answer.json()["id"], "captured")

    async def listed(self, **query: Any) -> Any:
        """GET /api/payments as `buyer`."""
        return (await self.http.get("/api/payments", params=query, headers=self.tokens.headers(self.buyer))).json()

    async def becomes(self, payment_id: str, status: str) -> Document:
        """The payment as the buyer's list shows it, once it has this status."""

        async def there() -> Document:
            [found] = [p for p in (await self.listed(limit=100))["items"] if p["id"] == payment_id]
            assert found["status"] == status, found
            return dict(found)

        return await eventually(there)

    async def reported(self) -> None:
        """Wait until the sandbox has nothing left to report."""

        async def nothing_left() -> bool:
            return not await self.db.sandbox_charges.count_documents({"notify_at": {"$exists": True}})

        await eventually(nothing_left)

    async def payment(self, payment_id: str) -> Document:
        """The payment as it is stored."""
        found = await self.db.payments.find_one({"_id": payment_id})
        assert found
        return found

    async def money(self) -> int:
        """What the sandbox has moved to us by now and not back, over all charges."""
        return await sandbox_money(self.db)


@dataclass
class Workshop:
    """The parts of payments without its HTTP side, for tests that use one of them alone."""

    payments: PaymentStore
    dues: DueStore
    db: Database

    def cashier(self, gateway: PaymentGateway, answer_timeout: float = 10, word_timeout: float = 0) -> Cashier:
        """A cashier who uses this gateway, without its background work. Nobody answers for orders."""
        timeouts = timedelta(seconds=answer_timeout), timedelta(seconds=word_timeout)
        return Cashier(self.payments, self.dues, gateway, *timeouts)

    async def captured(self, gateway: PaymentGateway) -> Payment:
        """A payment whose money is here."""
        payment, cashier = await self.intent(), self.cashier(gateway)
        await cashier.settle(payment.id)
        await cashier.accept(payment.id)
        await cashier.settle(payment.id)
        return await self.payments.get(payment.id)

    async def due(self) -> Due:
        """Something to pay."""
        due = Due(
            id=new_id(),
            order_version=1,
            buyer_id=new_id(),
            amount=700,
            currency=Currency.EUR,
            expires_at=datetime.now(UTC) + timedelta(minutes=15),
            state=DueState.OPEN,
        )
        await self.dues.keep(due)
        return due

    async def intent(self, method: str = "pm_card_visa", key: str | None = None) -> Payment:
        """A payment whose process died before it asked the gateway, or before it got the answer."""
        payment = Payment.begin(await self.due(), method=method, request_key=key, now=datetime.now(UTC))
        await self.payments.add(payment)
        return payment


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, mongo_url: str, bus_url: str, tokens: Tokens) -> PaymentsSettings:
    """The environment of a service under test."""
    environment = {
        "MONGO_URL": mongo_url,
        "NATS_URL": bus_url,
        "JWT_PUBLIC_KEYS": tokens.jwk_set,
        "WEBHOOK_SECRET": SECRET,
        "PORT": str(free_port()),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return PaymentsSettings()


@asynccontextmanager
async def serving(app: ASGIApp, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """An app on a port, reached over real HTTP."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False))
    task = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started or task.done()

    await eventually(started)
    try:
        hooks = compared(app) if isinstance(app, FastAPI) else {}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, event_hooks=hooks) as http:
            yield http
    finally:
        server.should_exit = True
        await task


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to a payment waits for the word of orders for as long as it takes."""
    monkeypatch.setattr("payments.main.Cashier", partial(Cashier, word_timeout=timedelta(minutes=1)))


@pytest.fixture
def order() -> OrderPlaced:
    """An order that payments does not know."""
    return new_order(new_id())


@pytest.fixture
def serve() -> Serve:
    """Puts an app on a port."""
    return serving


@pytest.fixture
def world_of(db: Database, events: Events, tokens: Tokens) -> Callable[[httpx.AsyncClient], World]:
    """The world around a service that is reached in this way."""
    return lambda http: World(http, events, db, tokens, person())


@pytest_asyncio.fixture
async def world(settings: PaymentsSettings, world_of: Callable[[httpx.AsyncClient], World]) -> AsyncIterator[World]:
    """Payments, running."""
    await provision(settings.nats_url.get_secret_value(), consumers.durables)
    async with serving(app, settings.port) as http:
        world = world_of(http)
        async with world.answering():
            yield world


@pytest_asyncio.fixture
async def workshop(db: Database, bus_url: str) -> AsyncIterator[Workshop]:
    """The parts of payments on a real bus."""
    async with Bus.connected(bus_url, "payments", away=AWAY) as bus, Relay.running(bus, db.payments) as relay:
        payments = PaymentStore(db, relay)
        await payments.prepare()
        yield Workshop(payments, DueStore(db), db)


@pytest_asyncio.fixture
async def sandbox(settings: PaymentsSettings, db: Database) -> AsyncIterator[SandboxGateway]:
    """The sandbox alone, its webhook calls going to the port of `settings`."""
    async with SandboxGateway.open(db.sandbox_charges, SECRET, settings.webhook_url) as gateway:
        yield gateway
