"""The HTTP contract of orders."""

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from common.events import ItemListed, ItemWithdrawn, OrderPlaced, StockChanged
from common.ids import new_id
from orders.main import app
from tests.support.serving import running
from tests.support.sessions import person
from tests.support.waiting import eventually

from .conftest import SELLER, World


async def test_an_order_holds_units_and_tells_everybody(orders: World) -> None:
    item = await orders.listed(quantity=5, price=1250)
    buyer = person()

    order = await orders.placed(item, 2, buyer)

    assert order | {"id": 0, "placed_at": 0, "expires_at": 0} == {
        "id": 0,
        "buyer_id": buyer.id,
        "buyer_name": "Ada",
        "seller_id": SELLER.id,
        "item_id": item,
        "item_title": "A lamp",
        "quantity": 2,
        "unit_price": 1250,
        "total": 2500,
        "currency": "EUR",
        "status": "awaiting_payment",
        "placed_at": 0,
        "expires_at": 0,
        "cancel_reason": None,
        "accepted_payment": None,
        "payment_id": None,
        "payment_failure": None,
        "refund_failure": None,
        "dispute": None,
        "late_payment": None,
        "refund_requested": False,
        "version": 1,
    }
    assert (await orders.get(f"/{order['id']}", buyer)).json() == order
    [placed] = await orders.events.published(OrderPlaced)
    assert (placed.order_id, placed.quantity, placed.unit_price) == (order["id"], 2, 1250)
    changes = await orders.events.published(StockChanged, 2)
    assert [(c.stock_version, c.available) for c in changes] == [(1, 5), (2, 3)]
    await eventually(lambda: no_pending(orders))


async def no_pending(orders: World) -> bool:
    return not await orders.db.orders.find_one({"pending.0": {"$exists": True}})


async def test_a_herd_gets_exactly_what_there_is(orders: World) -> None:
    item = await orders.listed(quantity=50)

    answers = await asyncio.gather(*(orders.place(item) for _ in range(200)))

    assert Counter((a.status_code, a.json().get("code")) for a in answers) == {(201, None): 50, (409, "sold_out"): 150}
    assert (await orders.stock(item))["taken"] == 50


async def test_who_does_not_fit_leaves_room_for_who_does(orders: World) -> None:
    item = await orders.listed(quantity=5)

    answers = await asyncio.gather(*(orders.place(item, quantity) for quantity in (3, 4, 2)))

    assert [a.status_code for a in answers] == [201, 409, 201]


async def test_one_buyer_holds_ten_of_an_item_at_most(orders: World) -> None:
    item = await orders.listed(quantity=100)
    buyer = person()

    answers = await asyncio.gather(*(orders.place(item, 4, buyer) for _ in range(3)))
    statuses = sorted(a.status_code for a in answers)
    assert statuses == [201, 201, 409]
    assert (await orders.place(item, 2, buyer)).status_code == 201
    refused = await orders.place(item, 1, buyer)
    assert (refused.status_code, refused.json()["code"]) == (409, "hold_limit")

    cancelled = await orders.cancel(next(a.json()["id"] for a in answers if a.status_code == 201), buyer)
    assert cancelled.status_code == 200
    assert (await orders.place(item, 4, buyer)).status_code == 201


async def test_a_limit_of_the_seller_and_a_pause_are_problems_with_their_own_codes(orders: World) -> None:
    item, buyer = new_id(), person()
    limited = orders.item(ItemListed, item, 1).model_copy(update={"limit_per_buyer": 2})
    await orders.events.deliver(limited)

    refused = await orders.place(item, 3, buyer)
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (409, "buyer_limit", 2)
    for _ in range(2):
        await orders.cancel((await orders.placed(item, 2, buyer))["id"], buyer)
    paused = await orders.place(item, 1, buyer)
    assert (paused.status_code, paused.json()["code"]) == (429, "too_many_holds")
    assert 0 < int(paused.headers["retry-after"]) == paused.json()["retry_after"] <= 60


async def test_buyers_of_one_network_share_what_a_network_may_hold(orders: World) -> None:
    item = await orders.listed(quantity=100)
    neighbours = httpx.ASGITransport(app, client=("2001:db8:0:1::7", 1))
    async with httpx.AsyncClient(transport=neighbours, base_url="http://souk.test") as orders.http:
        held = [(await orders.place(item, 5)).status_code for _ in range(2)]
        refused = await orders.place(item, 1)

    assert held == [201, 201]
    assert (refused.status_code, refused.json()["code"]) == (429, "network_holds")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def test_a_buyer_changes_so_much_in_a_minute(orders: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WRITES_PER_MINUTE", "3")
    monkeypatch.setattr("common.http.write_limit.time", SimpleNamespace(monotonic=lambda: 0.0))
    buyer = person()
    async with running(app) as orders.http:
        answers = [await orders.place(new_id(), 0, buyer) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [422, 422, 422, 429]
    assert answers[-1].headers["retry-after"] == "20"


async def test_sellers_do_not_buy_from_themselves(orders: World) -> None:
    refused = await orders.place(await orders.listed(), buyer=SELLER)
    assert (refused.status_code, refused.json()["code"]) == (409, "own_item")


async def test_an_unknown_item_is_not_found(orders: World) -> None:
    refused = await orders.place("0190000000007000800000000000abcd")
    assert (refused.status_code, refused.json()["code"]) == (404, "item_not_found")


async def test_an_item_whose_listing_is_still_on_its_way_is_waited_for(
    orders: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.ids.ARRIVAL_TIMEOUT", 30.0)
    item = new_id()
    placing = asyncio.create_task(orders.place(item))
    await orders.events.deliver(orders.item(ItemListed, item, 1))

    assert (await placing).status_code == 201


async def test_an_item_whose_listing_a_replica_that_hangs_has_in_hand_is_bought(orders: World) -> None:
    listing = await orders.events.in_hand("orders", "follow_item", lambda: orders.item(ItemListed, new_id(), 1))

    assert (await orders.place(listing.item_id)).status_code == 201


async def test_a_withdrawn_item_takes_no_orders_but_open_ones_live_on(orders: World) -> None:
    item = await orders.listed()
    buyer = person()
    order = await orders.placed(item, buyer=buyer)
    await orders.events.deliver(orders.item(ItemWithdrawn, item, 2))

    refused = await orders.place(item)
    assert (refused.status_code, refused.json()["code"]) == (409, "item_withdrawn")
    assert (await orders.get(f"/{order['id']}", buyer)).json()["status"] == "awaiting_payment"


async def test_an_open_order_keeps_the_price_it_was_placed_at(orders: World) -> None:
    item = await orders.listed(price=1000)
    buyer = person()
    order = await orders.placed(item, buyer=buyer)

    await orders.change(item, 2, price=2000)

    assert (await orders.get(f"/{order['id']}", buyer)).json()["unit_price"] == 1000
    assert (await orders.placed(item))["unit_price"] == 2000


async def test_an_order_at_the_price_that_the_buyer_saw_is_placed(orders: World) -> None:
    item = await orders.listed(price=1000)

    for expected in ({"expected_unit_price": 1000}, {"expected_unit_price": 1000, "expected_currency": "EUR"}):
        assert (await orders.place(item, expected=expected)).status_code == 201


async def test_an_order_at_another_price_than_the_buyer_saw_is_refused_with_the_price(orders: World) -> None:
    item = await orders.listed(price=1000)
    await orders.change(item, 2, price=2000)

    for expected in ({"expected_unit_price": 1000}, {"expected_unit_price": 2000, "expected_currency": "USD"}):
        refused = await orders.place(item, expected=expected)
        problem = refused.json()
        assert (refused.status_code, problem["code"]) == (409, "price_changed")
        assert (problem["unit_price"], problem["currency"]) == (2000, "EUR")
    assert (await orders.stock(item))["taken"] == 0


@pytest.mark.parametrize("price", [-1, 12.5, "1250", True])
async def test_what_is_no_price_cannot_be_expected(orders: World, price: Any) -> None:
    refused = await orders.place(await orders.listed(), expected={"expected_unit_price": price})

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "expected_unit_price")


async def test_the_expected_price_is_part_of_what_a_key_stands_for(orders: World) -> None:
    item, buyer, seen = await orders.listed(price=1000), person(), {"expected_unit_price": 900}

    refused = await orders.place(item, 1, buyer, seen, **{"Idempotency-Key": "k"})
    await orders.change(item, 2, price=900)
    again = await orders.place(item, 1, buyer, seen, **{"Idempotency-Key": "k"})
    other = await orders.place(item, 1, buyer, **{"Idempotency-Key": "k"})

    assert (refused.status_code, refused.json()["code"], refused.json()["unit_price"]) == (409, "price_changed", 1000)
    assert again.json() == refused.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_cancelling_gives_the_units_back_once(orders: World) -> None:
    item = await orders.listed(quantity=3)
    buyer = person()
    order = await orders.placed(item, 2, buyer)

    answers = await asyncio.gather(*(orders.cancel(order["id"], buyer) for _ in range(5)))

    assert {(a.status_code, a.json()["status"]) for a in answers} == {(200, "cancelled")}
    assert (await orders.stock(item))["taken"] == 0


async def test_another_buyers_order_is_not_there(orders: World) -> None:
    order = await orders.placed(await orders.listed(), buyer=person())
    stranger = person("Eve")

    answers = [
        await orders.get(f"/{order['id']}", stranger),
        await orders.cancel(order["id"], stranger),
        await orders.refund(order["id"], stranger),
    ]

    assert [(a.status_code, a.json()["code"]) for a in answers] == [(404, "order_not_found")] * 3


async def test_lists_are_newest_first_and_go_on_by_cursor(orders: World) -> None:
    item = await orders.listed(quantity=100)
    buyer = person()
    placed = [(await orders.placed(item, buyer=buyer))["id"] for _ in range(5)]
    await orders.placed(item)  # somebody else's

    first = (await orders.get("?limit=3", buyer)).json()
    second = (await orders.get(f"?limit=3&cursor={first['next']}", buyer)).json()

    assert [o["id"] for o in first["items"] + second["items"]] == placed[::-1]
    assert second["next"] is None
    assert (await orders.get("?limit=5", buyer)).json()["next"] is None, "there are five"
    for path in ("?cursor=zzz", "/sales?cursor=zzz"):
        refused = await orders.get(path, buyer)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "cursor")
    sales = (await orders.get("/sales?limit=100", SELLER)).json()["items"]
    assert {o["id"] for o in sales if o["item_id"] == item} >= set(placed)
    assert (await orders.get("/sales", buyer)).json() == {"items": [], "next": None}


async def test_the_same_key_and_body_is_one_order_also_at_once(orders: World) -> None:
    item = await orders.listed(quantity=5)
    buyer = person()
    key = {"Idempotency-Key": "k1"}

    at_once = await asyncio.gather(*(orders.place(item, 2, buyer, **key) for _ in range(4)))
    later = await orders.place(item, 2, buyer, **key)

    assert {(a.status_code, a.text) for a in (*at_once, later)} == {(201, at_once[0].text)}
    assert (await orders.stock(item))["taken"] == 2


async def test_the_same_key_with_another_body_is_refused_and_keys_are_each_buyers_own(orders: World) -> None:
    item = await orders.listed(quantity=5)
    buyer = person()
    key = {"Idempotency-Key": "k1"}
    await orders.place(item, 1, buyer, **key)

    other_body = await orders.place(item, 2, buyer, **key)
    other_buyer = await orders.place(item, 2, person(), **key)

    assert (other_body.status_code, other_body.json()["code"]) == (422, "idempotency_key_reused")
    assert other_buyer.status_code == 201


async def test_who_comes_too_late_is_told_how_many_there_still_are(orders: World) -> None:
    item = await orders.listed(quantity=3)
    await orders.placed(item, 2)
    few, same = [await orders.place(item, 2, person("Bo"), **{"Idempotency-Key": "k"}) for _ in range(2)]
    await orders.placed(item, 1)
    none = await orders.place(item, 1)

    assert [(a.status_code, a.json()["code"], a.json()["available"]) for a in (few, none)] == [
        (409, "sold_out", 1),
        (409, "sold_out", 0),
    ]
    assert (same.status_code, same.json()) == (few.status_code, few.json())


async def test_a_refusal_is_the_same_answer_too(orders: World) -> None:
    item = await orders.listed(quantity=1)
    winner, loser = person(), person()
    order = await orders.placed(item, buyer=winner)
    first = await orders.place(item, 1, loser, **{"Idempotency-Key": "k1"})
    await orders.cancel(order["id"], winner)

    again = await orders.place(item, 1, loser, **{"Idempotency-Key": "k1"})

    assert (first.status_code, first.json()["code"]) == (409, "sold_out")
    assert (again.status_code, again.text) == (first.status_code, first.text)
    assert (await orders.place(item, 1, loser, **{"Idempotency-Key": "k2"})).status_code == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "item_id"),
        ({"item_id": "x", "quantity": 0}, "quantity"),
        ({"item_id": "x", "quantity": -1}, "quantity"),
        ({"item_id": "x", "quantity": "2"}, "quantity"),
        ({"item_id": "x", "quantity": 1.5}, "quantity"),
        ({"item_id": "x", "quantity": True}, "quantity"),
        ({"item_id": "x", "quantity": 10**30}, "quantity"),
        ({"item_id": {"$gt": ""}}, "item_id"),
        ({"item_id": "x" * 65}, "item_id"),
        ({"item_id": "x", "price": 1}, "price"),
        ([], "body"),
    ],
)
async def test_a_wrong_field_is_named(orders: World, body: Any, field: str) -> None:
    answer = await orders.http.post("/api/orders", json=body, headers=orders.tokens.headers(person()))
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
    assert [e["field"] for e in answer.json()["errors"]] == [field]


async def test_nobody_orders_without_a_session(orders: World) -> None:
    answer = await orders.http.post("/api/orders", json={"item_id": "x"})
    assert (answer.status_code, answer.json()["code"]) == (401, "not_signed_in")
