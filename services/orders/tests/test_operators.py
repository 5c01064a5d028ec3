"""What an operator may do with the orders of others."""

import time

import httpx
import pytest

from common.events import CancelReason, OrderCancelled, OrderRefundRequested
from tests.support.sessions import person

from .conftest import SELLER, World

OPERATOR = person("Ola", "operator")


async def test_an_operator_cancels_an_open_order_once_and_is_noted(
    orders: World, caplog: pytest.LogCaptureFixture
) -> None:
    order = await orders.placed(await orders.listed(), 2)
    caplog.set_level("INFO", logger="souk.security")

    answers = [await orders.cancel(order["id"], OPERATOR) for _ in range(2)]

    assert [(a.status_code, a.json()["status"], a.json()["cancel_reason"]) for a in answers] == [
        (200, "cancelled", "operator")
    ] * 2
    [told] = await orders.events.published(OrderCancelled)
    assert (told.reason, (await orders.stock(order["item_id"]))["taken"]) == (CancelReason.OPERATOR, 0)
    kept = await orders.order(order["id"])
    assert kept.get("lapsed_at") is None, "the buyer did not end it, so it does not count for their limits"
    noted = [(r.getMessage(), vars(r).get("user_id"), vars(r).get("detail")) for r in caplog.records]
    assert ("operator_acted", OPERATOR.id, f"cancelled order {order['id']}") in noted


@pytest.mark.parametrize(("price", "asked"), [(25_000, False), (25_001, True)])
async def test_an_operator_refunds_a_paid_order_once_and_much_money_needs_a_fresh_proof(
    orders: World, price: int, asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    order = await orders.placed(await orders.listed(price=price), 2)
    await orders.events.deliver(orders.captured(order, "payment"))
    caplog.set_level("INFO", logger="souk.security")

    async def refund(proved_at: float) -> httpx.Response:
        headers = orders.tokens.headers(OPERATOR, has_passkey=True, proved_at=int(proved_at))
        return await orders.http.post(f"/api/orders/{order['id']}/refund", headers=headers)

    unproved, late = await refund(0), await refund(time.time() - 301)
    assert (unproved.status_code, unproved.json()["code"]) == (403, "proof_needed")
    assert late.status_code == (403 if asked else 202)
    assert {(await refund(time.time())).status_code for _ in range(2)} == {202}

    assert len(await orders.events.published(OrderRefundRequested)) == 1
    assert f"refunded order {order['id']}" in [vars(r).get("detail") for r in caplog.records]


async def test_an_operator_does_not_refund_what_they_have_bought_themselves(orders: World) -> None:
    order = await orders.placed(await orders.listed(), buyer=OPERATOR)
    await orders.events.deliver(orders.captured(order, "payment"))

    answer = await orders.refund(order["id"], OPERATOR)

    assert (answer.status_code, answer.json()["code"]) == (403, "not_seller")


async def test_who_is_no_operator_any_more_or_never_was_acts_on_their_own_orders_only(orders: World) -> None:
    order = await orders.placed(await orders.listed())
    stranger = person("Eve", "seller")

    answers = [await orders.cancel(order["id"], stranger), await orders.refund(order["id"], stranger)]
    answers.append(await orders.cancel(order["id"], SELLER))

    assert [a.json()["code"] for a in answers] == ["order_not_found"] * 3
    assert (await orders.order(order["id"]))["status"] == "awaiting_payment"
