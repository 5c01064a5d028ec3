"""What a buyer sees over HTTP."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from common.events import PaymentCaptured, PaymentFailed
from common.ids import new_id
from tests.support.sessions import person

if TYPE_CHECKING:
    from services.payments.tests.conftest import World


@pytest.mark.usefixtures("patient")
async def test_a_good_card_pays_at_once(world: "World") -> None:
    order = await world.placed_order(amount=1250)

    answer = await world.pay(order.order_id)

    assert answer.status_code == 201
    payment = answer.json()
    assert payment == {
        "id": payment["id"],
        "order_id": order.order_id,
        "amount": 1250,
        "currency": "EUR",
        "status": "captured",
    }
    [captured] = await world.events.published(PaymentCaptured)
    assert captured.model_dump(mode="json") == {
        "payment_id": payment["id"],
        "payment_version": 4,
        "order_id": order.order_id,
        "buyer_id": world.buyer.id,
        "amount": 1250,
        "currency": "EUR",
    }
    assert await world.money() == 1250


@pytest.mark.usefixtures("patient")
async def test_a_card_whose_capture_is_refused_is_declined(world: "World") -> None:
    order = await world.placed_order()

    declined = await world.pay(order.order_id, "pm_card_capture_fails")

    assert (declined.status_code, declined.json()["code"]) == (402, "card_declined")
    assert "capture_refused" in declined.json()["detail"]
    assert await world.money() == 0


@pytest.mark.usefixtures("patient")
async def test_units_that_somebody_else_has_are_not_paid(world: "World") -> None:
    order = await world.placed_order()
    world.sold_out.add(order.order_id)

    answers = [await world.pay(order.order_id, key="k") for _ in range(2)]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(409, "order_not_payable")] * 2
    [payment] = (await world.listed())["items"]
    released = await world.becomes(payment["id"], "released")
    assert released["reason"] == "sold_out"
    assert await world.money() == 0


async def test_while_orders_is_silent_a_payment_is_processing_and_nothing_moves(world: "World") -> None:
    order = await world.placed_order()
    world.silent = True

    answer = await world.pay(order.order_id)

    assert (answer.status_code, answer.json()["status"]) == (201, "processing")
    await world.becomes(answer.json()["id"], "authorized")
    assert await world.money() == 0
    world.silent = False
    await world.becomes(answer.json()["id"], "captured")


async def test_a_declined_card_moves_nothing_and_another_may_be_tried(world: "World") -> None:
    order = await world.placed_order()

    declined = await world.pay(order.order_id, "pm_card_declined", key="first")
    paid = await world.pay(order.order_id, "pm_card_visa", key="second")

    assert (declined.status_code, declined.json()["code"]) == (402, "card_declined")
    assert paid.status_code == 201
    [failed] = await world.events.published(PaymentFailed)
    assert failed.reason == "card_declined"
    await world.becomes(paid.json()["id"], "captured")
    assert await world.money() == 1250


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_declined", "pm_card_slow", "pm_card_lost"])
async def test_the_same_key_and_body_gives_the_same_answer_ever_after(world: "World", method: str) -> None:
    order = await world.placed_order()

    first = await world.pay(order.order_id, method, key="k")
    again = await world.pay(order.order_id, method, key="k")
    [payment] = (await world.listed())["items"]
    await world.becomes(payment["id"], "failed" if method == "pm_card_declined" else "captured")
    await world.paid(order, payment["id"])
    later = await world.pay(order.order_id, method, key="k")

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert (later.status_code, later.content) == (first.status_code, first.content)
    assert len((await world.listed())["items"]) == 1


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_declined", "pm_card_duplicate", "pm_card_lost"])
async def test_the_same_key_at_once_gives_everyone_the_one_answer(world: "World", method: str) -> None:
    order = await world.placed_order()

    answers = await asyncio.gather(*(world.pay(order.order_id, method, key="k") for _ in range(12)))

    assert len({(a.status_code, a.content) for a in answers}) == 1
    assert len((await world.listed())["items"]) == 1
    assert await world.db.sandbox_charges.count_documents({}) == 1


async def test_the_same_key_with_another_body_is_refused(world: "World") -> None:
    one, other = await world.placed_order(), await world.placed_order()
    paid = await world.pay(one.order_id, key="k")

    for answer in (
        await world.pay(other.order_id, key="k"),
        await world.pay(one.order_id, "pm_card_slow", key="k"),
        await world.pay(new_id()[::-1], key="k"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    await world.becomes(paid.json()["id"], "captured")
    assert await world.money() == 1250


async def test_keys_are_the_buyers_own(world: "World") -> None:
    order = await world.placed_order()
    await world.pay(order.order_id, key="k")
    world.buyer = person("Grace")
    others = await world.placed_order()

    assert (await world.pay(others.order_id, key="k")).json()["order_id"] == others.order_id


async def test_two_payments_at_once_for_one_order_are_one(world: "World") -> None:
    order = await world.placed_order()

    answers = await asyncio.gather(*(world.pay(order.order_id, key=f"k{n}") for n in range(8)))

    assert sorted(a.status_code for a in answers) == [201] + [409] * 7
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"order_not_payable"}
    [payment] = (await world.listed())["items"]
    await world.becomes(payment["id"], "captured")
    assert await world.money() == 1250


async def test_an_order_that_is_settled_or_over_takes_no_money(world: "World") -> None:
    cancelled, paid = await world.placed_order(), await world.placed_order()
    over = await world.placed_order(hold=timedelta())
    await world.cancelled(cancelled)
    await world.paid(paid, new_id())

    for order in (cancelled, paid, over):
        answer = await world.pay(order.order_id)
        assert (answer.status_code, answer.json()["code"]) == (409, "order_not_payable")
    assert await world.money() == 0


async def test_an_order_of_nobody_or_of_another_is_not_found(world: "World") -> None:
    order = await world.placed_order()

    for answer in (
        await world.pay("no such order"),
        await world.pay(order.order_id, buyer=person("Mallory")),
        await world.pay(order.order_id, key="k", buyer=person("Mallory")),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "order_not_found")


async def test_an_order_may_be_paid_before_payments_has_heard_of_it(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.ids.ARRIVAL_TIMEOUT", 30.0)
    order = world.new_order()
    paying = asyncio.create_task(world.pay(order.order_id))
    await world.listed()
    assert not paying.done()  # It waits: an order so young may be on its way.

    await world.events.deliver(order)

    assert (await paying).status_code == 201


async def test_an_order_that_a_replica_that_hangs_has_in_hand_is_paid(world: "World") -> None:
    order = await world.events.in_hand("payments", "copy_amount_due", world.new_order)

    assert (await world.pay(order.order_id)).status_code == 201


async def test_a_request_that_makes_no_sense_is_refused(world: "World") -> None:
    order = await world.placed_order()
    unknown = await world.pay(order.order_id, "pm_card_of_clubs")
    headers = world.tokens.headers(world.buyer)
    more = {"order_id": order.order_id, "payment_method": "pm_card_visa", "amount": 1}
    extra = await world.http.post("/api/payments", json=more, headers=headers)
    unsigned = await world.http.post("/api/payments", json=more)

    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_payment_method")
    assert (extra.status_code, extra.json()["code"]) == (422, "validation_failed")
    assert (unsigned.status_code, unsigned.json()["code"]) == (401, "not_signed_in")
    assert (await world.listed())["items"] == []


async def test_the_list_shows_the_callers_own_newest_first_in_pages(world: "World") -> None:
    orders = [await world.placed_order() for _ in range(3)]
    made = [(await world.pay(order.order_id)).json()["id"] for order in orders]

    first = await world.listed(limit=2)
    rest = await world.listed(limit=2, cursor=first["next"])

    assert [p["id"] for p in first["items"] + rest["items"]] == made[::-1]
    assert rest["next"] is None
    assert (await world.listed(limit=3))["next"] is None, "there are three"
    foreign = await world.http.get("/api/payments?cursor=zzz", headers=world.tokens.headers(world.buyer))
    assert (foreign.status_code, foreign.json()["errors"][0]["field"]) == (422, "cursor")
    assert [p["id"] for p in (await world.listed(order_id=orders[1].order_id))["items"]] == [made[1]]
    world.buyer = person("Grace")
    assert await world.listed() == {"items": [], "next": None}


async def test_the_list_says_why(world: "World") -> None:
    refused, sent_back = await world.placed_order(), await world.placed_order()
    await world.pay(refused.order_id, "pm_card_declined")
    payment = await world.captured(sent_back)
    await world.rejected(sent_back, payment["id"])
    await world.becomes(payment["id"], "refunded")

    shown = {p["order_id"]: (p["status"], p["reason"]) for p in (await world.listed())["items"]}
    assert shown[refused.order_id] == ("failed", "card_declined")
    assert shown[sent_back.order_id] == ("refunded", "sold_out")
