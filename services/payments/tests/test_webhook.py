"""The webhook, and the cards that use it, in a running service."""

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from common import leased_work
from common.clock import now
from common.events import PaymentCaptured
from common.ids import new_id
from payments.gateways.sandbox import Notice, signature
from payments.settings import PaymentsSettings
from tests.support.clock import Clock

if TYPE_CHECKING:
    from services.payments.tests.conftest import World


async def call(
    world: "World", settings: PaymentsSettings, body: bytes, *, at: float | None = None, secret: str | None = None
) -> httpx.Response:
    """POST to the webhook like the gateway does."""
    seconds = int(at or time.time())
    header = f"t={seconds},v1={signature(secret or settings.webhook_secret.get_secret_value(), seconds, body)}"
    return await world.http.post("/api/payments/webhook", content=body, headers={"Sandbox-Signature": header})


def about(reference: str) -> bytes:
    return Notice(id="evt_1", reference=reference).model_dump_json().encode()


@pytest.mark.parametrize("method", ["pm_card_slow", "pm_card_duplicate", "pm_card_lost", "pm_bank"])
async def test_a_payment_that_is_reported_later_is_captured_once(world: "World", method: str) -> None:
    order = await world.placed_order()

    answer = await world.pay(order.order_id, method)

    assert answer.status_code == 201
    await world.becomes(answer.json()["id"], "captured")
    await world.reported()
    assert len(await world.events.published(PaymentCaptured)) == 1
    assert await world.money() == 1250


@pytest.mark.parametrize("method", ["pm_card_late", "pm_bank_late"])
async def test_a_late_payment_is_captured_after_the_hold(world: "World", method: str) -> None:
    clock = Clock(now())
    with clock.shown(leased_work):
        order = await world.placed_order()
        answer = await world.pay(order.order_id, method)
        assert answer.json()["status"] == "processing"

        clock.now = order.expires_at + timedelta(seconds=3)
        await world.becomes(answer.json()["id"], "captured")

    [captured] = await world.events.published(PaymentCaptured)
    assert (captured.order_id, captured.amount) == (order.order_id, 1250)


async def test_a_call_that_nobody_signed_changes_nothing(world: "World", settings: PaymentsSettings) -> None:
    payment = (await world.pay((await world.placed_order()).order_id, "pm_card_slow")).json()
    body = about(f"ch_{payment['id']}")

    for answer in (
        await world.http.post("/api/payments/webhook", content=body),
        await world.http.post("/api/payments/webhook", content=body, headers={"Sandbox-Signature": "t=1,v1=2"}),
        await call(world, settings, body, secret="a guess, but a long one"),
        await call(world, settings, body, at=time.time() - 400),
    ):
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_signature")
        assert answer.headers["content-type"] == "application/problem+json"


async def test_a_call_only_says_where_to_look(world: "World", settings: PaymentsSettings) -> None:
    order = await world.placed_order()
    payment = (await world.pay(order.order_id, "pm_card_late")).json()
    body = b'{"id": "evt_1", "reference": "ch_%b", "status": "captured"}' % payment["id"].encode()

    answer = await call(world, settings, body)

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert (await world.payment(payment["id"]))["status"] == "processing"


async def test_the_same_call_again_and_again_is_one_capture(world: "World", settings: PaymentsSettings) -> None:
    order = await world.placed_order()
    payment = (await world.pay(order.order_id)).json()

    answers = await asyncio.gather(*(call(world, settings, about(f"ch_{payment['id']}")) for _ in range(10)))

    assert {a.status_code for a in answers} == {200}
    assert len(await world.events.published(PaymentCaptured)) == 1


async def test_a_call_about_something_else_is_answered_and_ignored(world: "World", settings: PaymentsSettings) -> None:
    for body in (about("ch_" + new_id()), b"{}", b"not json", b""):
        answer = await call(world, settings, body)
        assert (answer.status_code, answer.json()) == (200, {"status": "ignored"})
