"""What arrives over the bus."""

import random

from common.bus.connection import Bus
from common.directory import NAMES, Named, answering
from common.events import ItemChanged, ItemListed, ItemWithdrawn, StockChanged, UserErased, UserRegistered
from tests.support.sessions import person
from tests.support.waiting import eventually

from .conftest import LAMP, Shop


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


async def test_the_name_is_asked_of_auth_as_soon_as_that_answers(shop: Shop, bus_url: str) -> None:
    item = await shop.offer()
    event = UserRegistered(user_id=shop.seller.id)
    await shop.events.deliver_raw(event.subject, event.model_dump_json().encode())  # Nobody answers yet.

    async def names(user_ids: list[str]) -> dict[str, Named]:
        return {user_id: Named(name="Ada") for user_id in user_ids}

    async with Bus.connected(bus_url, "auth") as auth, answering(auth, {NAMES: names}):
        await shop.events.handled("USERS")

    assert (await shop.item(item["id"]))["seller_name"] == "Ada"
    assert await shop.events.dead_letters(0) == []


async def test_an_erased_seller_is_forgotten_whatever_comes_later(shop: Shop) -> None:
    await shop.events.deliver(registered(shop))
    kept, withdrawn = [(await shop.offer())["id"] for _ in range(2)]
    await shop.call("DELETE", f"/{withdrawn}", user=shop.seller)
    other = await shop.offer(user=person("Bo"))
    erased = UserErased(user_id=shop.seller.id, account_version=2)

    await shop.events.deliver(erased)
    await shop.events.deliver(registered(shop))  # Late, and from a revision that named people.
    await shop.events.deliver(erased)

    for item_id in (kept, withdrawn):
        shown = await shop.item(item_id)
        assert (shown["status"], shown["seller_name"], shown["seller_id"]) == ("withdrawn", None, shop.seller.id)
    assert len(await shop.events.published(ItemWithdrawn, 2)) == 2  # Each once.
    assert (await shop.item(other["id"]))["status"] == "listed"
    refused = await shop.call("POST", user=shop.seller, json=LAMP)
    assert (refused.status_code, refused.json()["code"]) == (401, "not_signed_in")
    assert await shop.db.sellers.find_one({"_id": shop.seller.id}) == {"_id": shop.seller.id, "erased": True}


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
