"""Holding without paying: what it gets a person, and what it gets somebody with many accounts.

Time is what the tests say, so that hold times pass at once.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import pytest_asyncio
from bson import BSON

from common.bus.connection import Bus
from common.clock import now
from common.errors import SoukError, TooMany
from common.events import Currency, ItemListed, ItemStatus
from common.ids import new_id
from common.mongo.client import AWAY, Database, database
from common.outbox import Relay
from orders.commands import PlaceOrder
from orders.desk import ReservationDesk
from orders.domain import HoldLimit, Order
from orders.holds import BuyerLimit, HoldLimits, NetworkHolds, TooManyHolds, TotalHoldLimit
from orders.stock import SoldOut
from orders.store import REFUSALS_KEPT, REFUSALS_PRUNED_AT, OrderStore
from tests.support.clock import Clock

HOLD = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
LIMITS = HoldLimits(HOLD)
HOME = "192.0.2.0/24"


@dataclass
class Sale:
    """An item, two replicas that sell it, and a clock."""

    desks: tuple[ReservationDesk, ReservationDesk]
    store: OrderStore
    db: Database
    clock: Clock
    item: str = ""
    held: dict[str, Order] = field(default_factory=dict)
    """Orders that await payment."""

    async def offer(self, quantity: int, limit_per_buyer: int | None = None, version: int = 1) -> None:
        """List the item, or a new one after another; with a higher version, change it."""
        self.item = self.item if version > 1 else new_id()
        offer = ItemListed(
            item_id=self.item,
            item_version=version,
            seller_id="seller",
            title="A seat",
            description="",
            price=1250,
            currency=Currency.EUR,
            quantity=quantity,
            status=ItemStatus.LISTED,
            limit_per_buyer=limit_per_buyer,
        )
        await self.desks[0].follow(offer)

    async def hold(self, buyer: str, quantity: int = 1, network: str | None = None, key: str | None = None) -> Order:
        """Place an order at either replica."""
        command = PlaceOrder(
            self.item, quantity, buyer, "Bo", key=key, network=network, now=self.clock.now, order_id=new_id()
        )
        order = await random.choice(self.desks).place(command)  # noqa: S311 - it must not matter
        self.held[order.id] = order
        return order

    async def cancel(self, order: Order) -> None:
        """The buyer cancels."""
        await self.desks[0].cancel(self.held.pop(order.id).id)

    async def pay(self, order: Order) -> None:
        """The money comes in time."""
        await self.desks[1].settle(self.held.pop(order.id).id, f"payment of {order.id}")

    async def pass_time(self, by: timedelta) -> None:
        """Time passes: what is not paid by then runs out."""
        self.clock.advance(by)
        over = [order for order in self.held.values() if order.expires_at <= self.clock.now]
        await asyncio.gather(*(self.desks[0].expire(self.held.pop(order.id).id) for order in over))

    async def waits(self, buyer: str, network: str | None = None) -> int:
        """The seconds for which this buyer has to wait. 0 if they get a unit, which they give back at once."""
        try:
            await self.cancel(await self.hold(buyer, network=network))
        except TooManyHolds as refused:
            return refused.retry_after
        return 0


@pytest.fixture
def clock() -> Iterator[Clock]:
    """The time of orders."""
    clock = Clock(now())
    with clock.shown():
        yield clock


@pytest_asyncio.fixture
async def sale(mongo_url: str, bus_url: str, clock: Clock) -> AsyncIterator[Sale]:
    """A sale without an item yet."""
    async with (
        database(mongo_url) as db,
        Bus.connected(bus_url, "orders", away=AWAY) as bus,
        Relay.running(bus, db.orders, db.stock) as relay,
    ):
        store = OrderStore(db, relay)
        await store.prepare()
        yield Sale((ReservationDesk(store, LIMITS), ReservationDesk(store, LIMITS)), store, db, clock)


@pytest.mark.parametrize("units", [100, 20])
async def test_one_address_with_200_accounts_keeps_less_than_a_fifth_from_50_honest_buyers(
    sale: Sale, units: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over five hold times. Every five minutes, each account of the hoarder asks first, for ten units or one.

    Then four honest buyers want one each, or try again; they pay before the next five minutes begin.
    """
    await sale.offer(units)
    honest = [f"honest{n}" for n in range(50)]
    chance = random.Random(7)  # noqa: S311 - the same story every time
    turns = 5 * HOLD // (5 * MINUTE)
    held: list[int] = []
    bought = 0

    async def grab(buyer: str) -> None:
        with suppress(SoldOut, HoldLimit, TotalHoldLimit, TooMany):
            await sale.hold(buyer, chance.choice((10, 1)), HOME)

    for _ in range(turns):
        await asyncio.gather(*(grab(f"hoarder{n}") for n in range(200)))
        held.append(sum(order.quantity for order in sale.held.values()))
        for buyer in honest[bought : bought + 4]:
            with suppress(SoldOut):
                await sale.pay(await sale.hold(buyer, 1, f"10.{buyer}.0.0/24"))
                bought += 1
        await sale.pass_time(5 * MINUTE)

    wanted = min(50, units)
    withheld = 1 - bought / wanted
    with capsys.disabled():
        print(  # noqa: T201 - the figure that decides
            f"\none address with 200 accounts held {max(held)} of {units} units at most, and "
            f"{sum(held) / turns / units:.0%} on average over five hold times; "
            f"50 honest buyers got {bought} of {wanted}, so {withheld:.0%} were kept from them"
        )
    assert withheld <= 0.2
    assert max(held) <= max(units / 5, LIMITS.per_item)  # or what one person may hold


async def test_the_next_hold_after_unpaid_ones_of_an_item_waits_longer_each_time(sale: Sale) -> None:
    await sale.offer(50)

    waits = []
    for _ in range(9):
        waits.append(await sale.waits("bo"))
        if waits[-1]:
            await sale.pass_time(timedelta(seconds=waits[-1]))
            assert await sale.waits("bo") == 0

    assert waits == [0, 0, 60, 120, 240, 480, 960, 1920, 1920]
    assert await sale.waits("cy") == 0  # others need not wait
    await sale.offer(50)
    assert await sale.waits("bo") == 0  # nor for another item


async def test_a_hold_that_ran_out_counts_as_one_that_was_cancelled(sale: Sale) -> None:
    await sale.offer(50)
    for _ in range(2):
        await sale.hold("bo")
        await sale.pass_time(HOLD)

    with pytest.raises(TooManyHolds) as refused:
        await sale.hold("bo")

    assert refused.value.retry_after == 60


async def test_unpaid_holds_are_forgotten_after_a_paid_one_and_after_some_hours(sale: Sale) -> None:
    await sale.offer(50)
    assert [await sale.waits(buyer) for buyer in ("bo", "bo", "bo", "cy", "cy", "cy")] == [0, 0, 60, 0, 0, 60]

    await sale.pass_time(MINUTE)
    order = await sale.hold("bo")
    await sale.pay(order)
    assert [await sale.waits("bo"), await sale.waits("bo")] == [0, 0]

    await sale.pass_time(timedelta(hours=4))
    assert [await sale.waits("cy"), await sale.waits("cy")] == [0, 0]


async def test_a_refusal_that_says_when_to_try_again_is_not_remembered(sale: Sale) -> None:
    await sale.offer(50)
    assert [await sale.waits("bo") for _ in range(2)] == [0, 0]
    with pytest.raises(TooManyHolds):
        await sale.hold("bo", key="the same")

    await sale.pass_time(MINUTE)

    await sale.hold("bo", key="the same")


async def test_refusals_under_ever_new_keys_leave_few_and_small_traces(sale: Sale) -> None:
    await sale.offer(1)
    await sale.hold("cy", 1)
    keys = [f"{n:0200}" for n in range(400)]

    for first in range(0, 400, 50):
        refused = await asyncio.gather(
            *(sale.hold("bo", 1, key=key) for key in keys[first : first + 50]), return_exceptions=True
        )
        assert {type(error) for error in refused} == {SoldOut}

    left = await sale.db.answers.find({}).to_list()
    assert REFUSALS_KEPT <= len(left) <= REFUSALS_KEPT + 2 * REFUSALS_PRUNED_AT
    assert sum(len(BSON.encode(document)) for document in left) < 100_000
    assert all("at" in document for document in left)  # so that they go after a day
    await sale.cancel(next(iter(sale.held.values())))
    with pytest.raises(SoldOut):  # still the same answer under the newest key
        await sale.hold("bo", 1, key=keys[-1])


async def test_one_buyer_holds_fifty_units_of_all_items_at_most(sale: Sale) -> None:
    for _ in range(5):
        await sale.offer(50)
        await sale.hold("bo", 10)
    await sale.offer(50)

    with pytest.raises(TotalHoldLimit):
        await sale.hold("bo")

    await sale.pay(next(iter(sale.held.values())))
    await sale.hold("bo", 10)


async def test_the_limit_of_the_seller_counts_what_is_held_and_paid_but_not_what_was_refunded(sale: Sale) -> None:
    await sale.offer(50, limit_per_buyer=3)
    first = await sale.hold("bo", 2)
    await sale.pay(first)
    await sale.hold("bo", 1)

    with pytest.raises(BuyerLimit) as refused:
        await sale.hold("bo", 1)
    assert refused.value.more == {"limit": 3}
    await sale.hold("cy", 3)

    await sale.store.change(first.id, Order.request_refund)
    await sale.desks[0].refunded(first.id, f"payment of {first.id}", 2)
    await sale.hold("bo", 2)


async def test_two_replicas_at_once_keep_the_limit_of_the_seller(sale: Sale) -> None:
    await sale.offer(50, limit_per_buyer=3)

    results = await asyncio.gather(*(sale.hold("bo", 1) for _ in range(12)), return_exceptions=True)

    assert sum(isinstance(r, Order) for r in results) == 3
    assert sum(isinstance(r, BuyerLimit) for r in results) == 9


async def test_a_late_payment_does_not_get_more_than_the_seller_sells_to_one(sale: Sale) -> None:
    await sale.offer(50, limit_per_buyer=2)
    late = await sale.hold("bo", 2)
    await sale.pass_time(HOLD)
    await sale.pay(await sale.hold("bo", 2))

    await sale.desks[0].consider(late.id, "late")

    order = await sale.store.get(late.id)
    assert order is not None
    assert (order.late_payment, order.rejected_payments) == ("rejected", ("late",))


async def test_a_late_payment_within_the_limit_of_the_seller_is_accepted(sale: Sale) -> None:
    await sale.offer(50, limit_per_buyer=2)
    late = await sale.hold("bo", 1)
    await sale.pass_time(HOLD)
    await sale.pay(await sale.hold("bo", 1))

    await sale.desks[0].consider(late.id, "late")

    order = await sale.store.get(late.id)
    assert order is not None
    assert (order.late_payment, order.counts_for) == ("accepted", ("bo",))


async def test_a_limit_that_is_set_later_counts_what_was_bought_before(sale: Sale) -> None:
    await sale.offer(50)
    await sale.pay(await sale.hold("bo", 2))
    await sale.offer(50, limit_per_buyer=2, version=2)

    with pytest.raises(BuyerLimit):
        await sale.hold("bo")


async def test_buyers_who_share_a_network_get_a_tenth_at_a_time_and_more_as_they_pay(sale: Sale) -> None:
    await sale.offer(100)
    first = [await sale.hold(f"student{n}", network=HOME) for n in range(10)]

    with pytest.raises(NetworkHolds) as refused:
        await sale.hold("student10", network=HOME)
    assert 1 <= refused.value.retry_after <= 60
    await sale.hold("elsewhere", 10, network="198.51.100.0/24")

    for order in first:
        await sale.pay(order)
    await sale.hold("student10", 8, network=HOME)


async def test_who_is_alone_in_a_network_gets_the_last_units_and_changes_their_mind(sale: Sale) -> None:
    await sale.offer(5)
    await sale.cancel(await sale.hold("bo", 4, network=HOME))

    await sale.hold("bo", 5, network=HOME)

    with pytest.raises(SoldOut):  # and not that the network is the reason
        await sale.hold("cy", 1, network=HOME)


async def test_what_a_network_let_lapse_counts_for_one_more_hold_time(sale: Sale) -> None:
    await sale.offer(5)
    await sale.hold("bo", 5, network=HOME)
    await sale.pass_time(HOLD)

    with pytest.raises(NetworkHolds):
        await sale.hold("cy", 1, network=HOME)

    await sale.hold("elsewhere", 1, network="198.51.100.0/24")
    await sale.pass_time(HOLD)
    await sale.hold("cy", 4, network=HOME)


async def test_one_network_holds_five_hundred_units_of_all_items_at_most(sale: Sale) -> None:
    for n in range(50):
        await sale.offer(50)
        await sale.hold(f"buyer{n}", 10, network=HOME)
    await sale.offer(50)

    with pytest.raises(NetworkHolds):
        await sale.hold("one more", network=HOME)


async def test_an_order_that_is_paid_no_longer_says_where_its_buyer_was(sale: Sale) -> None:
    await sale.offer(50)
    order = await sale.hold("bo", network=HOME)
    await sale.pay(order)

    document = await sale.db.orders.find_one({"_id": order.id})

    assert document is not None
    assert HOME not in str({name: value for name, value in document.items() if name != "pending"})


async def test_holds_of_an_earlier_revision_count_too(sale: Sale) -> None:
    await sale.offer(50)
    await sale.hold("bo", 10)
    await sale.db.orders.update_many({}, {"$unset": {"counts_for": ""}})

    with pytest.raises(SoukError) as refused:
        await sale.hold("bo")

    assert refused.value.code == "hold_limit"
