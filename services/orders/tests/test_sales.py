"""What a seller learns about sales: filtered lists and totals."""

from datetime import date, timedelta

import pytest

from common.clock import now
from common.events import ItemChanged, ItemKind, ItemListed
from common.ids import new_id
from tests.support.sessions import person

from .conftest import SELLER, World


async def test_sales_are_chosen_and_added_up(orders: World) -> None:
    lamp, chair = await orders.listed(quantity=9, price=1250), await orders.listed(quantity=9, price=300)
    buyer = person()
    paid = await orders.placed(lamp, 2, buyer)
    await orders.events.deliver(orders.captured(paid, new_id()))
    await orders.placed(lamp, 1)
    await orders.placed(chair, 3)
    await orders.cancel((await orders.placed(chair, 1, buyer))["id"], buyer)

    async def found(**chosen: object) -> list[str]:
        answer = await orders.get("/sales", SELLER, **chosen)
        assert answer.status_code == 200, answer.text
        return [order["id"] for order in answer.json()["items"]]

    assert await found(status="paid") == [paid["id"]]
    assert len(await found(item_id=chair)) == 2
    today = now().date()
    assert len(await found(**{"from": today - timedelta(days=1), "to": today + timedelta(days=1)})) == 4
    assert await found(to=today - timedelta(days=2)) == []

    totals = (await orders.get("/sales/totals", SELLER)).json()
    assert totals["currencies"] == [
        {"currency": "EUR", "orders": 1, "units": 2, "revenue": 2500, "refunded": 0, "held": 1250 + 900}
    ]
    day = paid["placed_at"][:10]
    assert totals["days"] == [{"day": day, "currency": "EUR", "orders": 1, "units": 2, "revenue": 2500}]
    assert {item["item_id"] for item in totals["items"]} == {lamp, chair}
    of_chair = (await orders.get("/sales/totals", SELLER, item_id=chair)).json()
    assert [money["held"] for money in of_chair["currencies"]] == [900]

    assert (await orders.get("/sales/totals", person())).json()["currencies"] == []  # another seller's
    wide = (await orders.get("/sales/totals", SELLER, **{"from": "0001-01-01", "to": "2027-01-01"})).json()
    assert date.fromisoformat(wide["last"]) - date.fromisoformat(wide["first"]) == timedelta(days=365)
    assert (await orders.get("/sales/totals", SELLER, to="0001-01-01")).status_code == 200
    assert (await orders.get("/sales", SELLER, status="gone")).status_code == 422


async def test_a_buyer_sees_what_is_open_upcoming_and_past(orders: World) -> None:
    buyer, when = person(), now() + timedelta(days=2)
    thing, coming, over = await orders.listed(), new_id(), new_id()
    for event in (coming, over):
        times = {"kind": ItemKind.EVENT, "starts_at": when - timedelta(hours=3), "ends_at": when}
        await orders.events.deliver(orders.item(ItemListed, event, 1).model_copy(update=times))
    bought = [await orders.placed(item, 1, buyer) for item in (thing, coming, over)]
    for order in bought:
        await orders.events.deliver(orders.captured(order, new_id()))
    held = await orders.placed(coming, 1, buyer)
    past = {"kind": ItemKind.EVENT, "starts_at": now() - timedelta(hours=4), "ends_at": now() - timedelta(hours=1)}
    await orders.events.deliver(orders.item(ItemChanged, over, 2).model_copy(update=past))

    async def found(**state: str) -> list[str]:
        return [order["id"] for order in (await orders.get("", buyer, **state)).json()["items"]]

    old_thing, ticket, old_ticket = (order["id"] for order in bought)
    assert await found(state="open") == [held["id"]]
    assert await found(state="upcoming") == [ticket]
    assert await found(state="past") == [old_ticket, old_thing]
    assert len(await found()) == 4

    put_off = {"kind": ItemKind.EVENT, "starts_at": when}
    await orders.events.deliver(orders.item(ItemChanged, over, 3).model_copy(update=put_off))
    assert await found(state="upcoming") == [old_ticket, ticket]  # It was put off.


@pytest.mark.parametrize("path", ["/sales", "/sales/totals"])
async def test_a_number_is_no_day(orders: World, path: str) -> None:
    for name in ("from", "to"):
        answer = await orders.get(path, SELLER, **{name: "86400"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, name)
