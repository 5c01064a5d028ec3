"""A Souk without a bus: real handlers on real stores, and a test that decides what is delivered when, and how often."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from redis.asyncio import Redis

import expiration.consumers
import items.consumers
import orders.consumers
import payments.consumers
from common.bus.consumers import Handler, arguments_of
from common.errors import StaleWrite
from common.events import EVENTS, Currency, Event, HoldElapsed, PaymentRefunded
from common.ids import new_id
from common.mongo.client import Database
from common.outbox import Outgoing, Relay
from expiration.deadlines import KEYS, Deadlines
from items.domain import Item, ItemIsWithdrawn
from items.store import ItemStore
from orders.commands import PlaceOrder
from orders.desk import ReservationDesk
from orders.domain import ItemWithdrawn, OrderAlreadyPaid, OrderNotPaid, SoldOut
from orders.store import OrderStore
from payments.cashier import Cashier
from payments.domain import OrderNotPayable, Payment
from payments.gateways.port import GatewayTimeout
from payments.gateways.sandbox import SandboxGateway
from payments.store import DueStore, PaymentStore

READERS = (orders.consumers, payments.consumers, expiration.consumers, items.consumers)
SELLER = "seller"
HOLD = timedelta(minutes=15)


@dataclass(frozen=True)
class Delivery:
    """An event on its way to one of its readers."""

    event: Event
    handler: Handler

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """How Hypothesis shows it."""
        about: str = getattr(self.event, "payment_id", getattr(self.event, "order_id", "the item"))
        printer.text(f"{self.event.subject} of {about.partition('.')[0]} to {self.handler.__name__}")


class Untold(Relay):
    """Keeps what is safe in an outbox from the bus, and for the test."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def check_room(self) -> None:
        """There is always room."""

    def send(self, outgoing: Sequence[Outgoing]) -> None:
        """See `Relay`: read back from what would travel."""
        self.events += [EVENTS[o.envelope.subject].model_validate_json(o.envelope.body) for o in outgoing]


@dataclass
class Shop:
    """The parts of all services, made once: what happens in one world does not touch another's."""

    db: Database
    redis: Redis
    relay: Untold
    items: ItemStore
    orders: OrderStore
    desk: ReservationDesk
    payments: PaymentStore
    dues: DueStore
    cashier: Cashier

    @classmethod
    @asynccontextmanager
    async def open(cls, db: Database, redis_url: str) -> AsyncIterator[Self]:
        """A shop without any item."""
        async with AsyncExitStack() as exits:
            redis = await exits.enter_async_context(Redis.from_url(redis_url, decode_responses=True))
            gateway = SandboxGateway.open(db.sandbox_charges, "secret", "http://nowhere.test")
            relay = Untold()
            store, money, dues = OrderStore(db, relay), PaymentStore(db, relay), DueStore(db)
            await store.prepare()
            await money.prepare()
            cashier = Cashier(money, dues, await exits.enter_async_context(gateway))
            desk = ReservationDesk(store, HOLD, limit=100)
            yield cls(db, redis, relay, ItemStore(db, relay), store, desk, money, dues, cashier)


class World:
    """One item and its orders. Whatever is told because of an act waits in `waiting` until the test delivers it."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        # A day ago: to handlers, which look at the real time, every hold is over by the time they are told so.
        self.now = datetime.now(UTC) - timedelta(days=1)
        self.waiting: list[Delivery] = []
        self.seen: list[Delivery] = []
        self.refunded: list[str] = []
        """The payment of every `payments.refunded`."""
        self.item = ""
        self.orders: list[str] = []
        self.payments: list[str] = []
        self._deadlines = Deadlines(shop.redis, clock=lambda: self.now)
        self._parts = [shop.orders, shop.desk, shop.dues, shop.cashier, shop.items, self._deadlines]

    @classmethod
    async def open(cls, shop: Shop, quantity: int) -> Self:
        """A world with one item, of which orders has heard."""
        world = cls(shop)
        await shop.redis.delete(*KEYS)
        await world._deadlines.begin_rebuild()
        await world._deadlines.rebuild({}, complete=True)
        item = Item.offer(
            seller_id=SELLER,
            title="A seat",
            description="",
            price=100,
            currency=Currency.EUR,
            quantity=quantity,
            now=world.now,
        )
        world.item = item.id
        await shop.items.add(item)
        world._hear()
        await world.deliver(*world.waiting)
        return world

    def _hear(self) -> None:
        """Every reader of what was told has it on its way now."""
        for event in self.shop.relay.events:
            self._send(event)
        self.shop.relay.events.clear()

    def _send(self, event: Event) -> None:
        if isinstance(event, PaymentRefunded):
            self.refunded.append(event.payment_id)
        for service in READERS:
            for handler, events in service.consumers.handlers:
                if type(event) in events:
                    self.waiting.append(Delivery(event, handler))

    async def deliver(self, *deliveries: Delivery) -> None:
        """Deliver all of these at once. What a handler does not take stays on its way, as on the real bus."""
        await asyncio.gather(*(self._deliver(delivery) for delivery in deliveries))
        self.seen += [delivery for delivery in dict.fromkeys(deliveries) if delivery not in self.seen]
        self._hear()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await delivery.handler(delivery.event, **arguments_of(delivery.handler, self._parts))
        except StaleWrite:
            return  # Somebody else saved first: it comes again.
        if delivery in self.waiting:
            self.waiting.remove(delivery)

    async def place(self, quantity: int = 1) -> str | None:
        """A new order, each a minute later than the one before; None where it was refused."""
        self.now += timedelta(minutes=1)
        order_id = f"o{len(self.orders) + 1}.{new_id()}"
        command = PlaceOrder(self.item, quantity, f"buyer of {order_id}", "Bea", now=self.now, order_id=order_id)
        try:
            await self.shop.desk.place(command)
        except (SoldOut, ItemWithdrawn):
            return None
        self.orders.append(order_id)
        self._hear()
        return order_id

    async def cancel(self, order_id: str) -> None:
        """The buyer no longer wants it, if it is not too late for that."""
        with contextlib.suppress(OrderAlreadyPaid):
            await self.shop.desk.cancel(order_id)
        self._hear()

    async def begin_payment(self, order_id: str, card: str) -> str | None:
        """A new payment for which the gateway is not asked yet; None where payments refuses it."""
        due = await self.shop.dues.find(order_id)
        if due is None:
            return None
        try:
            payment = Payment.begin(due, method=card, request_key=None, now=self.now)
            payment.id = f"{order_id.partition('.')[0]}p{len(self.payments) + 1}.{new_id()}"
            await self.shop.payments.add(payment)
        except OrderNotPayable:
            return None
        self.payments.append(payment.id)
        self._hear()
        return payment.id

    async def see_to(self, payment_id: str) -> None:
        """Do the next thing that a payment waits for: ask the gateway for money, or to give it back."""
        with contextlib.suppress(GatewayTimeout):
            await self.shop.cashier.settle(payment_id)
        self._hear()

    async def request_refund(self, order_id: str) -> None:
        """The seller gives the money back, if there is any."""
        order = await self.shop.orders.get(order_id)
        with contextlib.suppress(OrderNotPaid):
            assert order
            order.request_refund()
            await self.shop.orders.save(order)
        self._hear()

    async def offer(self, quantity: int) -> None:
        """The seller offers another quantity."""
        with contextlib.suppress(ItemIsWithdrawn):
            await self.shop.items.change(self.item, lambda item: item.edit(SELLER, {"quantity": quantity}))
        self._hear()

    async def withdraw(self) -> None:
        """The seller takes no more orders."""
        await self.shop.items.change(self.item, lambda item: item.withdraw(SELLER))
        self._hear()

    async def let_time_pass(self) -> None:
        """Every hold whose deadline expiration knows is over."""
        self.now += HOLD + timedelta(seconds=1)
        claim = await self._deadlines.claim(100)
        for order_id in claim.orders:
            self._send(HoldElapsed(order_id=order_id))
        await self._deadlines.settle(claim, claim.orders)
