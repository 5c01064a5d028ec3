"""Buying and selling through the gateway, from sign-up to refund."""

import asyncio
import json
from collections import Counter

import pytest
import redis.asyncio

from infra.local.stack.stack import Stack
from tests.support.people import People
from tests.support.shopping import becomes, leaves, money, ok, order, pay, place, sell
from tests.support.stacks import events_of
from tests.support.waiting import eventually


async def test_a_sale_from_sign_up_to_refund(people: People) -> None:
    seller, buyer = await people.signed_up("Sid"), await people.signed_up("Bea")
    item = await sell(seller, 5, title="Vivaldi by candlelight")

    found = ok(await buyer.http.get("/api/items", params={"q": "candlelight vivaldi"}))["items"]
    assert [i["id"] for i in found] == [item]
    await eventually(lambda: named(people, item, "Sid"))

    placed = await place(buyer, item, 2)
    await leaves(buyer, item, 3)
    await pay(buyer, placed["id"])
    paid = await becomes(buyer, placed["id"], "paid")
    assert (paid["total"], paid["currency"]) == (9000, "EUR")
    await money(buyer, placed["id"], "captured")

    [sale] = ok(await seller.http.get("/api/orders/sales"))["items"]
    assert (sale["id"], sale["buyer_name"]) == (placed["id"], "Bea")
    ok(await seller.http.post(f"/api/orders/{placed['id']}/refund"), 202)
    await becomes(buyer, placed["id"], "refunded")
    await money(buyer, placed["id"], "refunded")
    await leaves(buyer, item, 5)


async def named(people: People, item: str, name: str) -> bool:
    anybody = await people.anybody()
    return bool(ok(await anybody.get(f"/api/items/{item}"))["seller_name"] == name)


async def test_what_is_not_paid_goes_back_on_sale(hasty_people: People) -> None:
    seller, buyer = await hasty_people.new("Sid"), await hasty_people.new("Bea")
    item = await sell(seller, 5)

    placed = await place(buyer, item, 2)
    await leaves(buyer, item, 3)

    expired = await becomes(buyer, placed["id"], "expired")
    assert expired["cancel_reason"] == "expired"
    await leaves(buyer, item, 5)


@pytest.mark.prove
async def test_holds_end_on_time_even_if_redis_is_emptied(hasty_people: People, hasty_stack: Stack) -> None:
    seller, buyer = await hasty_people.new("Sid"), await hasty_people.new("Bea")
    item = await sell(seller, 10)
    held = [await place(buyer, item) for _ in range(10)]

    async with redis.asyncio.from_url(hasty_stack.redis_url) as client:
        await client.flushall()

    for one in held:
        await becomes(buyer, one["id"], "expired")
    await leaves(buyer, item, 10)


async def test_an_edit_shows_and_a_withdrawn_item_takes_no_orders(people: People) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    item = await sell(seller, 2)
    placed = await place(buyer, item)

    ok(await seller.http.patch(f"/api/items/{item}", json={"quantity": 7, "price": 9900}))
    await leaves(buyer, item, 6)
    assert (await order(buyer, placed["id"]))["unit_price"] == 4500

    ok(await seller.http.delete(f"/api/items/{item}"))

    async def closed() -> bool:
        answer = await buyer.http.post("/api/orders", json={"item_id": item})
        return answer.status_code == 409 and answer.json()["code"] == "item_withdrawn"

    await eventually(closed)
    await pay(buyer, placed["id"])
    await becomes(buyer, placed["id"], "paid")


async def test_two_hundred_want_fifty(people: People) -> None:
    seller = await people.new("Sid")
    herd = [await people.new(f"B{n}") for n in range(200)]
    item = await sell(seller, 50)
    first = await place(herd[0], item)  # Orders knows the item.
    ok(await herd[0].http.delete(f"/api/orders/{first['id']}"))

    answers = await asyncio.gather(*(b.http.post("/api/orders", json={"item_id": item}) for b in herd))

    counted = Counter((a.status_code, a.json().get("code")) for a in answers)
    assert counted == {(201, None): 50, (409, "sold_out"): 150}
    await leaves(seller, item, 0)
    held = [(buyer, answer.json()["id"]) for buyer, answer in zip(herd, answers, strict=True) if answer.is_success]
    for cancelled in await asyncio.gather(*(buyer.http.delete(f"/api/orders/{order_id}") for buyer, order_id in held)):
        ok(cancelled)
    await leaves(seller, item, 50)


async def test_a_message_that_cannot_be_read_does_not_stop_those_behind_it(people: People, stack: Stack) -> None:
    seller, buyer = await people.new("Sid"), await people.new("Bea")
    item = await sell(seller, 1)
    placed = await place(buyer, item)
    async with events_of(stack) as seen:
        await seen.deliver_raw("payments.captured", b'{"order_id": ')
        await pay(buyer, placed["id"])

        await becomes(buyer, placed["id"], "paid")
        [letter] = await seen.dead_letters()
    assert letter.data == b'{"order_id": '
    kept = {name: value for name, value in letter.headers.items() if name.startswith("Souk-")}
    assert kept["Souk-Subject"] == "payments.captured"
    assert kept["Souk-Consumer"] == "orders-finish_paid_order"
    assert kept["Souk-Deliveries"] == "1"
    assert "json" in kept["Souk-Error"].lower(), json.dumps(kept)
