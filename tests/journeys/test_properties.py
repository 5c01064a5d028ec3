"""Events of an order may come in any sequence, twice and late: the end state keeps the promises, and is the same.

"The same" means: where nothing competes, the order, its money, the stock and all copies of them are those of the plan,
whatever came first. Late money may compete for the last units, or a cancellation with a payment. Then the winner may
differ, but all that was offered is still free, held or sold, and every charge ends as exactly one paid order or one
refund.

In the second test, processes also die and answers are lost, on the way to the real MongoDB and to the sandbox.
`tests/interleavings` runs many more of such sequences, over a model of the servers.

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
from payments.gateways.sandbox import CARDS
from tests.support.manual_bus import Delivery, ManualBus, Parts

pytestmark = pytest.mark.timeout(600)  # Hypothesis may shrink a failing example for minutes


@pytest_asyncio.fixture
async def parts(db: Database, redis_url: str) -> AsyncIterator[Parts]:
    """The parts of all services."""
    async with Parts.open(db, redis_url) as parts:
        yield parts


async def by_id(collection: Collection, ids: Sequence[str]) -> dict[str, Document]:
    """These documents, as they are stored."""
    return {d["_id"]: d async for d in collection.find({"_id": {"$in": list(ids)}})}


@dataclass
class Found:
    """Everything stored about the orders of a bus, by id."""

    stock: Document
    item: Document
    orders: dict[str, Document]
    payments: dict[str, Document]
    dues: dict[str, Document]
    charges: dict[str, Document]
    deadlines: list[str]

    @classmethod
    async def read(cls, bus: ManualBus) -> "Found":
        """Read it."""
        db = bus.parts.db
        return cls(
            stock=(await by_id(db.stock, [bus.item]))[bus.item],
            item=(await by_id(db.items, [bus.item]))[bus.item],
            orders=await by_id(db.orders, bus.orders),
            payments=await by_id(db.payments, bus.payments),
            dues=await by_id(db.dues, bus.orders),
            charges=await by_id(db.sandbox_charges, bus.payments),
            deadlines=[str(order_id) for order_id in await bus.parts.redis.zrange(KEYS[0], 0, -1)],
        )

    @property
    def free(self) -> int:
        """The units that can be taken now."""
        left = max(0, self.stock["offered"] - self.stock["taken"])
        return left if self.stock["status"] == "listed" else 0


async def assert_nothing_is_sold_twice(bus: ManualBus, most: int) -> None:
    """Check what must hold at every moment. `most` is the largest quantity that was offered at any time."""
    stock = (await by_id(bus.parts.db.stock, [bus.item]))[bus.item]
    orders = (await by_id(bus.parts.db.orders, bus.orders)).values()
    live = [order["quantity"] for order in orders if order["status"] in ("awaiting_payment", "paid")]
    assert stock["taken"] == sum(live), "a unit is taken exactly while a live order has it"
    assert stock["taken"] <= most, "more is held and sold than was offered at any time"
    paying = [order["payment_id"] for order in orders if "payment_id" in order]
    assert len(paying) == len(set(paying)), "one payment paid two orders"
    for order in orders:
        taken = {order.get("payment_id"), order.get("accepted_payment")}
        assert not taken.intersection(order["rejected_payments"]), "a payment was taken and rejected"


def assert_no_money_is_lost(found: Found, refunded: Sequence[str]) -> None:
    """Check what must hold once all is delivered: every charge belongs to one paid order or was refunded once."""
    assert len(refunded) == len(set(refunded)), "a payment was refunded twice"
    for payment_id, charge in found.charges.items():
        payment, order = found.payments[payment_id], found.orders[found.payments[payment_id]["order_id"]]
        pays = order["status"] == "paid" and order["payment_id"] == payment_id
        if charge.get("captured_at") is None:
            assert (payment["status"] in {"failed", "released"}, pays) == (True, False)
            assert "ended" in charge or charge.get("authorized_at") is None, "an authorization stays open"
        else:
            assert payment["status"] == ("captured" if pays else "refunded"), (order, payment)
            assert ("refunded_at" in charge) == (payment_id in refunded) == (not pays)
            asked = order["status"] == "refunded" and order["payment_id"] == payment_id
            assert pays or asked or not CARDS[payment["method"]].authorized, "a card was captured and displaced"


def assert_copies_agree(found: Found) -> None:
    """Once all is delivered, the copies in the other services agree with orders."""
    assert found.item["available"] == found.free
    assert (found.stock["offered"], found.stock["status"]) == (found.item["quantity"], found.item["status"])
    states = {"paid": "paid", "refunded": "paid", "expired": "cancelled", "cancelled": "cancelled"}
    assert {key: due["state"] for key, due in found.dues.items()} == {
        key: states.get(order["status"]) for key, order in found.orders.items()
    }
    assert found.deadlines == []


async def settle_in_any_order(bus: ManualBus, draw: st.DataObject, most: int) -> None:
    """Deliver until nothing waits: up to three at a time, some of them for the second time."""
    while True:
        await bus.sweep()
        while bus.waiting:
            first = draw.draw(st.sampled_from(bus.waiting), label="deliver")
            others = draw.draw(st.lists(st.sampled_from(bus.waiting + bus.seen), max_size=2), label="and at once")
            await bus.deliver(first, *others)
            await assert_nothing_is_sold_twice(bus, most)
        await settle_payments(bus)
        if not bus.waiting:
            await bus.let_time_pass()
            await settle_payments(bus)
        if not bus.waiting:
            return


async def settle_payments(bus: ManualBus) -> None:
    """Do what the leased work would do."""
    for payment_id in bus.payments:
        await bus.settle_payment(payment_id)


async def assert_delivering_everything_again_changes_nothing(bus: ManualBus) -> Found:
    """Deliver everything once more, the last first; return what is stored."""
    before = await read_unversioned(bus)
    for delivery in reversed(bus.seen):
        await bus.deliver(delivery)
    await bus.let_time_pass()  # for deadlines that were delivered again
    await bus.deliver(*bus.waiting)
    after = await read_unversioned(bus)
    assert after == before
    return after


async def read_unversioned(bus: ManualBus) -> Found:
    """What is stored; of payments without versions and events, because some outcomes are said once more."""
    found = await Found.read(bus)
    for payment in found.payments.values():
        del payment["version"], payment["pending"]
    return found


@dataclass(frozen=True)
class Plan:
    """What people do with an order, and how it ends, whatever is delivered first."""

    name: str
    ends: str
    cards: tuple[str, ...] = ()
    money: tuple[str, ...] = ()
    """The statuses of its payments at the end."""
    cancelled: bool = False
    refunded: bool = False

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(repr(self.name))  # how Hypothesis shows it


PLANS = (
    Plan("left", ends="expired"),
    Plan("cancelled", ends="cancelled", cancelled=True),
    Plan("paid", ends="paid", cards=("pm_card_visa",), money=("captured",)),
    Plan("paid, answer lost", ends="paid", cards=("pm_card_lost",), money=("captured",)),
    Plan("declined", ends="expired", cards=("pm_card_declined",), money=("failed",)),
    Plan("paid at last", ends="paid", cards=("pm_card_declined", "pm_card_visa"), money=("failed", "captured")),
    Plan("paid and cancelled", ends="cancelled", cards=("pm_card_visa",), money=("released",), cancelled=True),
    Plan("capture refused", ends="cancelled", cards=("pm_card_capture_fails",), money=("failed",)),
    Plan("by bank", ends="paid", cards=("pm_bank",), money=("captured",)),
    Plan("by bank, late", ends="paid", cards=("pm_bank_late",), money=("captured",)),
    Plan("by bank and cancelled", ends="cancelled", cards=("pm_bank",), money=("refunded",), cancelled=True),
    Plan("given back", ends="refunded", cards=("pm_card_visa",), money=("refunded",), refunded=True),
)


async def start(bus: ManualBus, plan: Plan) -> str:
    """Do what people do, before any delivery but the amount due: the order, its payments, the cancellation."""
    order_id = await bus.place()
    assert order_id
    await bus.deliver(*(d for d in bus.waiting if is_of(d, order_id, "copy_amount_due")))
    for card in plan.cards:
        payment_id = await bus.begin_payment(order_id, card)
        assert payment_id
        await bus.settle_payment(payment_id)
        await bus.settle_payment(payment_id)  # again, in case the answer was lost
    if plan.cancelled:
        await bus.cancel(order_id)
    return order_id


def is_of(delivery: Delivery, order_id: str, handler: str) -> bool:
    """Whether this is a delivery about this order to this handler."""
    return getattr(delivery.event, "order_id", "") == order_id and delivery.handler.__name__ == handler


@pytest.mark.prove
@given(st.lists(st.sampled_from(PLANS), min_size=1, max_size=3), st.data())
async def test_where_nothing_competes_every_order_of_delivery_ends_the_same(
    parts: Parts, plans: list[Plan], draw: st.DataObject
) -> None:
    bus = await ManualBus.open(parts, quantity=10)
    orders = {await start(bus, plan): plan for plan in plans}
    known = draw.draw(st.lists(st.sampled_from(sorted(orders)), unique=True), label="expiration knows")
    await bus.deliver(*(d for d in bus.waiting for order_id in known if is_of(d, order_id, "start_the_clock")))
    await bus.let_time_pass()

    await settle_in_any_order(bus, draw, most=10)
    for order_id in (order_id for order_id, plan in orders.items() if plan.refunded):
        await bus.request_refund(order_id)
    await settle_in_any_order(bus, draw, most=10)

    found = await assert_delivering_everything_again_changes_nothing(bus)
    assert {key: order["status"] for key, order in found.orders.items()} == {
        key: plan.ends for key, plan in orders.items()
    }
    for order_id, plan in orders.items():
        payments = [p for p in found.payments.values() if p["order_id"] == order_id]
        assert tuple(p["status"] for p in sorted(payments, key=lambda p: p["_id"])) == plan.money
    sold = sum(plan.ends == "paid" for plan in plans)
    assert (found.stock["taken"], found.item["available"]) == (sold, 10 - sold)
    assert_no_money_is_lost(found, bus.refunded)
    assert_copies_agree(found)


METHODS = ("pm_card_visa", "pm_card_declined", "pm_card_late", "pm_card_lost", "pm_card_capture_fails", "pm_bank_late")
ACTS = ("place", "cancel", "pay", "settle", "time", "refund", "offer", "withdraw")


async def act(bus: ManualBus, what: str, draw: st.DataObject) -> int:
    """Do something; return the quantity that it offers, or 0."""
    match what:
        case "place":
            await bus.place(draw.draw(st.integers(1, 2), label="quantity"))
        case "offer":
            quantity = draw.draw(st.integers(1, 3), label="offered")
            await bus.offer(quantity)
            return quantity
        case "withdraw":
            await bus.withdraw()
        case "time":
            await bus.let_time_pass()
        case "settle" if bus.payments:
            await bus.settle_payment(draw.draw(st.sampled_from(bus.payments), label="payment"))
        case "cancel" if bus.orders:
            await bus.cancel(draw.draw(st.sampled_from(bus.orders), label="order"))
        case "refund" if bus.orders:
            await bus.request_refund(draw.draw(st.sampled_from(bus.orders), label="order"))
        case "pay" if bus.orders:
            card = draw.draw(st.sampled_from(METHODS), label="card")
            await bus.begin_payment(draw.draw(st.sampled_from(bus.orders), label="order"), card)
    return 0


@pytest.mark.prove
@given(st.integers(1, 3), st.data())
async def test_where_orders_compete_nothing_is_sold_twice_and_no_money_is_lost(
    parts: Parts, quantity: int, draw: st.DataObject
) -> None:
    bus, most = await ManualBus.open(parts, quantity), quantity
    for _ in range(draw.draw(st.integers(3, 20), label="steps")):
        choices: list[str | Delivery] = [*ACTS, *bus.waiting, *bus.seen[-3:]]
        step = draw.draw(st.sampled_from(choices), label="step")
        if step == "settle" or isinstance(step, Delivery):
            parts.faults.arm(draw.draw(st.none() | st.integers(0, 5), label="lost after"))
        match step:
            case Delivery() as delivery:
                await bus.deliver(delivery)
            case str() as what:
                most = max(most, await act(bus, what, draw))
        parts.faults.arm(None)
        await assert_nothing_is_sold_twice(bus, most)

    await settle_in_any_order(bus, draw, most)

    found = await assert_delivering_everything_again_changes_nothing(bus)
    assert_no_money_is_lost(found, bus.refunded)
    assert_copies_agree(found)
