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

from common.events import Currency, DisputeStatus, PaymentAuthorized, PaymentFailed, PaymentProcessing
from common.ids import new_id
from common.mongo.client import Database
from infra.servers.process import free_port
from payments.gateways.port import (
    Authorized,
    Captured,
    Charge,
    Declined,
    Dispute,
    Found,
    GatewayUnavailable,
    Processing,
    Refunds,
)
from payments.gateways.stripe import StripeGateway
from payments.status import PaymentStatus
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
async def gateway(stripe: FakeStripe, serve: "Serve", db: Database) -> AsyncIterator[StripeGateway]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with serve(stripe.app, port), StripeGateway.open(SECRET_KEY, WEBHOOK_SECRET, url, db) as gateway:
        yield gateway


async def captured(gateway: StripeGateway, charge: Charge) -> str:
    """The reference of the charge, once its money is here."""
    reference = (await gateway.charge(charge)).reference
    assert await gateway.capture(charge.payment_id, reference) == Captured(reference)
    return reference


async def charged_without_a_word(stripe: FakeStripe, gateway: StripeGateway) -> Charge:
    """A charge that was made, and whose key is answered with an error for ever."""
    charge = a_charge()
    stripe.troubles.append(Trouble(500, after_the_deed=True))
    with pytest.raises(GatewayUnavailable):
        await gateway.charge(charge)
    return charge


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

    assert not stripe.intents
    assert isinstance(await gateway.charge(charge), Authorized)
    assert len(stripe.intents) == 1


async def test_an_error_that_stripe_repeats_for_ever_is_looked_behind(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    charge = await charged_without_a_word(stripe, gateway)

    assert isinstance(await gateway.charge(charge), Authorized)
    assert len(stripe.intents) == 1


async def test_nobody_at_the_address_is_a_gateway_that_is_away(db: Database) -> None:
    async with StripeGateway.open(SECRET_KEY, WEBHOOK_SECRET, f"http://127.0.0.1:{free_port()}", db) as gateway:
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
    assert not stripe.intents or {i["status"] for i in stripe.intents.values()} == {"canceled"}


async def test_yen_have_no_cents_at_stripe_either(stripe: FakeStripe, gateway: StripeGateway) -> None:
    await gateway.charge(replace(a_charge(amount=500), currency=Currency.JPY))

    [intent] = stripe.intents.values()
    assert (intent["amount"], intent["currency"]) == (500, "jpy")


async def test_what_the_page_made_of_the_card_is_accepted(stripe: FakeStripe, gateway: StripeGateway) -> None:
    assert gateway.accepts("ctoken_card_visa")
    assert isinstance(await gateway.charge(a_charge("ctoken_card_visa")), Authorized)


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


async def test_a_failed_intent_that_was_captured_after_all_is_captured(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    waiting = await gateway.charge(a_charge(CONFIRMED))
    assert isinstance(waiting, Processing)
    secret = waiting.client_secret or ""
    stripe.authenticate(secret, well=False)

    def others_are_faster() -> None:
        stripe.confirm_again(secret)
        stripe.capture_by_hand(waiting.reference)

    stripe.before_cancelling = others_are_faster

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
    made = await gateway.charge(asked)
    stripe.kept.clear()
    [intent] = stripe.intents.values()
    forgotten = begun(timedelta(hours=25), asked)
    intent["metadata"]["payment_id"] = forgotten.payment_id

    assert await gateway.charge(forgotten) == made
    assert await gateway.charge(never_asked) == Declined("", "abandoned")
    assert await gateway.abandon(never_asked) == Declined("", "abandoned")
    assert await gateway.abandon(forgotten) == Declined(made.reference, "abandoned")
    assert len(stripe.intents) == 1


async def test_the_same_error_for_ever_does_not_keep_a_charge_from_its_end(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    charge = await charged_without_a_word(stripe, gateway)

    ended = await gateway.abandon(charge)

    assert isinstance(ended, Declined)
    assert stripe.intents[ended.reference]["status"] == "canceled"


async def test_an_authorization_that_has_lapsed_is_declined(stripe: FakeStripe, gateway: StripeGateway) -> None:
    first, second = a_charge(), a_charge()
    references = [(await gateway.charge(charge)).reference for charge in (first, second)]
    for reference in references:
        stripe.lapse(reference)

    found = await gateway.retrieve(references[0])

    assert found
    assert found.answer == Declined(references[0], "automatic")
    assert isinstance(await gateway.capture(second.payment_id, references[1]), Declined)


@pytest.mark.parametrize("after_the_deed", [True, False])
async def test_a_capture_and_a_refund_have_a_way_on_after_an_error_that_stripe_repeats_for_ever(
    stripe: FakeStripe, gateway: StripeGateway, after_the_deed: bool
) -> None:
    charge = a_charge()
    trouble = Trouble(500, after_the_deed=after_the_deed, in_its_place=not after_the_deed)
    reference = (await gateway.charge(charge)).reference
    stripe.troubles.append(trouble)
    with pytest.raises(GatewayUnavailable):
        await gateway.capture(charge.payment_id, reference)

    assert await gateway.capture(charge.payment_id, reference) == Captured(reference)

    stripe.troubles.append(trouble)
    with pytest.raises(GatewayUnavailable):
        await gateway.refund(charge.payment_id, reference)

    assert await gateway.refund(charge.payment_id, reference) == Refunds(returned=True, amount=900)
    assert stripe.balance() == 0
    assert len(stripe.refunds) == 1


async def test_a_refund_is_one_refund_even_when_its_key_is_forgotten(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    charge = a_charge()
    reference = await captured(gateway, charge)
    await gateway.refund(charge.payment_id, reference)
    stripe.kept.clear()

    assert await gateway.refund(charge.payment_id, reference) == Refunds(returned=True, amount=900)

    assert len(stripe.refunds) == 1


async def test_a_refund_that_fails_is_not_taken_for_one_and_the_next_attempt_is_another(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    charge = a_charge()
    reference = await captured(gateway, charge)
    stripe.refunds_become = "failed"
    failed = [await gateway.refund(charge.payment_id, reference) for _ in range(2)]
    stripe.refunds_become = "succeeded"

    returned = await gateway.refund(charge.payment_id, reference, attempt=1)

    assert failed == [Refunds(returned=False, failures=1, reason="unknown")] * 2
    assert returned == Refunds(returned=True, failures=1, reason="unknown", amount=900)
    assert len(stripe.refunds) == 2


async def test_part_of_the_money_sent_back_by_hand_is_not_taken_for_all(
    stripe: FakeStripe, gateway: StripeGateway
) -> None:
    charge = a_charge()
    reference = await captured(gateway, charge)

    stripe.refund_by_hand(reference, 400)
    found = await gateway.retrieve(reference)

    assert found == Found(charge.payment_id, Captured(reference), Refunds(amount=400))
    assert await gateway.refund(charge.payment_id, reference) == Refunds(returned=True, amount=900)
    assert stripe.balance() == 0


@pytest.mark.parametrize(
    ("status", "meant"),
    [
        ("needs_response", DisputeStatus.OPEN),
        ("under_review", DisputeStatus.OPEN),
        ("won", DisputeStatus.WON),
        ("lost", DisputeStatus.LOST),
        ("warning_needs_response", None),
        ("warning_closed", None),
        ("prevented", None),
    ],
)
async def test_a_dispute_counts_when_money_moves(
    stripe: FakeStripe, gateway: StripeGateway, status: str, meant: DisputeStatus | None
) -> None:
    reference = await captured(gateway, a_charge())
    dispute = stripe.dispute(reference, status)

    found = await gateway.retrieve(reference)

    assert found
    assert found.answer == Captured(reference)
    assert found.dispute == (Dispute(meant, "fraudulent", dispute["created"]) if meant else None)


async def test_every_webhook_call_about_money_names_its_intent(stripe: FakeStripe, gateway: StripeGateway) -> None:
    charge = a_charge()
    reference = await captured(gateway, charge)
    await gateway.refund(charge.payment_id, reference)
    stripe.fail_refund(reference)
    stripe.decide(stripe.dispute(reference), "won")

    named = {event["type"]: gateway.verify(*stripe.signed(event)) for event in stripe.news}

    assert named == dict.fromkeys(
        (
            "payment_intent.amount_capturable_updated",
            "payment_intent.succeeded",
            "charge.refunded",
            "refund.failed",
            "refund.updated",
            "charge.dispute.created",
            "charge.dispute.closed",
        ),
        reference,
    )


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
    event = {"type": "payment_intent.succeeded", "data": {"object": {"id": "pi_1", "object": "payment_intent"}}}
    body, headers = stripe.signed(event)
    newer = stripe.signed(event, secret="whsec_of_tomorrow")[1]["stripe-signature"].rpartition(",")[2]

    assert gateway.verify(body, {"stripe-signature": f"{headers['stripe-signature']},{newer}"}) == "pi_1"


async def test_a_call_that_others_have_signed_names_its_charge(
    localstripe: httpx.AsyncClient, serve: "Serve", db: Database
) -> None:
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
        async with StripeGateway.open(SECRET_KEY, WEBHOOK_SECRET, url, db) as gateway:
            reference = await captured(gateway, a_charge())
            await eventually(lambda: told(gateway, reference))
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

    assert (await workshop.payments.get(payment.id)).status is PaymentStatus.AUTHORIZED
    assert [i["metadata"]["payment_id"] for i in stripe.intents.values()] == [payment.id]
    assert len(await events.published(PaymentAuthorized)) == 1


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
    assert settled.status is (PaymentStatus.AUTHORIZED if well else PaymentStatus.FAILED)
    assert settled.client_secret is None
    assert len(await events.published(PaymentProcessing)) == 1
    assert len(await events.published(PaymentAuthorized if well else PaymentFailed)) == 1
