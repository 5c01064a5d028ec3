"""What a seller learns about sales: filtered lists and totals."""

from datetime import date, timedelta

from common.clock import now
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
