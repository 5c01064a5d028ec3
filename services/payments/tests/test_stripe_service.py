"""Payments with Stripe behind it, over HTTP: what buyers and operators see, and what they must not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import httpx
import pytest
import pytest_asyncio

from common.bus.provision import provision
from common.events import (
    OrderPlaced,
    PaymentAuthorized,
    PaymentDisputed,
    PaymentPartlyRefunded,
    PaymentProcessing,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundRetried,
)
from common.http.sessions import OPERATOR
from common.mongo.client import Document
from common.settings import load
from infra.servers.process import free_port
from payments.consumers import consumers
from payments.main import app
from payments.settings import PaymentsSettings
from services.payments.tests.stripe_fake import SECRET_KEY, WEBHOOK_SECRET, FakeStripe
from tests.support.bus import Events
from tests.support.sessions import Tokens, person
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve, World

OLA = person("Ola", OPERATOR)

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
    monkeypatch.setenv("STRIPE_LIST_SECONDS", "0.2")
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
    async with serve(app, settings.port) as http:
        yield world_of(http)


async def paid(world: "World", order: OrderPlaced, method: str = "pm_card_visa") -> Document:
    """The payment of an order that orders accepts while the buyer waits."""

    async def authorized() -> PaymentAuthorized | None:
        of_all = await world.events.published(PaymentAuthorized, 0)
        return next((event for event in of_all if event.order_id == order.order_id), None)

    asked = asyncio.create_task(world.pay(order.order_id, method))
    await world.accepted(order, (await eventually(authorized)).payment_id)
    payment: Document = (await asked).json()
    await world.becomes(payment["id"], "captured")
    return payment


async def refund_failed(world: "World", stripe: FakeStripe) -> Document:
    """A payment whose refund failed after it was said to be done."""
    order = await world.placed_order()
    payment = await paid(world, order)
    await world.refund_requested(order, payment["id"])
    await world.becomes(payment["id"], "refunded")
    stripe.fail_refund(stripe.reference_of(payment["id"]))
    return await world.becomes(payment["id"], "refund_failed")


async def operate(world: "World", path: str, body: object = None) -> httpx.Response:
    """A POST of an operator."""
    headers = world.tokens.headers(OLA)
    return await world.http.post(f"/api/payments/{path}", json=body, headers=headers)


async def trouble(world: "World", **query: object) -> Document:
    """What operators see of payments in trouble."""
    headers = world.tokens.headers(OLA)
    found: Document = (await world.http.get("/api/payments/trouble", params=query, headers=headers)).json()  # type: ignore[arg-type]
    return found


@pytest.mark.usefixtures("patient")
async def test_money_is_taken_when_orders_accepts_it_and_goes_back(world: "World", stripe: FakeStripe) -> None:
    order = await world.placed_order()
    payment = await paid(world, order)
    assert payment.keys() == {"id", "order_id", "amount", "currency", "status"}
    assert (payment["status"], stripe.balance()) == ("captured", 1250)

    await world.rejected(order, payment["id"])

    await world.becomes(payment["id"], "refunded")
    assert stripe.balance() == 0


async def test_what_orders_rejects_is_released_and_nothing_moves(world: "World", stripe: FakeStripe) -> None:
    order = await world.placed_order()
    payment = (await world.pay(order.order_id)).json()
    assert (payment["status"], stripe.balance()) == ("processing", 0)

    await world.rejected(order, payment["id"])

    released = await world.becomes(payment["id"], "released")
    assert (released["reason"], stripe.balance()) == ("sold_out", 0)
    assert {intent["status"] for intent in stripe.intents.values()} == {"canceled"}


async def test_a_refund_that_fails_later_is_said_and_an_operator_has_it_made_again(
    world: "World", stripe: FakeStripe, events: Events
) -> None:
    payment = await refund_failed(world, stripe)
    assert payment["reason"] == "expired_or_canceled_card"
    [shown] = (await trouble(world))["items"]
    assert (shown["id"], shown["status"]) == (payment["id"], "refund_failed")

    retried = await operate(world, f"{payment['id']}/refund/retry")
    await world.becomes(payment["id"], "refunded")
    again = await operate(world, f"{payment['id']}/refund/retry")

    assert (retried.status_code, again.status_code) == (202, 409)
    assert again.json()["code"] == "no_failed_refund"
    assert stripe.balance() == 0
    assert len(stripe.refunds) == 2
    assert (await trouble(world))["items"] == []
    assert len(await events.published(PaymentRefundFailed)) == 1
    assert [event.by for event in await events.published(PaymentRefundRetried)] == [OLA.email]
    assert len(await events.published(PaymentRefunded, 2)) == 2


async def test_an_operator_settles_a_failed_refund_by_hand_and_who_and_why_is_kept(
    world: "World", stripe: FakeStripe, events: Events
) -> None:
    payment = await refund_failed(world, stripe)

    nothing = await operate(world, f"{payment['id']}/refund/settled", {"reason": " "})
    settled = await operate(world, f"{payment['id']}/refund/settled", {"reason": "paid by bank transfer"})
    again = await operate(world, f"{payment['id']}/refund/settled", {"reason": "paid by bank transfer"})

    assert (nothing.status_code, settled.status_code, again.status_code) == (422, 200, 409)
    assert settled.json()["status"] == "refunded"
    last = (await events.published(PaymentRefunded, 2))[-1]
    assert (last.settled_by, last.settlement) == (OLA.email, "paid by bank transfer")
    assert last.reason == "requested_by_seller"
    assert len(stripe.refunds) == 1


@pytest.mark.parametrize(("decision", "status"), [("won", "captured"), ("lost", "disputed")])
async def test_while_a_dispute_is_open_and_when_it_is_lost_the_bank_has_the_money(
    world: "World", stripe: FakeStripe, events: Events, decision: str, status: str
) -> None:
    payment = await paid(world, await world.placed_order())
    dispute = stripe.dispute(stripe.reference_of(payment["id"]))
    await world.becomes(payment["id"], "disputed")
    [shown] = (await trouble(world))["items"]
    assert (shown["id"], shown["dispute"], shown["reason"]) == (payment["id"], "open", "fraudulent")

    stripe.decide(dispute, decision)

    both = await events.published(PaymentDisputed, 2)
    assert [event.dispute for event in both] == ["open", decision]
    await world.becomes(payment["id"], status)
    assert (await trouble(world))["items"] == []
    assert [found["dispute"] for found in (await trouble(world, lost=True))["items"]] == ["lost"] * (decision == "lost")


async def test_a_refund_of_a_disputed_payment_waits_until_the_dispute_is_won(
    world: "World", stripe: FakeStripe
) -> None:
    order = await world.placed_order()
    payment = await paid(world, order)
    dispute = stripe.dispute(stripe.reference_of(payment["id"]))
    await world.becomes(payment["id"], "disputed")
    await world.refund_requested(order, payment["id"])
    assert not stripe.refunds

    stripe.decide(dispute, "won")

    await world.becomes(payment["id"], "refunded")
    assert stripe.balance() == 0


async def test_a_refund_in_the_dashboard_is_a_refund(world: "World", stripe: FakeStripe, events: Events) -> None:
    payment = await paid(world, await world.placed_order())

    stripe.refund_by_hand(stripe.reference_of(payment["id"]))

    refunded = await world.becomes(payment["id"], "refunded")
    assert refunded["reason"] == "refunded_by_provider"
    assert len(await events.published(PaymentRefunded)) == 1


async def test_a_part_refunded_in_the_dashboard_is_told_once_and_the_seller_refunds_the_rest(
    world: "World", stripe: FakeStripe, events: Events
) -> None:
    order = await world.placed_order()
    payment = await paid(world, order)
    reference = stripe.reference_of(payment["id"])

    stripe.refund_by_hand(reference, 300)
    await events.published(PaymentPartlyRefunded)
    stripe.refund_by_hand(reference, 200)
    both = await events.published(PaymentPartlyRefunded, 2)

    assert [(part.refunded_before, part.refunded_amount) for part in both] == [(0, 300), (300, 500)]
    shown = await world.becomes(payment["id"], "captured")
    assert (shown["refunded_amount"], stripe.balance()) == (500, 750)
    assert (await trouble(world))["items"] == []

    await world.refund_requested(order, payment["id"])

    await world.becomes(payment["id"], "refunded")
    assert [refund["amount"] for refund in stripe.refunds.values()] == [300, 200, 750]
    assert len(await events.published(PaymentPartlyRefunded, 2)) == 2


async def test_when_the_rest_does_not_arrive_an_operator_sees_what_did_and_only_the_rest_is_refunded_again(
    world: "World", stripe: FakeStripe
) -> None:
    order = await world.placed_order()
    payment = await paid(world, order)
    reference = stripe.reference_of(payment["id"])
    stripe.refund_by_hand(reference, 300)
    await world.refund_requested(order, payment["id"])
    await world.becomes(payment["id"], "refunded")

    stripe.fail_refund(reference)
    await world.becomes(payment["id"], "refund_failed")
    [shown] = (await trouble(world))["items"]
    await operate(world, f"{payment['id']}/refund/retry")

    await world.becomes(payment["id"], "refunded")
    assert shown["refunded_amount"] == 300
    assert [refund["amount"] for refund in stripe.refunds.values()] == [300, 950, 950]
    assert stripe.balance() == 0


async def test_what_no_webhook_call_tells_is_found_in_the_lists(world: "World", stripe: FakeStripe) -> None:
    refunded, disputed = [await paid(world, await world.placed_order()) for _ in range(2)]
    stripe.webhook_url = None

    stripe.refund_by_hand(stripe.reference_of(refunded["id"]))
    stripe.dispute(stripe.reference_of(disputed["id"]))

    await world.becomes(refunded["id"], "refunded")
    await world.becomes(disputed["id"], "disputed")


async def test_trouble_is_for_operators_and_comes_in_pages_the_newest_first(world: "World", stripe: FakeStripe) -> None:
    ids = [(await refund_failed(world, stripe))["id"] for _ in range(3)]

    first = await trouble(world, limit=2)
    second = await trouble(world, limit=2, cursor=first["next"])
    calls = (("GET", "trouble"), ("POST", f"{ids[0]}/refund/retry"), ("POST", f"{ids[0]}/refund/settled"))
    for headers, code in (({}, 401), (world.tokens.headers(world.buyer), 403)):
        refused = [await world.http.request(how, f"/api/payments/{path}", headers=headers) for how, path in calls]
        assert [answer.status_code for answer in refused] == [code] * 3

    assert [payment["id"] for payment in first["items"] + second["items"]] == ids[::-1]
    assert second["next"] is None
    assert (await operate(world, f"{world.new_order().order_id}/refund/retry")).status_code == 404


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

    authorized = await world.becomes(answer["id"], "authorized")
    assert "client_secret" not in authorized
    assert stripe.balance() == 0


@pytest.mark.usefixtures("patient")
async def test_a_buyer_who_fails_to_confirm_may_try_another_card(world: "World", stripe: FakeStripe) -> None:
    order = await world.placed_order()
    first = (await world.pay(order.order_id, CONFIRMED)).json()
    stripe.authenticate(first["client_secret"], well=False)

    failed = await world.becomes(first["id"], "failed")
    second = await paid(world, order)

    assert failed["reason"] == "payment_intent_authentication_failure"
    assert second["status"] == "captured"
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
