"""Payments with Stripe behind it, over HTTP: what a buyer sees, and what he must not."""

from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from common.bus.provision import provision
from common.events import PaymentProcessing
from common.http.app import create_app
from common.settings import load
from infra.servers.process import free_port
from payments.consumers import consumers
from payments.main import start
from payments.routes import router
from payments.settings import PaymentsSettings
from services.payments.tests.stripe_fake import SECRET_KEY, WEBHOOK_SECRET, FakeStripe
from tests.support.bus import Events
from tests.support.sessions import Tokens, person

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve, World

CONFIRMED = "pm_card_authenticationRequired"


@pytest_asyncio.fixture
async def stripe(
    settings: PaymentsSettings, monkeypatch: pytest.MonkeyPatch, serve: "Serve"
) -> AsyncIterator[FakeStripe]:
    """Stripe, the settings leading to it."""
    stripe, port = FakeStripe(webhook_url=settings.webhook_url), free_port()
    monkeypatch.delenv("WEBHOOK_SECRET")
    monkeypatch.setenv("PAYMENT_GATEWAY", "stripe")
    monkeypatch.setenv("STRIPE_SECRET_KEY", SECRET_KEY)
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", WEBHOOK_SECRET)
    monkeypatch.setenv("STRIPE_API_URL", f"http://127.0.0.1:{port}")
    async with serve(stripe.app, port):
        yield stripe


@pytest_asyncio.fixture
async def world(
    stripe: FakeStripe,
    settings: PaymentsSettings,
    serve: "Serve",
    world_of: Callable[[httpx.AsyncClient], "World"],
) -> AsyncIterator["World"]:
    """Payments, running."""
    await provision(settings.nats_url.get_secret_value(), consumers.durables)
    async with serve(create_app("payments", router, start), settings.port) as http:
        yield world_of(http)


async def test_money_is_taken_and_goes_back(world: "World", stripe: FakeStripe) -> None:
    order = await world.placed_order()
    payment = (await world.pay(order.order_id)).json()
    assert payment.keys() == {"id", "order_id", "amount", "currency", "status"}
    assert (payment["status"], stripe.balance()) == ("captured", 1250)

    await world.rejected(order, payment["id"])

    await world.becomes(payment["id"], "refunded")
    assert stripe.balance() == 0


async def test_the_buyer_alone_is_told_how_to_confirm_and_only_until_he_has(
    world: "World", stripe: FakeStripe, events: Events
) -> None:
    order = await world.placed_order()
    answer = (await world.pay(order.order_id, CONFIRMED, key="k")).json()
    [shown] = (await world.listed())["items"]
    buyer, world.buyer = world.buyer, person("Mallory")
    others = await world.listed()
    refused = await world.pay(order.order_id, CONFIRMED, key="k")
    world.buyer = buyer

    assert answer["status"] == "processing"
    assert shown["client_secret"] == answer["client_secret"]
    assert others["items"] == []
    assert refused.status_code == 404
    [processing] = await events.published(PaymentProcessing)
    assert answer["client_secret"] not in processing.model_dump_json()

    stripe.authenticate(answer["client_secret"])

    captured = await world.becomes(answer["id"], "captured")
    assert "client_secret" not in captured
    assert stripe.balance() == 1250


async def test_a_buyer_who_fails_to_confirm_may_try_another_card(world: "World", stripe: FakeStripe) -> None:
    order = await world.placed_order()
    first = (await world.pay(order.order_id, CONFIRMED)).json()
    stripe.authenticate(first["client_secret"], well=False)

    failed = await world.becomes(first["id"], "failed")
    second = await world.pay(order.order_id)

    assert failed["reason"] == "payment_intent_authentication_failure"
    assert second.json()["status"] == "captured"
    assert stripe.balance() == 1250


async def test_a_webhook_call_that_stripe_did_not_sign_is_refused(world: "World", stripe: FakeStripe) -> None:
    event = {"type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1"}}}
    body, headers = stripe.signed(event, secret="whsec_of_somebody_else")

    answer = await world.http.post("/api/payments/webhook", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_signature")


def test_what_is_missing_or_in_the_wrong_place_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tokens: Tokens
) -> None:
    for name in ("MONGO_URL", "NATS_URL"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("JWT_PUBLIC_KEYS", tokens.jwk_set)
    monkeypatch.setenv("PAYMENT_GATEWAY", "stripe")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", SECRET_KEY)

    with pytest.raises(SystemExit):
        load(PaymentsSettings)

    said = capsys.readouterr().err
    assert "STRIPE_SECRET_KEY is missing" in said
    assert "STRIPE_WEBHOOK_SECRET is wrong" in said
    assert "whsec_" in said
    assert SECRET_KEY not in said
