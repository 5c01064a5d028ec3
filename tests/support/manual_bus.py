"""A bus by hand: real handlers on real stores, and a test that decides what is delivered when, and how often."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from pymongo.errors import AutoReconnect
from redis.asyncio import Redis

import expiration.consumers
import items.consumers
import orders.consumers
import payments.consumers
from common.bus.consumers import Handler, arguments_of
from common.bus.envelope import Envelope
from common.clock import whole_milliseconds
from common.errors import StaleWrite
from common.events import EVENTS, Currency, Event, HoldElapsed, PaymentRefunded
from common.ids import new_id
from common.mongo.client import AWAY, Database
from common.outbox import Outbox, Outgoing, Relay
from expiration.deadlines import KEYS, Deadlines
from items.domain import Item, ItemIsWithdrawn
from items.store import ItemStore
from orders.commands import PlaceOrder
from orders.desk import ReservationDesk
from orders.domain import ItemWithdrawn, OrderAlreadyPaid, OrderNotPaid
from orders.holds import HoldLimits
from orders.stock import SoldOut
from orders.store import OrderStore
from payments.cashier import Cashier
from payments.domain import Payment
from payments.due import OrderNotPayable
from payments.gateways.port import GatewayTimeout
from payments.gateways.sandbox import SandboxGateway
from payments.store import DueStore, PaymentStore
from tests.support.clock import Clock

READERS = (orders.consumers, payments.consumers, expiration.consumers, items.consumers)
SELLER = "seller"
HOLD = timedelta(minutes=15)

AGAIN = (*AWAY, StaleWrite)
"""After these errors of a handler, the bus delivers the message again: it was not handled, or nobody knows."""


@dataclass(frozen=True)
class Delivery:
    """An event on its way to one of its handlers."""

    event: Event
    handler: Handler

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Print it as Hypothesis shows it."""
        about: str = getattr(self.event, "payment_id", getattr(self.event, "order_id", "the item"))
        printer.text(f"{self.event.subject} of {about.partition('.')[0]} to {self.handler.__name__}")


class Faults:
    """Makes one of the next calls to MongoDB or the gateway fail: its request or its answer is lost.

    For the state that is stored, a process that dies there is the same.
    """

    def __init__(self) -> None:
        self._after: int | None = None

    def arm(self, after: int | None) -> None:
        """Fail once, after this number of requests and answers; never if it is None."""
        self._after = after

    def perhaps(self, error: type[Exception]) -> None:
        """Count a request or an answer. Raises `error` if it is lost."""
        if self._after == 0:
            self._after = None
            raise error("lost on the way")
        if self._after:
            self._after -= 1

    @contextmanager
    def striking(self) -> Iterator[None]:
        """Meanwhile, writes and calls to the gateway may fail."""
        with pytest.MonkeyPatch.context() as patch:
            for owner, names, error in (
                (Outbox, ("_save",), AutoReconnect),
                (OrderStore, ("in_transaction",), AutoReconnect),
                (DueStore, ("keep",), AutoReconnect),
                (SandboxGateway, ("charge", "abandon", "capture", "release", "retrieve", "refund"), GatewayTimeout),
            ):
                for name in names:
                    patch.setattr(owner, name, self._faulty(getattr(owner, name), error))
            yield

    def _faulty(self, method: Callable[..., Awaitable[Any]], error: type[Exception]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            self.perhaps(error)
            answer = await method(*arguments)
            self.perhaps(error)
            return answer

        return call


class RecordingRelay(Relay):
    """Keeps events for the test instead of publishing them."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._sent: set[str] = set()

    def check_room(self) -> None:
        """Do nothing: there is always room."""

    @property
    def waiting_bytes(self) -> int:
        """None."""
        return 0

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """Record the events, parsed from what would be published."""
        new = [o.envelope for o in outgoing if o.envelope.id not in self._sent]
        self._sent.update(envelope.id for envelope in new)
        self.events += [EVENTS[envelope.subject].model_validate_json(envelope.body) for envelope in new]


@dataclass
class Parts:
    """The parts of all services, made once for many buses: they share databases but no item.

    Their clock is a day ahead: what the real time makes due must not happen by itself.
    """

    clock: Clock
    faults: Faults
    db: Database
    redis: Redis
    relay: RecordingRelay
    items: ItemStore
    orders: OrderStore
    desk: ReservationDesk
    payments: PaymentStore
    dues: DueStore
    cashier: Cashier

    @classmethod
    @asynccontextmanager
    async def open(cls, db: Database, redis_url: str) -> AsyncIterator[Self]:
        """Make the parts, without any item."""
        async with AsyncExitStack() as exits:
            clock, faults = Clock(whole_milliseconds(datetime.now(UTC)) + timedelta(days=1)), Faults()
            exits.enter_context(clock.shown())
            exits.enter_context(faults.striking())
            redis = await exits.enter_async_context(Redis.from_url(redis_url, decode_responses=True))
            gateway = SandboxGateway.open(db.sandbox_charges, "secret", "http://nowhere.test")
            relay = RecordingRelay()
            store, money, dues = OrderStore(db, relay), PaymentStore(db, relay), DueStore(db)
            await store.prepare()
            await money.prepare()
            cashier = Cashier(money, dues, await exits.enter_async_context(gateway))
            desk = ReservationDesk(store, HoldLimits(HOLD, per_item=100, total=100, pause=timedelta()))
            yield cls(clock, faults, db, redis, relay, ItemStore(db, relay), store, desk, money, dues, cashier)


class ManualBus:
    """One item and its orders. What an action publishes is in `waiting` until the test delivers it."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.clock = parts.clock
        self.waiting: list[Delivery] = []
        self.seen: list[Delivery] = []
        self.refunded: list[str] = []
        """The payment id of every `payments.refunded`."""
        self.item = ""
        self.orders: list[str] = []
        self.payments: list[str] = []
        self._deadlines = Deadlines(parts.redis, clock=self.clock)
        self._injected = [parts.orders, parts.desk, parts.dues, parts.cashier, parts.items, self._deadlines]

    @classmethod
    async def open(cls, parts: Parts, quantity: int) -> Self:
        """Return a bus with one item that orders knows."""
        bus = cls(parts)
        await parts.redis.delete(*KEYS)
        await bus._deadlines.begin_rebuild()
        await bus._deadlines.rebuild({}, complete=True)
        item = Item.offer(
            seller_id=SELLER,
            title="A seat",
            description="",
            price=100,
            currency=Currency.EUR,
            quantity=quantity,
            now=bus.clock.now,
        )
        bus.item = item.id
        await parts.items.add(item)
        bus._collect()
        await bus.deliver(*bus.waiting)
        return bus

    def _collect(self) -> None:
        """Put what was published on its way to every handler of it."""
        for event in self.parts.relay.events:
            self._send(event)
        self.parts.relay.events.clear()

    def _send(self, event: Event) -> None:
        if isinstance(event, PaymentRefunded):
            self.refunded.append(event.payment_id)
        for service in READERS:
            for handler, events in service.consumers.handlers:
                if type(event) in events:
                    self.waiting.append(Delivery(event, handler))

    async def deliver(self, *deliveries: Delivery) -> None:
        """Deliver all of these concurrently. What a handler does not accept stays in `waiting`, as on the real bus."""
        await asyncio.gather(*(self._deliver(delivery) for delivery in deliveries))
        for delivery in deliveries:
            if delivery not in self.seen:
                self.seen.append(delivery)
        self._collect()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await delivery.handler(delivery.event, **arguments_of(delivery.handler, self._injected))
        except AGAIN:
            return  # it is delivered again
        if delivery in self.waiting:
            self.waiting.remove(delivery)

    async def sweep(self) -> None:
        """Publish what was saved by a write whose answer was lost, as the relay's sweeper would."""
        db = self.parts.db
        about = {"$or": [{"_id": self.item}, {"item_id": self.item}, {"order_id": {"$in": self.orders}}]}
        for collection in (db.items, db.stock, db.orders, db.payments):
            async for document in collection.find(about, {"pending": 1}):
                pending = document.get("pending", [])
                self.parts.relay.send(
                    [Outgoing(collection, document["_id"], Envelope.from_document(one)) for one in pending]
                )
        self._collect()

    async def place(self, quantity: int = 1) -> str | None:
        """Place an order, a minute after the one before. Return its id, or None if it is refused."""
        self.clock.advance(timedelta(minutes=1))
        order_id = f"o{len(self.orders) + 1}.{new_id()}"
        command = PlaceOrder(self.item, quantity, f"buyer of {order_id}", "Bea", now=self.clock.now, order_id=order_id)
        try:
            await self.parts.desk.place(command)
        except (SoldOut, ItemWithdrawn):
            return None
        self.orders.append(order_id)
        self._collect()
        return order_id

    async def cancel(self, order_id: str) -> None:
        """Cancel as the buyer, unless it is too late."""
        with contextlib.suppress(OrderAlreadyPaid):
            await self.parts.desk.cancel(order_id)
        self._collect()

    async def begin_payment(self, order_id: str, card: str) -> str | None:
        """Store a payment without calling the gateway. Return its id, or None if payments refuses it."""
        due = await self.parts.dues.find(order_id)
        if due is None:
            return None
        try:
            payment = Payment.begin(due, method=card, request_key=None, now=self.clock.now)
            payment.id = f"{order_id.partition('.')[0]}p{len(self.payments) + 1}.{new_id()}"
            await self.parts.payments.add(payment)
        except OrderNotPayable:
            return None
        self.payments.append(payment.id)
        self._collect()
        return payment.id

    async def settle_payment(self, payment_id: str) -> None:
        """Make the call to the gateway that the payment needs next, if any."""
        with contextlib.suppress(GatewayTimeout, *AWAY):
            await self.parts.cashier.settle(payment_id)
        self._collect()

    async def request_refund(self, order_id: str) -> None:
        """Ask for a refund as the seller, if the order is paid."""
        order = await self.parts.orders.get(order_id)
        with contextlib.suppress(OrderNotPaid):
            assert order
            order.request_refund()
            await self.parts.orders.save(order)
        self._collect()

    async def offer(self, quantity: int) -> None:
        """Change the quantity as the seller."""
        with contextlib.suppress(ItemIsWithdrawn):
            await self.parts.items.change(self.item, lambda item: item.edit(SELLER, {"quantity": quantity}))
        self._collect()

    async def withdraw(self) -> None:
        """Withdraw the item as the seller."""
        await self.parts.items.change(self.item, lambda item: item.withdraw(SELLER))
        self._collect()

    async def let_time_pass(self) -> None:
        """Let every hold end whose deadline expiration knows."""
        self.clock.advance(HOLD + timedelta(seconds=1))
        claim = await self._deadlines.claim(100)
        for order_id in claim.orders:
            self._send(HoldElapsed(order_id=order_id))
        await self._deadlines.settle(claim, claim.orders)
