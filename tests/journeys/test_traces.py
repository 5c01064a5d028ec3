"""A paid order is one trace: from the browser's request through the events to every consumer."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio

from common.bus.provision import provision
from common.events import ItemListed, ItemStatus, OrderPlaced
from common.http.sessions import User
from common.ids import new_id
from orders.consumers import consumers as of_orders
from orders.main import app as orders_app
from payments.consumers import consumers as of_payments
from payments.main import app as payments_app
from tests.support.bus import Events
from tests.support.otlp import Received, Receiver, receiving
from tests.support.serving import running
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

TRACE, BROWSER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

PAID = {
    "payments: POST /api/payments": "SERVER",
    "payments: provider charge": "CLIENT",
    "orders: process payments.authorized": "CONSUMER",
    "payments: process orders.payment_accepted": "CONSUMER",
    "payments: provider capture": "CLIENT",
    "orders: process payments.captured": "CONSUMER",
    "payments: process orders.paid": "CONSUMER",
}


@pytest.fixture
def environment(mongo_url: str, bus_url: str, tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two services on the same servers."""
    variables = {"MONGO_URL": mongo_url, "NATS_URL": bus_url, "JWT_PUBLIC_KEYS": tokens.jwk_set}
    for name, value in {**variables, "WEBHOOK_SECRET": "a-secret-of-this-test"}.items():
        monkeypatch.setenv(name, value)
    for app in (orders_app, payments_app):
        monkeypatch.setattr(app, "middleware_stack", None)  # It is built as the environment says now.


@pytest.fixture
def receiver(environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Where both send their spans."""
    with receiving() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        yield receiver


@pytest_asyncio.fixture
async def services(receiver: Receiver, bus_url: str) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient]]:
    """Orders and payments, with traces."""
    await provision(bus_url, [*of_orders.durables, *of_payments.durables])
    async with running(orders_app) as orders, running(payments_app) as payments:
        yield orders, payments


async def placed(orders: httpx.AsyncClient, events: Events, headers: dict[str, str]) -> str:
    """The id of an order of an item that is there."""
    fields = {"item_id": new_id(), "item_version": 1, "seller_id": new_id(), "title": "A lamp", "description": ""}
    fields |= {"price": 1250, "currency": "EUR", "quantity": 3, "status": ItemStatus.LISTED}
    item = ItemListed.model_validate(fields)
    await events.deliver(item)
    answer = await orders.post("/api/orders", json={"item_id": item.item_id, "quantity": 1}, headers=headers)
    assert answer.status_code == 201, answer.text
    await events.published(OrderPlaced)
    await events.handled("ORDERS")
    return str(answer.json()["id"])


async def test_a_paid_order_is_one_trace(
    services: tuple[httpx.AsyncClient, httpx.AsyncClient], receiver: Receiver, events: Events, tokens: Tokens
) -> None:
    orders, payments = services
    buyer: User = person("Bea")
    order_id = await placed(orders, events, tokens.headers(buyer))
    traced = tokens.headers(buyer) | {"traceparent": f"00-{TRACE}-{BROWSER}-01"}
    paid = await payments.post(
        "/api/payments", json={"order_id": order_id, "payment_method": "pm_card_visa"}, headers=traced
    )
    assert paid.status_code == 201, paid.text

    async def whole() -> dict[str, Received]:
        found = {one.name: one for one in receiver.trace(TRACE)}
        assert set(PAID) <= set(found), f"the trace lacks {set(PAID) - set(found)} of {sorted(found)}"
        spans = {one.span.span_id.hex(): one for one in receiver.trace(TRACE)}
        roots = {one.name for one in spans.values() if one.span.parent_span_id.hex() not in spans}
        assert roots == {"payments: POST /api/payments"}, "every other span has its parent in the trace"
        return found

    found = await eventually(whole)
    assert {name: found[name].kind for name in PAID} == PAID
    spans = {one.span.span_id.hex(): one for one in receiver.trace(TRACE)}
    assert found["payments: POST /api/payments"].span.parent_span_id.hex() == BROWSER
    assert found["payments: POST /api/payments"].attributes["http.response.status_code"] == 201
    assert found["orders: process payments.captured"].attributes["messaging.destination.name"] == "payments.captured"
    assert found["orders: process payments.captured"].attributes["souk.order_id"] == order_id
    captured = spans[found["orders: process payments.captured"].span.parent_span_id.hex()]
    assert captured.service == "payments", "the event was caused there"


async def test_events_of_an_order_carry_the_trace_of_its_request(
    services: tuple[httpx.AsyncClient, httpx.AsyncClient], receiver: Receiver, events: Events, tokens: Tokens
) -> None:
    orders, _ = services
    traced = tokens.headers(person("Bea")) | {"traceparent": f"00-{TRACE}-{BROWSER}-01"}
    await placed(orders, events, traced)

    async def told() -> dict[str, Received]:
        found = {one.name: one for one in receiver.trace(TRACE)}
        assert {"orders: POST /api/orders", "payments: process orders.placed"} <= set(found), sorted(found)
        return found

    found = await eventually(told)  # Each service sends its spans when it likes to: neither comes first.
    assert found["payments: process orders.placed"].kind == "CONSUMER"
    request = found["orders: POST /api/orders"]
    [message] = await events.messages("ORDERS", "orders.placed")
    assert message.headers["traceparent"] == f"00-{TRACE}-{request.span.span_id.hex()}-01"


async def test_without_an_address_nothing_is_measured(environment: None, bus_url: str) -> None:
    await provision(bus_url, of_orders.durables)
    async with running(orders_app) as orders:
        await orders.get("/api/orders/none")
    assert "TraceMiddleware" not in type(orders_app.middleware_stack).__name__
