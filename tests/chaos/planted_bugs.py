"""Bugs planted into a service at its start: `python -m tests.chaos.planted_bugs orders`. The checker must catch each.

A bug is active while the file named by BUG contains its name, so one stack can have all of them in turn.
"""

import asyncio
import os
import runpy
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from pymongo import UpdateOne
from pymongo.read_concern import ReadConcern

import common.outbox
import items.store
from common.bus.connection import Bus
from common.bus.consumers import Consumer
from common.bus.envelope import Envelope
from common.events import ItemState, ItemStatus, PaymentCaptured, StockChanged
from common.leased_work import LeasedWork
from common.mongo.client import WITHOUT_PENDING, Collection
from common.outbox import Outbox, Outgoing
from items.domain import Item
from items.store import ItemStore
from orders.desk import ReservationDesk
from orders.domain import Order
from orders.stock import SoldOut, Stock
from orders.store import OrderStore
from payments.cashier import Cashier
from payments.domain import Payment
from payments.status import PaymentStatus
from payments.store import PaymentStore
from tests.chaos.planted_ticket_bugs import (
    admit_any_generation,
    admit_without_extras,
    change_later,
    read_unsigned,
)
from tickets.codes import TicketCodes
from tickets.domain import Booking
from tickets.store import BookingStore

BUGS = (
    "unguarded stock",
    "ack before write",
    "event lost after write",
    "deadline ignored",
    "refund twice",
    "refund never",
    "failed refund not heard",
    "dispute not heard",
    "charged after no",
    "lateness by arrival",
    "dropped dead letter",
    "key not remembered",
    "lease ignored",
    "hold limit ignored",
    "price of another version",
    "price not compared",
    "sold out too early",
    "withdrawal ignored",
    "given back twice",
    "old news shown",
    "local read before ack",
    "sweeps local",
    "generation unchecked",
    "scan answered before it is written",
    "extra admission forgotten",
    "signature unchecked",
)

SHORT_GRACE = timedelta(seconds=5)
"""How long the sweeper leaves events to their writer: half as long as a save may take."""

HANDLING_DELAY = 0.3
"""Seconds between acknowledging a message too early and handling it. A process killed meanwhile loses the message."""


def is_active(bug: str) -> bool:
    """Return whether this is the bug that is active now."""
    assert bug in BUGS
    return Path(os.environ["BUG"]).read_text() == bug


def plant(owner: Any, name: str, bug: str, wrong: Callable[..., Any]) -> None:
    """Replace a method by `wrong` while the bug is active."""
    right = getattr(owner, name)

    def either(*args: Any, **kwargs: Any) -> Any:
        return (wrong if is_active(bug) else right)(*args, **kwargs)

    setattr(owner, name, either)


def take_unguarded(stock: Stock, quantity: int) -> None:
    """Take units without checking whether they are free."""
    stock.taken += quantity
    stock._changed()


right_take = Consumer._take


async def ack_first(consumer: Consumer, msg: Msg) -> None:
    """Acknowledge a message before it is handled: what fails then is never delivered again."""
    await msg.ack()

    async def no_more(**_: object) -> None:
        """Do nothing: the server has forgotten the message."""

    msg.ack = msg.nak = no_more  # type: ignore[assignment, method-assign]
    await asyncio.sleep(HANDLING_DELAY)
    await right_take(consumer, msg)


right_publish = Bus.publish


async def publish_some(bus: Bus, envelopes: Sequence[Envelope]) -> list[Envelope]:
    """Report all events as published, but do not publish captured payments."""
    sent = await right_publish(bus, [e for e in envelopes if e.subject != PaymentCaptured.subject])
    return [e for e in envelopes if e in sent or e.subject == PaymentCaptured.subject]


async def nothing(*_: object, **__: object) -> None:
    """Do nothing instead of what should be done."""


def ignore(*_: object, **__: object) -> None:
    """The same where nothing is awaited."""


right_authorize = Payment.authorize


def take_at_once(payment: Payment, reference: str, now: datetime) -> None:
    """Capture what is authorized without asking orders for the units."""
    right_authorize(payment, reference, now)
    if payment.status is PaymentStatus.AUTHORIZED:
        payment.accepted(now)


right_expire = Order.expire


def expire_while_paid(order: Order, stock: Stock) -> None:
    """End an order at its deadline although a payment was accepted: lateness is when the money comes."""
    order.accepted_payment = None
    right_expire(order, stock)


right_owe = Payment.owe_refund


def owe_again(payment: Payment, *args: Any) -> None:
    """Make a refund again if it is requested again."""
    if payment.status is PaymentStatus.REFUNDED:
        payment.status = PaymentStatus.CAPTURED
    right_owe(payment, *args)


right_post = JetStreamContext.publish


async def publish_no_dead_letter(js: JetStreamContext, subject: str, *args: Any, **kwargs: Any) -> Any:
    """Drop messages that no handler could handle."""
    return None if subject.startswith("dead_letters.") else await right_post(js, subject, *args, **kwargs)


right_write = OrderStore.write


async def write_no_answers(store: OrderStore, session: Any, orders: Any, stock: Any, _: Any, now: datetime) -> None:
    """Forget what was answered under an Idempotency-Key."""
    await right_write(store, session, orders, stock, {}, now)


async def take_without_lease(work: LeasedWork, document: dict[str, Any], _: datetime) -> None:
    """Take work for good, instead of for the time of a lease. If the process dies, nobody does it."""
    key = document["_id"]
    await work._collection.update_one({"_id": key}, {"$unset": {work._due_field: ""}})

    async def run() -> None:
        await asyncio.sleep(HANDLING_DELAY)
        await work._run(key)

    work._running[key] = asyncio.create_task(run())


right_place = Order.place


def place_without_limit(stock: Stock, **asked: Any) -> Order:
    """Place orders beyond the hold limit."""
    return right_place(stock, **{**asked, "limit": 1_000})


def place_at_any_price(stock: Stock, **asked: Any) -> Order:
    """Do not compare the price with the one that the buyer saw."""
    return right_place(stock, **{**asked, "expected_unit_price": None})


right_follow = Stock.follow


def follow_but_the_price(stock: Stock, item: ItemState) -> None:
    """Copy the seller's newest offer, and keep the price of an older one."""
    price = stock.unit_price
    right_follow(stock, item)
    stock.unit_price = price


def follow_but_the_end(stock: Stock, item: ItemState) -> None:
    """Copy the seller's newest offer, and go on selling what is withdrawn."""
    right_follow(stock, item.model_copy(update={"status": ItemStatus.LISTED}))


right_take_units = Stock.take


def take_all_but_the_last(stock: Stock, quantity: int) -> None:
    """Say that the item is sold out when just enough units are free."""
    if quantity == stock.free:
        raise SoldOut("sold out")
    right_take_units(stock, quantity)


def give_back_twice(stock: Stock, quantity: int) -> None:
    """Put twice as many units back on sale."""
    stock.taken -= 2 * quantity
    stock._changed()


def copy_any(event: StockChanged) -> UpdateOne:
    """Show the stock of any event, even if a newer one is shown."""
    return UpdateOne(
        {"_id": event.item_id}, {"$set": {"available": event.available, "stock_version": event.stock_version}}
    )


async def item_as_the_primary_has_it(store: ItemStore, item_id: str) -> Item:
    """Read an item in a state that the majority may never have."""
    document = await locally(store._items).find_one({"_id": item_id}, WITHOUT_PENDING)
    assert document
    return Item.from_document(document)


async def payment_as_the_primary_has_it(store: PaymentStore, payment_id: str) -> Payment | None:
    """The same for a payment."""
    document = await locally(store.collection).find_one({"_id": payment_id}, WITHOUT_PENDING)
    return Payment.from_document(document) if document else None


right_left_behind = common.outbox._left_behind


def left_behind_here(collection: Collection, _: datetime) -> AsyncGenerator[Outgoing, None]:
    """Sweep events of states that the majority may never have, before their writer knows what became of them."""
    return right_left_behind(locally(collection), datetime.now(UTC) - SHORT_GRACE)


def locally(collection: Collection) -> Collection:
    """The collection as its primary alone has it."""
    return collection.with_options(read_concern=ReadConcern("local"))


def plant_all() -> None:
    """Plant every bug. None is active yet."""
    plant(Stock, "take", "unguarded stock", take_unguarded)
    plant(Consumer, "_take", "ack before write", ack_first)
    plant(Bus, "publish", "event lost after write", publish_some)
    plant(Payment, "owe_refund", "refund twice", owe_again)
    plant(Cashier, "give_back", "refund never", nothing)
    plant(Payment, "note_refunds", "failed refund not heard", ignore)
    plant(Payment, "disputed", "dispute not heard", ignore)
    plant(Payment, "authorize", "charged after no", take_at_once)
    plant(Order, "expire", "lateness by arrival", expire_while_paid)
    plant(ReservationDesk, "expire", "deadline ignored", nothing)
    plant(JetStreamContext, "publish", "dropped dead letter", publish_no_dead_letter)
    plant(OrderStore, "write", "key not remembered", write_no_answers)
    plant(LeasedWork, "_lease", "lease ignored", take_without_lease)
    plant(Order, "place", "hold limit ignored", place_without_limit)
    plant(Order, "place", "price not compared", place_at_any_price)
    plant(Stock, "follow", "price of another version", follow_but_the_price)
    plant(Stock, "follow", "withdrawal ignored", follow_but_the_end)
    plant(Stock, "take", "sold out too early", take_all_but_the_last)
    plant(Stock, "give_back", "given back twice", give_back_twice)
    plant(items.store, "_copy_of", "old news shown", copy_any)
    plant(ItemStore, "get", "local read before ack", item_as_the_primary_has_it)
    plant(PaymentStore, "find", "local read before ack", payment_as_the_primary_has_it)
    plant(Outbox, "_confirm", "local read before ack", nothing)
    plant(Booking, "admit", "generation unchecked", admit_any_generation)
    plant(Booking, "admit", "extra admission forgotten", admit_without_extras)
    plant(TicketCodes, "read", "signature unchecked", read_unsigned)
    plant(BookingStore, "change", "scan answered before it is written", change_later)
    plant(common.outbox, "_left_behind", "sweeps local", left_behind_here)


if __name__ == "__main__":
    plant_all()
    sys.argv = sys.argv[1:]
    runpy.run_module(f"{sys.argv[0]}.main", run_name="__main__")
