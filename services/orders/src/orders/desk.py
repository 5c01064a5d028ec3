"""Group commit: whatever touches stock waits for the group in flight, then all of it is decided and committed at once.

One transaction per request storms on a popular item; one per group makes an order cheaper the more buyers come
(docs/decisions/group-commit.md has the figures). Within a group, commands are served in order of arrival: who fits
gets units, who does not is refused, and nobody pays for another's refusal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pymongo.asynchronous.client_session import AsyncClientSession

from common.batching import Batcher
from common.bus.envelope import Envelope
from common.clock import now
from common.errors import IdempotencyKeyReused, SoukError, StaleWrite
from common.events import CancelReason, ItemState
from common.ids import new_id, once_arrived
from common.mongo.client import AWAY, Document
from common.outbox import retry_stale
from common.telemetry import Cause, current_cause
from orders.domain import HoldLimit, ItemNotFound, Order, OrderNotFound, SoldOut, Stock, hold_key
from orders.store import OrderStore

REFUSALS: dict[str, type[SoukError]] = {kind.code: kind for kind in (SoldOut, HoldLimit)}
"""Refusals that depend on the moment, and so are remembered under an Idempotency-Key."""


@dataclass(frozen=True)
class PlaceOrder:
    """Hold some units of an item. `key` is the buyer's Idempotency-Key."""

    item_id: str
    quantity: int
    buyer_id: str
    buyer_name: str
    key: str | None = None
    now: datetime = field(default_factory=now)
    order_id: str = field(default_factory=new_id)
    cause: Cause = field(default_factory=current_cause)

    @property
    def answer_key(self) -> str | None:
        """What the answer is remembered under: keys are each buyer's own."""
        return f"{self.buyer_id}/{self.key}" if self.key else None

    @property
    def fingerprint(self) -> str:
        """The same for the same body."""
        return f"{self.item_id}/{self.quantity}"


@dataclass(frozen=True)
class ChangeOrder:
    """Let an order and its stock do something together."""

    order_id: str
    act: Callable[[Order, Stock], None]
    cause: Cause = field(default_factory=current_cause)


@dataclass(frozen=True)
class FollowItem:
    """Take over what the seller says of an item."""

    item: ItemState
    cause: Cause = field(default_factory=current_cause)


Command = PlaceOrder | ChangeOrder | FollowItem
Outcome = Order | None | SoukError


class ReservationDesk:
    """The one way to stock. Made for one store; `hold` and `limit` are the rules of the house."""

    def __init__(self, store: OrderStore, hold: timedelta, limit: int) -> None:
        self._store = store
        self._hold = hold
        self._limit = limit
        self._group: Batcher[Command, Order | None] = Batcher(self._commit, shared=AWAY)

    async def place(self, command: PlaceOrder) -> Order:
        """Hold units for a buyer.

        Raises what `Order.place` raises, `ItemNotFound`, or `IdempotencyKeyReused`. Under an Idempotency-Key, the same
        body gets the same answer.
        """
        self._store.check_room()
        try:
            order = await self._group(command)
        except ItemNotFound:
            if await once_arrived(self._store.stock, command.item_id) is None:
                raise
            order = await self._group(command)
        assert order is not None  # noqa: S101 - placing answers with an order or an error
        return order

    async def cancel(self, order_id: str) -> Order:
        """The buyer no longer wants it. Raises `OrderAlreadyPaid`."""
        return await self._change(order_id, lambda order, stock: order.cancel(stock, CancelReason.BUYER))

    async def expire(self, order_id: str) -> Order:
        """The hold is over."""
        return await self._change(order_id, Order.expire)

    async def settle(self, order_id: str, payment_id: str) -> Order:
        """Money came, perhaps too late."""
        return await self._change(order_id, lambda order, stock: order.settle(stock, payment_id))

    async def refunded(self, order_id: str, payment_id: str) -> Order:
        """The money went back."""
        return await self._change(order_id, lambda order, stock: order.refunded(stock, payment_id))

    async def follow(self, item: ItemState) -> None:
        """The seller listed, changed or withdrew an item."""
        await self._group(FollowItem(item))

    async def _change(self, order_id: str, act: Callable[[Order, Stock], None]) -> Order:
        # The order may have changed in this very group: then a later group sees the outcome.
        order = await retry_stale(lambda: self._group(ChangeOrder(order_id, act)))
        assert order is not None  # noqa: S101 - changing answers with an order or an error
        return order

    async def _commit(self, commands: Sequence[Command]) -> Sequence[Outcome]:
        async def attempt(session: AsyncClientSession) -> Books:
            books = await self._open(session, commands)
            for command in commands:
                books.enter(command)
            books.close()
            await self._store.write(session, books.orders, books.stocks, books.answers, datetime.now(UTC))
            return books

        books = await self._store.in_transaction(attempt)
        self._store.committed(books.orders.values(), books.stocks.values())
        return books.outcomes

    async def _open(self, session: AsyncClientSession, commands: Sequence[Command]) -> "Books":
        """Read once whatever the group needs."""
        placing = [c for c in commands if isinstance(c, PlaceOrder)]
        following = [c for c in commands if isinstance(c, FollowItem)]
        orders = await self._store.orders_in(session, {c.order_id for c in commands if isinstance(c, ChangeOrder)})
        items = {c.item_id for c in placing} | {c.item.item_id for c in following}
        return Books(
            hold=self._hold,
            limit=self._limit,
            known_orders=orders,
            known_stock=await self._store.stock_in(session, items | {o.item_id for o in orders.values()}),
            held=await self._store.held_in(session, {hold_key(c.buyer_id, c.item_id) for c in placing}),
            answered=await self._store.answers_in(session, {c.answer_key for c in placing if c.answer_key}),
        )


@dataclass
class Books:
    """The state one group works on, and what it changed. No I/O: the same input is decided the same way again."""

    hold: timedelta
    limit: int
    known_orders: dict[str, Order]
    known_stock: dict[str, Stock]
    held: dict[str, int]
    answered: dict[str, Document]
    outcomes: list[Outcome] = field(default_factory=list)
    orders: dict[str, tuple[Order, list[Envelope]]] = field(default_factory=dict)
    stocks: dict[str, tuple[Stock, list[Envelope]]] = field(default_factory=dict)
    answers: dict[str, Document] = field(default_factory=dict)
    _causes: dict[str, Cause] = field(default_factory=dict)
    _last_order: dict[str, str] = field(default_factory=dict)

    def enter(self, command: Command) -> None:
        """Decide one command; its outcome, an error included, is the command's own."""
        try:
            self.outcomes.append(self._decide(command))
        except SoukError as error:
            self.outcomes.append(error)

    def close(self) -> None:
        """Let each stock's news travel with the last order that touched it.

        Both are in the transaction, so it is as safe there; and the relay, which later pulls what it published, never
        collides with the next group on the document of a popular item.
        """
        for item_id, (stock, own) in self.stocks.items():
            news = [Envelope.of(event, self._causes[item_id]) for event in stock.recorded]
            carrier = self._last_order.get(item_id)
            (self.orders[carrier][1] if carrier else own).extend(news)

    def _decide(self, command: Command) -> Order | None:
        match command:
            case PlaceOrder():
                return self._place(command)
            case ChangeOrder():
                return self._change(command)
            case FollowItem():
                self._follow(command)
                return None

    def _place(self, command: PlaceOrder) -> Order:
        if not command.answer_key:
            return self._take(command)
        known = self.answered.get(command.answer_key) or self.answers.get(command.answer_key)
        if known is None:
            known = self.answers[command.answer_key] = self._answer(command)
        if known["fingerprint"] != command.fingerprint:
            raise IdempotencyKeyReused("this Idempotency-Key was used with another body")
        if refused := known.get("refused"):
            raise REFUSALS[refused["code"]](refused["detail"])
        return Order.model_validate(known["order"])

    def _answer(self, command: PlaceOrder) -> Document:
        try:
            placed = self._take(command).model_dump() | {"version": 1}
        except (SoldOut, HoldLimit) as refused:
            return {"fingerprint": command.fingerprint, "refused": {"code": refused.code, "detail": str(refused)}}
        return {"fingerprint": command.fingerprint, "order": placed}

    def _take(self, command: PlaceOrder) -> Order:
        stock = self._stock(command.item_id)
        key = hold_key(command.buyer_id, command.item_id)
        order = Order.place(
            stock,
            order_id=command.order_id,
            buyer_id=command.buyer_id,
            buyer_name=command.buyer_name,
            quantity=command.quantity,
            held=self.held.get(key, 0),
            limit=self.limit,
            now=command.now,
            hold=self.hold,
        )
        self.held[key] = self.held.get(key, 0) + command.quantity
        self._enter_order(order, command.cause)
        self._enter_stock(stock, command.cause)
        return order

    def _change(self, command: ChangeOrder) -> Order:
        if command.order_id in self.orders:
            raise StaleWrite("changed in this group already")
        order = self.known_orders.get(command.order_id)
        if order is None:
            raise OrderNotFound("there is no such order")
        stock = self._stock(order.item_id)
        before = order.model_copy()
        command.act(order, stock)
        if order != before:
            self._enter_order(order, command.cause)
            if stock.recorded:
                self._enter_stock(stock, command.cause)
        return order

    def _follow(self, command: FollowItem) -> None:
        stock = self.known_stock.get(command.item.item_id)
        if stock is None:
            stock = self.known_stock[command.item.item_id] = Stock.open(command.item)
        else:
            stock.follow(command.item)
        if stock.recorded:
            self._enter_stock(stock, command.cause)

    def _stock(self, item_id: str) -> Stock:
        if stock := self.known_stock.get(item_id):
            return stock
        raise ItemNotFound("there is no such item")

    def _enter_order(self, order: Order, cause: Cause) -> None:
        self.orders[order.id] = (order, [Envelope.of(event, cause) for event in order.recorded])
        self._last_order[order.item_id] = order.id

    def _enter_stock(self, stock: Stock, cause: Cause) -> None:
        self.stocks[stock.id] = (stock, [])
        self._causes[stock.id] = cause
