"""Any order, doubling and delay of the events of an order ends in a state that the promises allow, and in the same.

"The same" means: where nothing competes, order, money, stock and what is copied of them elsewhere are those of the
story, whatever came first. Where money that came late competes for the last units, or the buyer's cancelling with his
money, who wins may differ; then what was offered is still free, held or sold, and every charge still ends as exactly
one paid order or one refund.

More examples, chosen at random: `make test-journeys ARGS="-k properties --hypothesis-profile=explore"`.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from common.mongo.client import Collection, Database, Document
from expiration.deadlines import KEYS
from tests.support.manual_bus import Delivery, Shop, World

pytestmark = pytest.mark.timeout(600)  # a failing example is made smaller for some minutes


@pytest_asyncio.fixture
async def shop(db: Database, redis_url: str) -> AsyncIterator[Shop]:
    """The parts of all services."""
    async with Shop.open(db, redis_url) as shop:
        yield shop


async def by_id(collection: Collection, ids: Sequence[str]) -> dict[str, Document]:
    """These documents, as they are kept."""
    return {d["_id"]: d async for d in collection.find({"_id": {"$in": list(ids)}})}


@dataclass
class Found:
    """All that is kept about a world, by id."""

    stock: Document
    item: Document
    orders: dict[str, Document]
    payments: dict[str, Document]
    dues: dict[str, Document]
    charges: dict[str, Document]
    deadlines: list[str]

    @classmethod
    async def in_(cls, world: World) -> "Found":
        """Look."""
        db = world.shop.db
        return cls(
            stock=(await by_id(db.stock, [world.item]))[world.item],
            item=(await by_id(db.items, [world.item]))[world.item],
            orders=await by_id(db.orders, world.orders),
            payments=await by_id(db.payments, world.payments),
            dues=await by_id(db.dues, world.orders),
            charges=await by_id(db.sandbox_charges, world.payments),
            deadlines=[str(order_id) for order_id in await world.shop.redis.zrange(KEYS[0], 0, -1)],
        )

    @property
    def free(self) -> int:
        """What can be taken now."""
        left = max(0, self.stock["offered"] - self.stock["taken"])
        return left if self.stock["status"] == "listed" else 0


async def assert_nothing_is_sold_twice(world: World, most: int) -> None:
    """What the promises say of every moment; `most` is the largest quantity that was ever offered."""
    stock = (await by_id(world.shop.db.stock, [world.item]))[world.item]
    orders = (await by_id(world.shop.db.orders, world.orders)).values()
    live = [order["quantity"] for order in orders if order["status"] in ("awaiting_payment", "paid")]
    assert stock["taken"] == sum(live), "a unit is taken exactly while a live order has it"
    assert stock["taken"] <= most, "more is held and sold than was ever offered"
    paying = [order["payment_id"] for order in orders if "payment_id" in order]
    assert len(paying) == len(set(paying)), "one payment paid two orders"
    for order in orders:
        assert order.get("payment_id") not in order["rejected_payments"], "money was taken and rejected"


def assert_no_money_is_lost(found: Found, refunded: Sequence[str]) -> None:
    """What the promises say once nothing is on its way: every charge is one paid order's, or was sent back once."""
    assert len(refunded) == len(set(refunded)), "a payment was refunded twice"
    for payment_id, charge in found.charges.items():
        payment, order = found.payments[payment_id], found.orders[found.payments[payment_id]["order_id"]]
        pays = order["status"] == "paid" and order["payment_id"] == payment_id
        if charge["captured_at"] is None:
            assert (payment["status"], pays) == ("failed", False)
        else:
            assert payment["status"] == ("captured" if pays else "refunded"), (order, payment)
            assert ("refunded_at" in charge) == (payment_id in refunded) == (not pays)


def assert_copies_agree(found: Found) -> None:
    """Once nothing is on its way, what the others copied is what orders says."""
    assert found.item["available"] == found.free
    assert (found.stock["offered"], found.stock["status"]) == (found.item["quantity"], found.item["status"])
    states = {"paid": "paid", "refunded": "paid", "expired": "cancelled", "cancelled": "cancelled"}
    assert {key: due["state"] for key, due in found.dues.items()} == {
        key: states.get(order["status"]) for key, order in found.orders.items()
    }
    assert found.deadlines == []


async def settle_in_any_order(world: World, draw: st.DataObject, most: int) -> None:
    """Deliver until nothing is on its way: up to three at once, some of them for the second time."""
    while True:
        while world.waiting:
            first = draw.draw(st.sampled_from(world.waiting), label="deliver")
            others = draw.draw(st.lists(st.sampled_from(world.waiting + world.seen), max_size=2), label="and at once")
            await world.deliver(first, *others)
            await assert_nothing_is_sold_twice(world, most)
        for payment_id in world.payments:
            await world.see_to(payment_id)
        if not world.waiting:
            await world.let_time_pass()
        if not world.waiting:
            return


async def assert_hearing_all_of_it_again_changes_nothing(world: World) -> Found:
    """Deliver everything once more, the last first; return what is kept."""
    before = await Found.in_(world)
    for delivery in reversed(world.seen):
        await world.deliver(delivery)
    await world.let_time_pass()  # for deadlines that were heard of again
    await world.deliver(*world.waiting)
    after = await Found.in_(world)
    assert after == before
    return after


@dataclass(frozen=True)
class Story:
    """What happens to an order from outside, and how it ends, whatever is heard first."""

    name: str
    ends: str
    cards: tuple[str, ...] = ()
    money: tuple[str, ...] = ()
    """The statuses of its payments at the end."""
    cancelled: bool = False
    refunded: bool = False

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(repr(self.name))  # How Hypothesis shows it.


STORIES = (
    Story("left", ends="expired"),
    Story("cancelled", ends="cancelled", cancelled=True),
    Story("paid", ends="paid", cards=("pm_card_visa",), money=("captured",)),
    Story("paid, answer lost", ends="paid", cards=("pm_card_lost",), money=("captured",)),
    Story("declined", ends="expired", cards=("pm_card_declined",), money=("failed",)),
    Story("paid at last", ends="paid", cards=("pm_card_declined", "pm_card_visa"), money=("failed", "captured")),
    Story("paid and cancelled", ends="cancelled", cards=("pm_card_visa",), money=("refunded",), cancelled=True),
    Story("given back", ends="refunded", cards=("pm_card_visa",), money=("refunded",), refunded=True),
)


async def tell(world: World, story: Story) -> str:
    """Let all of it happen that needs no ear: the order, its payments, the buyer's cancelling."""
    order_id = await world.place()
    assert order_id
    await world.deliver(*(d for d in world.waiting if is_of(d, order_id, "copy_amount_due")))
    for card in story.cards:
        payment_id = await world.begin_payment(order_id, card)
        assert payment_id
        await world.see_to(payment_id)
        await world.see_to(payment_id)  # the lost answer
    if story.cancelled:
        await world.cancel(order_id)
    return order_id


def is_of(delivery: Delivery, order_id: str, handler: str) -> bool:
    """Whether the delivery brings something of this order to this handler."""
    return getattr(delivery.event, "order_id", "") == order_id and delivery.handler.__name__ == handler


@given(st.lists(st.sampled_from(STORIES), min_size=1, max_size=3), st.data())
async def test_where_nothing_competes_every_order_of_delivery_ends_the_same(
    shop: Shop, stories: list[Story], draw: st.DataObject
) -> None:
    world = await World.open(shop, quantity=10)
    told = {await tell(world, story): story for story in stories}
    known = draw.draw(st.lists(st.sampled_from(sorted(told)), unique=True), label="expiration knows")
    await world.deliver(*(d for d in world.waiting for order_id in known if is_of(d, order_id, "start_the_clock")))
    await world.let_time_pass()

    await settle_in_any_order(world, draw, most=10)
    for order_id in (order_id for order_id, story in told.items() if story.refunded):
        await world.request_refund(order_id)
    await settle_in_any_order(world, draw, most=10)

    found = await assert_hearing_all_of_it_again_changes_nothing(world)
    assert {key: order["status"] for key, order in found.orders.items()} == {
        key: story.ends for key, story in told.items()
    }
    for order_id, story in told.items():
        payments = [p for p in found.payments.values() if p["order_id"] == order_id]
        assert tuple(p["status"] for p in sorted(payments, key=lambda p: p["_id"])) == story.money
    sold = sum(story.ends == "paid" for story in stories)
    assert (found.stock["taken"], found.item["available"]) == (sold, 10 - sold)
    assert_no_money_is_lost(found, world.refunded)
    assert_copies_agree(found)


ACTS = ("place", "cancel", "pay", "see to", "time", "refund", "offer", "withdraw")


async def act(world: World, what: str, draw: st.DataObject) -> int:
    """Let something happen; return how much is offered at most because of it."""
    match what:
        case "place":
            await world.place(draw.draw(st.integers(1, 2), label="quantity"))
        case "offer":
            quantity = draw.draw(st.integers(1, 3), label="offered")
            await world.offer(quantity)
            return quantity
        case "withdraw":
            await world.withdraw()
        case "time":
            await world.let_time_pass()
        case "see to" if world.payments:
            await world.see_to(draw.draw(st.sampled_from(world.payments), label="payment"))
        case "cancel" if world.orders:
            await world.cancel(draw.draw(st.sampled_from(world.orders), label="order"))
        case "refund" if world.orders:
            await world.request_refund(draw.draw(st.sampled_from(world.orders), label="order"))
        case "pay" if world.orders:
            card = draw.draw(st.sampled_from(["pm_card_visa", "pm_card_declined", "pm_card_lost"]), label="card")
            await world.begin_payment(draw.draw(st.sampled_from(world.orders), label="order"), card)
    return 0


@given(st.integers(1, 3), st.data())
async def test_where_orders_compete_nothing_is_sold_twice_and_no_money_is_lost(
    shop: Shop, quantity: int, draw: st.DataObject
) -> None:
    world, most = await World.open(shop, quantity), quantity
    for _ in range(draw.draw(st.integers(3, 20), label="steps")):
        choices: list[str | Delivery] = [*ACTS, *world.waiting, *world.seen[-3:]]
        match draw.draw(st.sampled_from(choices), label="step"):
            case Delivery() as delivery:
                await world.deliver(delivery)
            case str() as what:
                most = max(most, await act(world, what, draw))
        await assert_nothing_is_sold_twice(world, most)

    await settle_in_any_order(world, draw, most)

    found = await assert_hearing_all_of_it_again_changes_nothing(world)
    assert_no_money_is_lost(found, world.refunded)
    assert_copies_agree(found)
