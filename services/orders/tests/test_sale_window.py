"""When an item can be bought: the clock of orders decides, in the transaction that takes the units."""

from datetime import datetime, timedelta

from common.clock import now
from common.event_times import UNENDED
from common.events import ItemChanged, ItemKind, ItemListed, ItemStatus, ItemWithdrawn
from common.ids import new_id
from tests.support.clock import Clock
from tests.support.sessions import person

from .conftest import World

MINUTE = timedelta(minutes=1)


async def on_sale(orders: World, starts: datetime | None, ends: datetime | None) -> str:
    """An item that is on sale between two moments."""
    item = new_id()
    window = {"sale_starts_at": starts, "sale_ends_at": ends}
    await orders.events.deliver(orders.item(ItemListed, item, 1).model_copy(update=window))
    return item


async def test_nobody_orders_before_the_sale_starts_nor_once_it_is_over(orders: World) -> None:
    clock = Clock(now())
    item = await on_sale(orders, clock.now + MINUTE, clock.now + 2 * MINUTE)
    buyer, key = person(), new_id()

    with clock.shown():
        early = await orders.place(item, 1, buyer, **{"Idempotency-Key": key})
        clock.advance(MINUTE)
        placed = await orders.place(item, 1, buyer, **{"Idempotency-Key": key})
        clock.advance(MINUTE - timedelta(milliseconds=1))
        last = await orders.place(item, 1, buyer)
        clock.advance(timedelta(milliseconds=1))
        late = await orders.place(item, 1, buyer)

    assert (early.status_code, early.json()["code"]) == (409, "not_on_sale_yet")
    assert datetime.fromisoformat(early.json()["sale_starts_at"]) == clock.now - MINUTE
    assert (placed.status_code, last.status_code) == (201, 201)
    assert (late.status_code, late.json()["code"]) == (409, "sale_over")


async def test_the_seller_may_move_the_sale_and_what_is_withdrawn_stays_so(orders: World) -> None:
    item = await on_sale(orders, now() + MINUTE, None)

    await orders.change(item, 2)
    assert (await orders.place(item)).status_code == 201

    gone = orders.item(ItemWithdrawn, item, 3).model_copy(update={"sale_starts_at": now() + MINUTE})
    await orders.events.deliver(gone)
    refused = await orders.place(item)
    assert (refused.status_code, refused.json()["code"]) == (409, "item_withdrawn")


async def test_late_money_for_a_hold_counts_after_the_sale_is_over(orders: World) -> None:
    item = await on_sale(orders, None, now() + MINUTE)
    order = await orders.placed(item)
    over = orders.item(ItemChanged, item, 2).model_copy(update={"sale_ends_at": now() - MINUTE})
    await orders.events.deliver(over)
    await orders.run_out(order["id"])

    await orders.events.deliver(orders.authorized(order, "late"))

    assert (await orders.order(order["id"]))["late_payment"] == "accepted"


async def turned(orders: World, item: str, version: int, status: ItemStatus) -> None:
    """Orders follows the item to this status."""
    await orders.events.deliver(orders.item(ItemChanged, item, version).model_copy(update={"status": status}))


async def test_a_draft_is_as_good_as_unknown_and_what_is_paused_sells_again_when_it_is_resumed(orders: World) -> None:
    item, buyer, key = new_id(), person(), new_id()
    draft = orders.item(ItemListed, item, 1).model_copy(update={"status": ItemStatus.DRAFT})
    await orders.events.deliver(draft)
    unknown = await orders.place(item)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "item_not_found")

    await turned(orders, item, 2, ItemStatus.LISTED)
    open_order = await orders.placed(item, 1, buyer)
    await turned(orders, item, 3, ItemStatus.PAUSED)
    for _ in range(2):
        paused = await orders.place(item, 1, buyer, **{"Idempotency-Key": key})
        assert (paused.status_code, paused.json()["code"]) == (409, "item_paused")
    assert (await orders.get(f"/{open_order['id']}", buyer)).json()["status"] == "awaiting_payment"

    await turned(orders, item, 4, ItemStatus.LISTED)
    assert (await orders.place(item, 1, buyer)).status_code == 201
    assert (await orders.place(item, 1, buyer, **{"Idempotency-Key": key})).json()["code"] == "item_paused"


async def test_nobody_orders_an_event_that_is_over_and_who_holds_it_may_still_pay(orders: World) -> None:
    clock = Clock(now())
    begins = clock.now + MINUTE
    ended, unended = new_id(), new_id()
    for item, times in ((ended, {"ends_at": begins + 2 * MINUTE}), (unended, {})):
        event = {"kind": ItemKind.EVENT, "starts_at": begins, **times}
        await orders.events.deliver(orders.item(ItemListed, item, 1).model_copy(update=event))

    with clock.shown():
        clock.advance(3 * MINUTE - timedelta(milliseconds=1))  # It runs, and somebody stands at the box office.
        held = await orders.placed(ended)
        clock.advance(timedelta(milliseconds=1))
        late = await orders.place(ended)
        clock.advance(UNENDED - 2 * MINUTE - timedelta(milliseconds=1))
        still = await orders.place(unended)
        clock.advance(timedelta(milliseconds=1))
        later = await orders.place(unended)
        await orders.events.deliver(orders.captured(held, "late"))

    assert (late.status_code, late.json()["code"]) == (409, "sale_over")
    assert still.status_code == 201
    assert (later.status_code, later.json()["code"]) == (409, "sale_over")
    assert (await orders.order(held["id"]))["status"] == "paid"
