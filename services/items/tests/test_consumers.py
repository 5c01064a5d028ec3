"""What arrives over the bus."""

import random

from common.events import ItemChanged, ItemListed, ItemWithdrawn, StockChanged, UserRegistered
from tests.support.waiting import eventually

from .conftest import Shop


def registered(shop: Shop) -> UserRegistered:
    return UserRegistered(user_id=shop.seller.id, email=shop.seller.email, name="Ada")


async def test_the_sellers_name_is_shown_whether_it_comes_before_or_after_the_item(shop: Shop) -> None:
    early = await shop.offer()
    assert early["seller_name"] is None

    await shop.events.deliver(registered(shop))
    await shop.events.deliver(registered(shop))
    late = await shop.offer()

    assert (await shop.item(early["id"]))["seller_name"] == "Ada"
    assert late["seller_name"] == "Ada"
    assert (await shop.item(late["id"]))["seller_name"] == "Ada"


async def test_available_follows_the_orders_however_often_and_in_whatever_order_their_events_come(shop: Shop) -> None:
    item = await shop.offer(quantity=40)
    changes = [StockChanged(item_id=item["id"], stock_version=v, quantity=40, available=40 - v) for v in range(1, 31)]
    twice = changes * 2
    random.Random(7).shuffle(twice)  # noqa: S311 - the same shuffle in every run

    for change in twice:
        await shop.events.deliver_raw(change.subject, change.model_dump_json().encode())
    await shop.events.handled("ORDERS")

    shown = await shop.item(item["id"])
    assert (shown["available"], shown["version"], shown["quantity"]) == (10, 1, 40)


async def test_stock_of_an_item_nobody_knows_is_no_dead_letter(shop: Shop) -> None:
    await shop.events.deliver(StockChanged(item_id="nothing", stock_version=1, quantity=1, available=1))

    assert await shop.events.dead_letters(0) == []
    assert await shop.db.items.count_documents({}) == 0


async def test_what_is_no_event_is_put_aside_and_the_next_one_passes(shop: Shop) -> None:
    item = await shop.offer()

    await shop.events.deliver_raw("orders.stock_changed", b"{")
    await shop.events.deliver(StockChanged(item_id=item["id"], stock_version=1, quantity=5, available=4))

    assert (await shop.item(item["id"]))["available"] == 4
    [letter] = await shop.events.dead_letters()
    assert letter.headers["Souk-Consumer"] == "items-show_stock"


async def test_every_change_is_told_once_and_in_full(shop: Shop) -> None:
    item = await shop.offer()
    await shop.call("PATCH", f"/{item['id']}", shop.seller, json={"price": 999})
    await shop.call("DELETE", f"/{item['id']}", shop.seller)
    await shop.call("DELETE", f"/{item['id']}", shop.seller)

    [listed] = await shop.events.published(ItemListed)
    [changed] = await shop.events.published(ItemChanged)
    [withdrawn] = await shop.events.published(ItemWithdrawn)
    assert [e.item_version for e in (listed, changed, withdrawn)] == [1, 2, 3]
    assert [e.price for e in (listed, changed, withdrawn)] == [1250, 999, 999]
    assert withdrawn.model_dump(exclude={"item_version", "status"}) == changed.model_dump(
        exclude={"item_version", "status"}
    )

    async def nothing_waits() -> bool:
        return not await shop.db.items.count_documents({"pending.0": {"$exists": True}})

    await eventually(nothing_waits)
    assert len(await shop.events.messages("ITEMS", "items.>")) == 3
