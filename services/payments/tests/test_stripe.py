"""What each of Stripe's answers, and each of its silences, means for the money. Against a small Stripe of ours."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request

from common.events import Currency, PaymentCaptured, PaymentFailed, PaymentProcessing
from common.ids import new_id
from infra.servers.process import free_port
from payments.domain import PaymentStatus
from payments.gateways.port import (
    Captured,
    Charge,
    Declined,
    Found,
    GatewayRefused,
    GatewayUnavailable,
    Processing,
)
from payments.gateways.stripe import StripeGateway
from services.payments.tests.localstripe import localstripe, localstripe_for
from services.payments.tests.stripe_fake import SECRET_KEY, WEBHOOK_SECRET, FakeStripe, Trouble
from tests.support.bus import Events
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from services.payments.tests.conftest import Serve, Workshop

__all__ = ["localstripe"]  # a fixture

VISA, CONFIRMED = "pm_card_visa", "pm_card_authenticationRequired"


@pytest.fixture
def stripe() -> FakeStripe:
    return FakeStripe()


@pytest_asyncio.fixture
async def gateway(stripe: FakeStripe, serve: "Serve") -> AsyncIterator[StripeGateway]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with serve(stripe.app, port), StripeGateway.open(SECRET_KEY, WEBHOOK_SECRET, url) as gateway:
        yield gateway


def a_charge(method: str = VISA, *, hold: timedelta = timedelta(minutes=15), amount: int = 900) -> Charge:
    return Charge(new_id(), new_id(), amount, Currency.EUR, method, datetime.now(UTC) + hold)


def begun(ago: timedelta, charge: Charge) -> Charge:
    """The charge, with an id minted some time ago."""
    milliseconds = int((datetime.now(UTC) - ago).timestamp() * 1000)
    return replace(charge, payment_id=UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | 42).hex)


@pytest.mark.parametrize(
    "trouble",
    [Trouble(429, "rate_limit"), Trouble(409, "idempotency_key_in_use"), Trouble(503), Trouble(401), Trouble(403)],
)
async def test_what_did_not_happen_is_not_known_until_the_same_call_succeeds(
    stripe: FakeStripe, gateway: StripeGateway, trouble: Trouble
) -> None:
    charge = a_charge()
    stripe.troubles.append(trouble)

    with pytest.raises(GatewayUnavailable):
        await gateway.charge(charge)

    assert stripe.balance() == 0
    assert isinstance(await gateway.charge(charge), Captured)
    assert stripe.balance() == 900


async def test_an_error_that_stripe_repeats_for_ever_is_looked_behind(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    charge = a_charge()
    stripe.troubles.append(Trouble(500, after_the_deed=True))
    with pytest.raises(GatewayUnavailable):
        await gateway.charge(charge)

    assert isinstance(await gateway.charge(charge), Captured)
    assert stripe.balance() == 900


async def test_nobody_at_the_address_is_a_gateway_that_is_away() -> None:
    async with StripeGateway.open(SECRET_KEY, WEBHOOK_SECRET, f"http://127.0.0.1:{free_port()}") as gateway:
        with pytest.raises(GatewayUnavailable):
            await gateway.charge(a_charge())


@pytest.mark.parametrize(
    ("charge", "reason"),
    [(a_charge("pm_of_nobody"), "resource_missing"), (a_charge(amount=49), "amount_too_small")],
    ids=["method", "amount"],
)
async def test_a_charge_that_stripe_finds_fault_with_is_declined(
    stripe: FakeStripe, gateway: StripeGateway, charge: Charge, reason: str
) -> None:
    assert await gateway.charge(charge) == Declined("", reason)
    assert stripe.balance() == 0


async def test_yen_have_no_cents_at_stripe_either(stripe: FakeStripe, gateway: StripeGateway) -> None:
    await gateway.charge(replace(a_charge(amount=500), currency=Currency.JPY))

    [intent] = stripe.intents.values()
    assert (intent["amount"], intent["currency"]) == (500, "jpy")


async def test_what_the_page_made_of_the_card_is_accepted(stripe: FakeStripe, gateway: StripeGateway) -> None:
    assert gateway.accepts("ctoken_card_visa")
    assert isinstance(await gateway.charge(a_charge("ctoken_card_visa")), Captured)


async def test_a_failed_intent_is_declined_only_when_nobody_can_pay_it_any_more(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    declined = await gateway.charge(a_charge("pm_card_visa_chargeDeclined"))
    waiting = await gateway.charge(a_charge(CONFIRMED))
    assert isinstance(waiting, Processing)
    stripe.authenticate(waiting.client_secret or "", well=False)

    found = await gateway.retrieve(waiting.reference)

    assert found
    assert found.answer == Declined(waiting.reference, "payment_intent_authentication_failure")
    assert {stripe.intents[r]["status"] for r in (declined.reference, waiting.reference)} == {"canceled"}


async def test_a_failed_intent_that_was_paid_after_all_is_captured(stripe: FakeStripe, gateway: StripeGateway) -> None:
    waiting = await gateway.charge(a_charge(CONFIRMED))
    assert isinstance(waiting, Processing)
    secret = waiting.client_secret or ""
    stripe.authenticate(secret, well=False)
    stripe.before_cancelling = lambda: stripe.confirm_again(secret)  # The buyer has been faster than we.

    found = await gateway.retrieve(waiting.reference)

    assert found
    assert found.answer == Captured(waiting.reference)
    assert stripe.balance() == 900


async def test_whoever_does_not_confirm_until_the_hold_is_long_over_pays_nothing(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    in_time, late = a_charge(CONFIRMED, hold=timedelta(minutes=-4)), a_charge(CONFIRMED, hold=timedelta(minutes=-6))
    waiting = await gateway.charge(in_time)
    assert isinstance(waiting, Processing)
    given_up = await gateway.charge(late)

    assert await gateway.retrieve(waiting.reference) == Found(in_time.payment_id, waiting)
    assert waiting.client_secret
    assert given_up == Declined(given_up.reference, "abandoned")
    assert stripe.intents[given_up.reference]["status"] == "canceled"


async def test_the_secret_of_an_intent_is_not_written_down_by_accident(gateway: StripeGateway) -> None:
    waiting = await gateway.charge(a_charge(CONFIRMED))

    assert isinstance(waiting, Processing)
    assert (waiting.client_secret or "") not in repr(waiting)


async def test_a_key_that_stripe_may_have_forgotten_is_not_used_again(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    asked, never_asked = (begun(timedelta(hours=h), a_charge()) for h in (22, 24))
    taken = await gateway.charge(asked)
    stripe.kept.clear()
    [intent] = stripe.intents.values()
    forgotten = begun(timedelta(hours=25), asked)
    intent["metadata"]["payment_id"] = forgotten.payment_id

    assert await gateway.charge(forgotten) == taken
    assert await gateway.charge(never_asked) == Declined("", "abandoned")
    assert stripe.balance() == 900


async def test_a_refund_is_one_refund_even_when_its_key_is_forgotten(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    charge = a_charge()
    answer = await gateway.charge(charge)
    await gateway.refund(charge.payment_id, answer.reference)
    stripe.kept.clear()

    await gateway.refund(charge.payment_id, answer.reference)

    assert len(stripe.refunded) == 1


async def test_a_refund_that_fails_is_not_taken_for_one(stripe: FakeStripe, gateway: StripeGateway) -> None:
    charge = a_charge()
    answer = await gateway.charge(charge)
    stripe.refunds_become = "failed"

    with pytest.raises(GatewayRefused):
        await gateway.refund(charge.payment_id, answer.reference)


async def test_a_payment_of_somebody_else_in_the_same_account_is_not_ours(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    answer = await gateway.charge(a_charge())
    stripe.intents[answer.reference]["metadata"].clear()

    assert await gateway.retrieve(answer.reference) is None


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"type": 1}', json.dumps({"type": "payout.paid", "data": {"object": {"id": "po_1"}}}).encode()],
)
async def test_a_call_about_something_else_is_about_no_charge(
    stripe: FakeStripe, gateway: StripeGateway, body: bytes
) -> None:
    assert gateway.verify(body, stripe.signature_of(body)) is None


async def test_while_the_secret_is_rolled_a_call_has_two_signatures(stripe: FakeStripe, gateway: StripeGateway) -> None:
    event = {"type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1"}}}
    body, headers = stripe.signed(event)
    newer = stripe.signed(event, secret="whsec_of_tomorrow")[1]["stripe-signature"].rpartition(",")[2]

    assert gateway.verify(body, {"stripe-signature": f"{headers['stripe-signature']},{newer}"}) == "pi_1"


async def test_a_call_that_others_have_signed_names_its_charge(localstripe: httpx.AsyncClient, serve: "Serve") -> None:
    heard: list[tuple[bytes, Mapping[str, str]]] = []
    port, listener = free_port(), FastAPI()

    @listener.post("/")
    async def hear(request: Request) -> None:
        heard.append((await request.body(), request.headers))

    async def told(gateway: StripeGateway, reference: str) -> bool:
        return reference in [gateway.verify(*call) for call in heard]

    async with serve(listener, port), localstripe_for(localstripe, serve) as url:
        hook = {"url": f"http://127.0.0.1:{port}/", "secret": WEBHOOK_SECRET}
        await localstripe.post("/_config/webhooks/ours", json=hook)
        async with StripeGateway.open(SECRET_KEY, WEBHOOK_SECRET, url) as gateway:
            answer = await gateway.charge(a_charge())
            await eventually(lambda: told(gateway, answer.reference))
        await localstripe.delete("/_config/data")


@pytest.mark.parametrize("asked", [False, True])
async def test_whoever_dies_around_the_call_is_followed_by_one_who_uses_the_same_key(
    workshop: "Workshop", stripe: FakeStripe, gateway: StripeGateway, events: Events, asked: bool
) -> None:
    payment = await workshop.intent(VISA)
    if asked:
        charge = Charge(payment.id, payment.order_id, payment.amount, payment.currency, VISA, payment.hold_ends_at)
        await gateway.charge(charge)

    await asyncio.gather(*(workshop.cashier(gateway).settle(payment.id) for _ in range(3)))

    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.CAPTURED
    assert [i["metadata"]["payment_id"] for i in stripe.intents.values()] == [payment.id]
    assert len(await events.published(PaymentCaptured)) == 1


@pytest.mark.parametrize("well", [True, False])
async def test_webhook_calls_may_come_late_twice_and_in_any_order(
    workshop: "Workshop", stripe: FakeStripe, gateway: StripeGateway, events: Events, well: bool
) -> None:
    due, cashier = await workshop.due(), workshop.cashier(gateway)
    payment = await cashier.pay(due.id, CONFIRMED, due.buyer_id, None)
    assert payment.client_secret
    stripe.authenticate(payment.client_secret, well=well)

    for event in (*reversed(stripe.news), *stripe.news):
        assert await cashier.receive_webhook(*stripe.signed(event))

    settled = await workshop.payments.get(payment.id)
    assert settled.status is (PaymentStatus.CAPTURED if well else PaymentStatus.FAILED)
    assert settled.client_secret is None
    assert len(await events.published(PaymentProcessing)) == 1
    assert len(await events.published(PaymentCaptured if well else PaymentFailed)) == 1
