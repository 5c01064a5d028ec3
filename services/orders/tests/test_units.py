"""How many units are held and how many are sold."""

from common.ids import new_id

from .conftest import World


async def test_a_unit_is_held_until_it_is_paid_and_neither_after_a_refund(orders: World) -> None:
    item, other = await orders.listed(quantity=9), await orders.listed()

    async def counted() -> tuple[int, int]:
        answer = await orders.http.get("/api/orders/units", params={"item_id": [item, new_id()]})
        [units] = answer.json()
        assert units["item_id"] == item
        return units["held"], units["sold"]

    assert await counted() == (0, 0)
    await orders.placed(item, 2)
    paid = await orders.placed(item, 3)
    await orders.placed(other, 1)
    assert await counted() == (5, 0)

    await orders.events.deliver(orders.captured(paid, "p1"))
    assert await counted() == (2, 3)

    await orders.events.deliver(orders.refunded(paid, "p1"))
    assert await counted() == (2, 0)


async def test_more_items_than_a_page_shows_are_not_counted_at_once(orders: World) -> None:
    answer = await orders.http.get("/api/orders/units", params={"item_id": [new_id() for _ in range(101)]})
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
