"""The decision about a group of commands that is committed in one transaction. No I/O.

Commands are served in order of arrival. A command that does not fit is refused; the others are not affected.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, TypeVar

from common.errors import IdempotencyKeyReused, SoukError, StaleWrite
from common.events import Event
from orders.commands import ChangeOrder, Command, FollowItem, PlaceOrder
from orders.domain import HoldLimit, Order, OrderNotFound, OrderStatus, PriceChanged
from orders.holds import BuyerLimit, Hold, HoldLimits, Holds, Owned, TotalHoldLimit
from orders.stock import ItemNotFound, ItemPaused, SaleOver, SoldOut, Stock

REFUSALS: dict[str, type[SoukError]] = {
    kind.code: kind for kind in (PriceChanged, SoldOut, HoldLimit, TotalHoldLimit, BuyerLimit, ItemPaused, SaleOver)
}
"""Refusals that depend on the moment. They are stored under the Idempotency-Key, as an order is.

Those that say when to try again are not: the same key may be used then.
"""

Outcome = Order | None | SoukError
Answer = dict[str, Any]
"""What a `PlaceOrder` with an Idempotency-Key was answered: its fingerprint, and the order or the refusal."""

C = TypeVar("C")
"""The cause of a command. The group only passes it on."""


@dataclass
class Group(Generic[C]):
    """What the commands of one group need, and after `decide` and `close` what is to be written.

    `now` is the time of the transaction: whether something is on sale is decided by it, not by when it was asked for.
    `orders` and `stocks` hold each changed aggregate with the events, and their causes, that its document carries.
    """

    now: datetime
    limits: HoldLimits
    known_orders: dict[str, Order]
    known_stock: dict[str, Stock]
    holds: Holds
    owned: dict[tuple[str, str], Owned]
    answered: dict[str, Answer]
    outcomes: list[Outcome] = field(default_factory=list)
    orders: dict[str, tuple[Order, list[tuple[Event, C]]]] = field(default_factory=dict)
    stocks: dict[str, tuple[Stock, list[tuple[Event, C]]]] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    _stock_causes: dict[str, C] = field(default_factory=dict)
    _last_order: dict[str, str] = field(default_factory=dict)

    def decide(self, command: Command, cause: C) -> None:
        """Decide one command and append its outcome, which may be an error."""
        try:
            self.outcomes.append(self._outcome(command, cause))
        except SoukError as error:
            self.outcomes.append(error)

    def close(self) -> None:
        """Attach the event of each changed stock to the last order that touched it.

        Order and stock are written in one transaction, so the event is as safe there. The relay later removes published
        events from the order, and so never conflicts with the next group on the document of a popular item.
        """
        for item_id, (stock, own) in self.stocks.items():
            events = [(event, self._stock_causes[item_id]) for event in stock.recorded]
            carrier = self._last_order.get(item_id)
            (self.orders[carrier][1] if carrier else own).extend(events)

    def _outcome(self, command: Command, cause: C) -> Order | None:
        match command:
            case PlaceOrder():
                return self._place(command, cause)
            case ChangeOrder():
                return self._change(command, cause)
            case FollowItem():
                self._follow(command, cause)
                return None

    def _place(self, command: PlaceOrder, cause: C) -> Order:
        if not command.answer_key:
            return self._take(command, cause)
        known = self.answered.get(command.answer_key) or self.answers.get(command.answer_key)
        if known is None:
            known = self.answers[command.answer_key] = self._answer(command, cause)
        if known["fingerprint"] != command.fingerprint:
            raise IdempotencyKeyReused("this Idempotency-Key was used with another body")
        if refused := known.get("refused"):
            raise REFUSALS[refused["code"]](refused["detail"], **refused.get("more", {}))
        return Order.model_validate(known["order"])

    def _answer(self, command: PlaceOrder, cause: C) -> Answer:
        try:
            placed = self._take(command, cause).model_dump() | {"version": 1}
        except tuple(REFUSALS.values()) as refused:
            answer = {"code": refused.code, "detail": str(refused), "more": refused.more}
            return {"fingerprint": command.fingerprint, "refused": answer}
        return {"fingerprint": command.fingerprint, "order": placed}

    def _take(self, command: PlaceOrder, cause: C) -> Order:
        stock = self._stock(command.item_id)
        stock.check_on_sale(self.now)
        buyer, item, quantity, now = command.buyer_id, command.item_id, command.quantity, command.now
        owned = self.owned.setdefault((buyer, item), Owned())
        self.holds.check_buyer(buyer, stock, quantity, owned, self.limits, now)
        if command.network and quantity <= stock.free:
            self.holds.check_network(command.network, buyer, stock, quantity, self.limits, now)
        order = Order.place(
            stock,
            order_id=command.order_id,
            buyer_id=buyer,
            buyer_name=command.buyer_name,
            quantity=quantity,
            held=self.holds.units(buyer, item),
            limit=self.limits.per_item,
            now=now,
            hold=self.limits.hold,
            network=command.network,
            expected_unit_price=command.expected_unit_price,
            expected_currency=command.expected_currency,
        )
        owned.units += quantity
        self.holds.add(Hold(item, buyer, quantity, order.counts_for or (), order.expires_at))
        self._write_order(order, cause)
        self._write_stock(stock, cause)
        return order

    def _change(self, command: ChangeOrder, cause: C) -> Order:
        if command.order_id in self.orders:
            raise StaleWrite("this order was changed in the same group")
        order = self.known_orders.get(command.order_id)
        if order is None:
            raise OrderNotFound("there is no such order")
        stock = self._stock(order.item_id)
        if stock.limit_per_buyer and order.status is OrderStatus.EXPIRED:
            others = self.owned.get((order.buyer_id, order.item_id), Owned()).units
            order.keep_from_exceeding(stock.limit_per_buyer, others)
        before = order.model_copy()
        command.transition(order, stock)
        if order == before:
            return before  # Another command of this group may still change the order.
        self._write_order(order, cause)
        if stock.recorded:
            self._write_stock(stock, cause)
        return order

    def _follow(self, command: FollowItem, cause: C) -> None:
        stock = self.known_stock.get(command.item.item_id)
        if stock is None:
            stock = self.known_stock[command.item.item_id] = Stock.open(command.item)
        else:
            stock.follow(command.item)
        if stock.recorded:
            self._write_stock(stock, cause)

    def _stock(self, item_id: str) -> Stock:
        if stock := self.known_stock.get(item_id):
            return stock
        raise ItemNotFound("there is no such item")

    def _write_order(self, order: Order, cause: C) -> None:
        self.orders[order.id] = (order, [(event, cause) for event in order.recorded])
        self._last_order[order.item_id] = order.id

    def _write_stock(self, stock: Stock, cause: C) -> None:
        self.stocks[stock.id] = (stock, [])
        self._stock_causes[stock.id] = cause
