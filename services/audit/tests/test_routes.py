"""What operators ask audit over HTTP."""

from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from common.bus.connection import Bus
from common.directory import IDS, NAMED, NAMES, Named, Namesakes, answering
from common.events import ItemChanged, StockChanged, UserRegistered
from common.ids import new_id
from tests.support.sessions import person

if TYPE_CHECKING:
    from services.audit.tests.conftest import World

ROUTES = [
    ("GET", "/search?q=a"),
    ("GET", "/orders/1"),
    ("GET", "/items/1"),
    ("GET", "/payments/1"),
    ("GET", "/dead-letters"),
    ("GET", "/security"),
    ("POST", "/reconciliation"),
    ("POST", "/dead-letters/replay"),
    ("POST", "/dead-letters/discard"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_nobody_but_an_operator_may_read_anything(audit: "World", method: str, path: str) -> None:
    stranger = await audit.http.request(method, f"/api/audit{path}")
    user = await audit.http.request(method, f"/api/audit{path}", headers=audit.tokens.headers(person()))
    other = await audit.http.request(method, f"/api/audit{path}", headers=audit.tokens.headers(person("X", "cook")))

    assert (stranger.status_code, stranger.json()["code"]) == (401, "not_signed_in")
    assert (user.status_code, user.json()["code"]) == (403, "operator_only")
    assert (other.status_code, other.json()["code"]) == (403, "operator_only")


async def test_an_order_is_found_by_its_id_its_buyer_his_mail_and_its_item(audit: "World", bus_url: str) -> None:
    lamp = audit.item("A lamp")
    buyer = person("Bea")
    orders = [audit.placed(lamp, buyer_id=buyer.id) for _ in range(3)]
    await audit.publish(UserRegistered(user_id=buyer.id, email=buyer.email, name="Bea"))
    for event in (lamp, *orders, audit.placed(lamp)):
        await audit.publish(event)

    [hit] = (await audit.get("/search", q=orders[0].order_id))["items"]
    assert (hit["kind"], hit["id"], hit["label"]) == ("order", orders[0].order_id, "2 x A lamp")
    for q in (buyer.id, buyer.email, buyer.email.upper()):
        first = await audit.get("/search", q=q, limit=2)
        rest = await audit.get("/search", q=q, limit=2, cursor=first["next"])
        assert [one["id"] for one in (*first["items"], *rest["items"])] == [one.order_id for one in reversed(orders)]
        assert (await audit.get("/search", q=q, limit=3))["next"] is None, "there are three"
    for path in ("/search?q=a&cursor=zzz", f"/items/{lamp.item_id}?cursor=zzz", "/dead-letters?cursor=zzz"):
        refused = await audit.http.get(f"/api/audit{path}", headers=audit.tokens.headers(audit.operator))
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "cursor")
    unreadable = await audit.http.get("/api/audit/search?q=a%00b", headers=audit.tokens.headers(audit.operator))
    assert (unreadable.status_code, unreadable.json()["errors"][0]["field"]) == (422, "q")
    of_item = (await audit.get(f"/items/{lamp.item_id}"))["orders"]["items"]
    assert len(of_item) == 4

    async def nobody(_: list[str]) -> dict[str, BaseModel]:
        return {}

    async with Bus.connected(bus_url, "auth") as auth, answering(auth, {IDS: nobody}):
        assert (await audit.get("/search", q="nobody@souk.test"))["items"] == []


async def test_an_order_is_found_by_names_and_by_words_of_any_title_its_item_had(audit: "World", bus_url: str) -> None:
    lamp, chair = audit.item("Desk lamp, rewired"), audit.item("A chair")
    renamed = ItemChanged.model_validate({**lamp.model_dump(), "item_version": 2, "title": "Standing light"})
    order, other = audit.placed(lamp), audit.placed(chair)
    for event in (lamp, renamed, chair, order, other):
        await audit.publish(event)
    by_name = {"Bea": order.buyer_id, "sid": chair.seller_id}

    async def named(texts: list[str]) -> dict[str, BaseModel]:
        return {text: Namesakes(user_ids=[by_name[text]]) for text in texts if text in by_name}

    async def names(ids: list[str]) -> dict[str, BaseModel]:
        return {one: Named(name="Bea Lund") for one in ids if one == order.buyer_id}

    async def found(q: str) -> list[str]:
        return [hit["id"] for hit in (await audit.get("/search", q=q))["items"]]

    async with Bus.connected(bus_url, "auth") as auth, answering(auth, {NAMED: named, NAMES: names}):
        for q in ("rewired desk", "wire", "LIGHT stand"):
            assert await found(q) == [order.order_id, lamp.item_id], q
        assert await found("Bea") == [order.order_id]
        assert await found("sid") == [other.order_id]
        assert await found("desk chair") == []
        [hit] = (await audit.get("/search", q="Bea"))["items"]
        assert (hit["status"], hit["total"], hit["currency"], hit["buyer_name"]) == (
            "awaiting_payment",
            1400,
            "EUR",
            "Bea Lund",
        )
        [by_number] = (await audit.get("/search", q=hit["number"].lower().replace("-", " ")))["items"]
        assert (by_number["id"], by_number["buyer_name"]) == (order.order_id, "Bea Lund")

    [hit] = (await audit.get("/search", q=order.buyer_id))["items"]  # Auth is away.
    assert (hit["id"], hit["buyer_name"], hit["total"]) == (order.order_id, None, 1400)


async def test_an_item_is_found_by_its_id_and_by_its_title(audit: "World") -> None:
    lamp, lantern, chair = audit.item("Lamp (blue)"), audit.item("LAMPION"), audit.item("A chair and a lamp")
    for event in (lamp, lantern, chair):
        await audit.publish(event)

    by_title = {one["id"] for one in (await audit.get("/search", q="lamp"))["items"]}
    [by_id] = (await audit.get("/search", q=chair.item_id))["items"]

    assert by_title == {lamp.item_id, lantern.item_id, chair.item_id}
    assert (by_id["kind"], by_id["label"]) == ("item", "A chair and a lamp")
    assert [one["id"] for one in (await audit.get("/search", q="lamp ("))["items"]] == [lamp.item_id]


async def test_an_item_tells_its_newest_state_and_its_stock(audit: "World") -> None:
    lamp = audit.item()
    await audit.publish(ItemChanged.model_validate({**lamp.model_dump(), "item_version": 2, "price": 900}))
    await audit.publish(lamp)
    await audit.publish(StockChanged(item_id=lamp.item_id, stock_version=4, quantity=3, available=1))

    found = await audit.get(f"/items/{lamp.item_id}")

    assert (found["item"]["version"], found["item"]["price"]) == (2, 900)
    assert found["stock"] == {"item_id": lamp.item_id, "version": 4, "quantity": 3, "available": 1}


async def test_an_order_tells_its_story_with_the_stock_that_moved_in_the_same_write(audit: "World") -> None:
    lamp = audit.item()
    order = audit.placed(lamp)
    placed = await audit.publish(order)
    moved = await audit.publish(StockChanged(item_id=lamp.item_id, stock_version=2, quantity=3, available=1))
    await audit.publish(audit.placed(lamp))

    found = await audit.get(f"/orders/{order.order_id}")

    assert [(line["id"], line["subject"]) for line in found["story"]] == [
        (placed, "orders.placed"),
        (moved, "orders.stock_changed"),
    ]
    assert found["story"][0]["request_id"] == "request"
    assert [state["stock"] and state["stock"]["available"] for state in found["states"]] == [None, 1]
    assert (found["order"]["status"], found["order"]["total"]) == ("awaiting_payment", 1400)


@pytest.mark.parametrize(
    ("path", "code"),
    [("/orders", "order_not_found"), ("/items", "item_not_found"), ("/payments", "payment_not_found")],
)
async def test_what_nobody_told_of_is_not_found(audit: "World", path: str, code: str) -> None:
    answer = await audit.http.get(f"/api/audit{path}/{new_id()}", headers=audit.tokens.headers(audit.operator))
    assert (answer.status_code, answer.json()["code"]) == (404, code)
