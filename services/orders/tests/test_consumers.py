"""What others tell orders, twice, late and out of order."""

import asyncio
import time

import httpx
import pytest

from common.events import (
    DisputeStatus,
    HoldElapsed,
    ItemListed,
    ItemWithdrawn,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderRefundRequested,
    StockChanged,
    UserErased,
)
from common.ids import new_id
from tests.support.sessions import person
from tests.support.waiting import eventually

from .conftest import SELLER, World


async def test_an_unpaid_order_is_released_once_however_often_the_deadline_is_delivered(orders: World) -> None:
    item = await orders.listed(quantity=5)
    order = await orders.placed(item, 2)

    await orders.run_out(order["id"])
    await orders.run_out(order["id"])  # JetStream is at-least-once; so are we.

    assert (await orders.order(order["id"]))["status"] == "expired"
    assert (await orders.stock(item))["taken"] == 0
    [cancelled] = await orders.events.published(OrderCancelled)
    assert cancelled.reason == "expired"


async def test_nothing_expires_early_even_if_the_clocks_differ(orders: World) -> None:
    order = await orders.placed(await orders.listed())
    elapsed = asyncio.create_task(orders.events.deliver(HoldElapsed(order_id=order["id"])))

    async def handed_back() -> bool:
        return (await orders.events.js.stream_info("TRIES")).state.messages > 0

    await eventually(handed_back)
    assert (await orders.order(order["id"]))["status"] == "awaiting_payment"
    elapsed.cancel()


async def test_a_payment_in_time_makes_the_order_paid_once(orders: World) -> None:
    order = await orders.placed(await orders.listed())
    captured = orders.captured(order, "payment")

    await asyncio.gather(*(orders.events.deliver(captured) for _ in range(3)))
    await orders.run_out(order["id"])

    assert (await orders.order(order["id"]))["status"] == "paid"
    assert [paid.payment_id for paid in await orders.events.published(OrderPaid)] == ["payment"]


async def test_an_accepted_payment_keeps_the_units_until_it_is_captured(orders: World) -> None:
    item, buyer = await orders.listed(quantity=1), person()
    order = await orders.placed(item, buyer=buyer)

    await asyncio.gather(*(orders.events.deliver(orders.authorized(order, "payment")) for _ in range(3)))
    await orders.run_out(order["id"])
    refused = await orders.cancel(order["id"], buyer)

    kept = await orders.order(order["id"])
    assert (kept["status"], kept["accepted_payment"]) == ("awaiting_payment", "payment")
    assert (refused.status_code, refused.json()["code"]) == (409, "order_already_paid")
    assert [accepted.payment_id for accepted in await orders.events.published(OrderPaymentAccepted)] == ["payment"]

    await orders.events.deliver(orders.captured(order, "payment"))
    assert (await orders.order(order["id"]))["status"] == "paid"
    assert (await orders.stock(item))["taken"] == 1


async def test_a_capture_that_fails_gives_the_units_back_with_a_reason(orders: World) -> None:
    item, buyer = await orders.listed(quantity=1), person()
    order = await orders.placed(item, buyer=buyer)
    await orders.events.deliver(orders.authorized(order, "payment"))

    await orders.events.deliver(orders.failed(order, "another", "card_declined"))
    assert (await orders.order(order["id"]))["status"] == "awaiting_payment"
    for _ in range(2):
        await orders.events.deliver(orders.failed(order, "payment", "capture_refused"))

    shown = (await orders.get(f"/{order['id']}", buyer)).json()
    assert (shown["status"], shown["cancel_reason"]) == ("cancelled", "payment_failed")
    assert shown["payment_failure"] == "capture_refused"
    [cancelled] = await orders.events.published(OrderCancelled)
    assert cancelled.reason == "payment_failed"
    assert (await orders.stock(item))["taken"] == 0


async def test_a_late_authorization_takes_the_units_again_while_they_are_free(orders: World) -> None:
    item = await orders.listed(quantity=1)
    order = await orders.placed(item)
    await orders.run_out(order["id"])

    await orders.events.deliver(orders.authorized(order, "payment"))
    await orders.run_out(order["id"])

    kept = await orders.order(order["id"])
    assert (kept["status"], kept["accepted_payment"]) == ("awaiting_payment", "payment")
    assert (await orders.place(item)).json()["code"] == "sold_out"
    await orders.events.deliver(orders.captured(order, "payment"))
    kept = await orders.order(order["id"])
    assert (kept["status"], kept["late_payment"]) == ("paid", "accepted")


async def test_a_late_authorization_is_rejected_once_when_somebody_else_was_faster(orders: World) -> None:
    item = await orders.listed(quantity=1)
    order = await orders.placed(item)
    await orders.run_out(order["id"])
    await orders.placed(item)

    for _ in range(3):
        await orders.events.deliver(orders.authorized(order, "payment"))

    [rejected] = await orders.events.published(OrderPaymentRejected)
    assert (rejected.payment_id, rejected.reason) == ("payment", "sold_out")
    assert (await orders.order(order["id"]))["status"] == "expired"


async def test_a_failed_refund_is_shown_until_the_money_is_back(orders: World) -> None:
    buyer = person()
    order = await orders.placed(await orders.listed(), buyer=buyer)
    for event in (orders.captured(order, "p"), orders.refunded(order, "p"), orders.refund_failed(order, "p")):
        await orders.events.deliver(event)
    shown = (await orders.get(f"/{order['id']}", buyer)).json()
    assert (shown["status"], shown["refund_failure"]) == ("refunded", "account_closed")

    await orders.events.deliver(orders.refunded(order, "p"))

    assert (await orders.get(f"/{order['id']}", buyer)).json()["refund_failure"] is None


async def test_a_failed_refund_is_shown_although_the_news_of_the_money_comes_after_it(orders: World) -> None:
    buyer = person()
    order = await orders.placed(await orders.listed(), buyer=buyer)

    for event in (orders.refund_failed(order, "p"), orders.captured(order, "p")):
        await orders.events.deliver(event)

    shown = (await orders.get(f"/{order['id']}", buyer)).json()
    assert (shown["status"], shown["refund_failure"]) == ("paid", "account_closed")


async def test_a_dispute_is_shown_although_the_news_of_the_money_comes_after_it(orders: World) -> None:
    buyer = person()
    order = await orders.placed(await orders.listed(), buyer=buyer)

    for event in (orders.disputed(order, "p", DisputeStatus.LOST), orders.captured(order, "p")):
        await orders.events.deliver(event)

    shown = (await orders.get(f"/{order['id']}", buyer)).json()
    assert (shown["status"], shown["dispute"]) == ("paid", "lost")


async def test_late_money_finishes_the_order_while_stock_is_free(orders: World) -> None:
    item = await orders.listed(quantity=1)
    order = await orders.placed(item)
    await orders.run_out(order["id"])

    await orders.events.deliver(orders.captured(order, "payment"))

    kept = await orders.order(order["id"])
    assert (kept["status"], kept["late_payment"]) == ("paid", "accepted")
    assert (await orders.stock(item))["taken"] == 1


async def test_late_money_goes_back_once_when_somebody_else_was_faster(orders: World) -> None:
    item = await orders.listed(quantity=1)
    order = await orders.placed(item)
    await orders.run_out(order["id"])
    await orders.placed(item)

    for _ in range(3):
        await orders.events.deliver(orders.captured(order, "payment"))

    kept = await orders.order(order["id"])
    assert (kept["status"], kept["late_payment"]) == ("expired", "rejected")
    [rejected] = await orders.events.published(OrderPaymentRejected)
    assert (rejected.payment_id, rejected.reason) == ("payment", "sold_out")
    await orders.events.deliver(orders.refunded(order, "payment"))
    assert (await orders.order(order["id"]))["status"] == "expired"


@pytest.mark.parametrize(("price", "asked"), [(25_000, False), (25_001, True)])
async def test_a_large_refund_needs_a_fresh_proof_of_a_seller_who_has_a_passkey(
    orders: World, price: int, asked: bool
) -> None:
    order = await orders.placed(await orders.listed(price=price), 2)
    await orders.events.deliver(orders.captured(order, "payment"))

    async def refund(proved_at: float) -> httpx.Response:
        headers = orders.tokens.headers(SELLER, has_passkey=True, proved_at=int(proved_at))
        return await orders.http.post(f"/api/orders/{order['id']}/refund", headers=headers)

    late = await refund(time.time() - 301)
    assert (late.status_code, late.json().get("code")) == ((403, "proof_needed") if asked else (202, None))
    assert (await orders.order(order["id"]))["refund_requested"] is not asked
    assert (await refund(time.time())).status_code == 202


async def test_a_refund_goes_round_and_the_units_are_for_sale_again(orders: World) -> None:
    item = await orders.listed(quantity=2)
    buyer = person()
    order = await orders.placed(item, 2, buyer)
    too_soon = await orders.refund(order["id"], SELLER)
    assert (too_soon.status_code, too_soon.json()["code"]) == (409, "order_not_paid")
    await orders.events.deliver(orders.captured(order, "payment"))
    assert (await orders.cancel(order["id"], buyer)).json()["code"] == "order_already_paid"
    assert (await orders.refund(order["id"], buyer)).json()["code"] == "not_seller"

    answers = await asyncio.gather(*(orders.refund(order["id"], SELLER) for _ in range(3)))
    assert {(a.status_code, a.json()["refund_requested"]) for a in answers} == {(202, True)}
    [requested] = await orders.events.published(OrderRefundRequested)
    assert requested.payment_id == "payment"

    await orders.events.deliver(orders.refunded(order, "payment"))
    await orders.events.deliver(orders.refunded(order, "payment"))
    assert (await orders.order(order["id"]))["status"] == "refunded"
    assert (await orders.stock(item))["taken"] == 0


@pytest.mark.parametrize("before", ["awaiting payment", "accepted", "expired", "sold out"])
async def test_money_that_came_and_went_leaves_the_order_refunded_whichever_news_is_first(
    orders: World, before: str
) -> None:
    item = await orders.listed(quantity=1)
    order = await orders.placed(item)
    if before == "accepted":
        await orders.events.deliver(orders.authorized(order, "payment"))
    elif before != "awaiting payment":
        await orders.run_out(order["id"])
    if before == "sold out":
        await orders.placed(item)

    await orders.events.deliver(orders.refunded(order, "payment"))
    await orders.events.deliver(orders.captured(order, "payment"))

    sold_out = before == "sold out"
    assert (await orders.order(order["id"]))["status"] == ("expired" if sold_out else "refunded")
    assert (await orders.stock(item))["taken"] == (1 if sold_out else 0)
    paid = await orders.events.published(OrderPaid, count=0 if sold_out else 1)
    rejected = await orders.events.published(OrderPaymentRejected, count=1 if sold_out else 0)
    assert (len(paid), len(rejected)) == ((0, 1) if sold_out else (1, 0))


async def test_a_declined_card_is_told_and_the_hold_goes_on(orders: World) -> None:
    buyer = person()
    order = await orders.placed(await orders.listed(), buyer=buyer)

    await orders.events.deliver(orders.failed(order, "p1", "card_declined"))
    shown = (await orders.get(f"/{order['id']}", buyer)).json()
    assert (shown["status"], shown["payment_failure"]) == ("awaiting_payment", "card_declined")

    await orders.events.deliver(orders.captured(order, "p2"))
    shown = (await orders.get(f"/{order['id']}", buyer)).json()
    assert (shown["status"], shown["payment_failure"]) == ("paid", None)


async def test_stock_follows_the_newest_statement_in_whatever_order_it_comes(orders: World) -> None:
    item = new_id()
    await orders.events.deliver(orders.item(ItemWithdrawn, item, 3, quantity=7))
    await orders.events.deliver(orders.item(ItemListed, item, 1, quantity=5))
    await orders.change(item, 2, quantity=6)

    stock = await orders.stock(item)
    assert (stock["offered"], stock["status"], stock["item_version"]) == (7, "withdrawn", 3)
    assert [c.available for c in await orders.events.published(StockChanged)] == [0]


async def test_every_version_that_the_stock_follows_is_told(orders: World) -> None:
    item = await orders.listed(quantity=5)

    await orders.change(item, 2, quantity=5, price=999)
    await orders.events.deliver(orders.item(ItemWithdrawn, item, 4))
    await orders.change(item, 3, quantity=9)

    changes = await orders.events.published(StockChanged, 3)
    assert [(c.stock_version, c.item_version) for c in changes] == [(1, 1), (2, 2), (3, 4)]


async def test_an_edit_of_the_quantity_changes_what_is_available(orders: World) -> None:
    item = await orders.listed(quantity=5)
    await orders.placed(item, 4)

    await orders.change(item, 2, quantity=10)
    await orders.change(item, 3, quantity=2)

    assert [c.available for c in await orders.events.published(StockChanged, 4)] == [5, 1, 6, 0]


async def test_an_erased_buyer_is_forgotten_and_holds_no_longer(orders: World) -> None:
    item = await orders.listed(quantity=9)
    bea, bo = person("Bea"), person("Bo")
    held, paying, paid = [await orders.placed(item, buyer=bea) for _ in range(3)]
    others = await orders.placed(item, buyer=bo)
    await orders.events.deliver(orders.captured(paid, "p1"))
    await orders.events.deliver(orders.authorized(paying, "p2"))
    erased = UserErased(user_id=bea.id, account_version=2)

    await orders.events.deliver(erased)
    await orders.events.deliver(erased)

    found = [await orders.order(one["id"]) for one in (held, paying, paid, others)]
    assert [order["status"] for order in found] == ["cancelled", "awaiting_payment", "paid", "awaiting_payment"]
    assert [order.get("buyer_name") for order in found] == [None, None, None, "Bo"]
    assert {order["buyer_id"] for order in found} == {bea.id, bo.id}
    await orders.events.deliver(orders.captured(paying, "p2"))  # What is in flight ends under the pseudonym.
    order = await orders.order(paying["id"])
    assert (order["status"], order.get("buyer_name")) == ("paid", None)
    sales = (await orders.get("/sales", SELLER)).json()["items"]
    assert {sale["buyer_name"] for sale in sales} == {None, "Bo"}
