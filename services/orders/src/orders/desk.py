"""Group commit: commands that touch stock wait for the group in flight, then all of them are committed at once.

With one transaction for each request, requests for a popular item conflict and retry. With one for each group, an order
gets cheaper the more buyers come (docs/decisions/group-commit.md has the figures).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from prometheus_client import Histogram

from common.batching import Batcher
from common.bus.envelope import Envelope
from common.clock import now
from common.events import CancelReason, Event, ItemListed, ItemState
from common.ids import FindMissed, nothing_missed, once_arrived
from common.mongo.client import AWAY
from common.outbox import retry_stale
from common.telemetry import Cause, current_cause
from orders.commands import ChangeOrder, Command, FollowItem, PlaceOrder
from orders.domain import Order, OrderStatus
from orders.group import Answer, Group, Outcome
from orders.holds import FREE_LAPSES, LAPSES_REMEMBERED, HoldLimits, Holds
from orders.stock import ItemNotFound, Stock
from orders.store import OrderStore, Session

A = TypeVar("A", Order, Stock)

GROUP = Histogram(
    "souk_desk_group_commands",
    "Commands that were committed together",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)


class ReservationDesk:
    """The only way to change stock.

    What buyers and their networks may hold unpaid is in `limits`. Listings that no replica has handled are `missed`.
    """

    def __init__(self, store: OrderStore, limits: HoldLimits, missed: FindMissed[ItemListed] = nothing_missed) -> None:
        self._store = store
        self._limits = limits
        self._missed = missed
        self._groups: Batcher[tuple[Command, Cause], Order | None] = Batcher(self._commit, shared=AWAY)

    async def place(self, command: PlaceOrder) -> Order:
        """Hold units for a buyer.

        Raises what `Order.place` and the checks of `Stock` and `Holds` raise, `ItemNotFound`, `IdempotencyKeyReused`,
        or `Unavailable`. Under an Idempotency-Key, the same body gets the same answer.
        """
        self._store.check_room()
        try:
            order = await self._execute(command)
        except ItemNotFound:
            if await once_arrived(self._store.stock, command.item_id, self._missed, self.follow) is None:
                raise
            order = await self._execute(command)
        assert order is not None  # noqa: S101 - placing answers with an order or an error
        return order

    async def cancel(self, order_id: str, reason: CancelReason = CancelReason.BUYER) -> Order:
        """Cancel an order for its buyer, or for another reason. Raises `OrderAlreadyPaid`."""
        return await self._change(order_id, lambda order, stock: order.cancel(stock, reason, now()))

    async def expire(self, order_id: str) -> Order:
        """Expire an order whose hold is over."""
        return await self._change(order_id, Order.expire)

    async def consider(self, order_id: str, payment_id: str) -> Order:
        """Accept or reject a payment that was authorized, perhaps too late."""
        return await self._change(order_id, lambda order, stock: order.consider(stock, payment_id))

    async def settle(self, order_id: str, payment_id: str) -> Order:
        """Settle an order after its payment was captured, perhaps too late."""
        return await self._change(order_id, lambda order, stock: order.settle(stock, payment_id))

    async def payment_failed(self, order_id: str, payment_id: str, reason: str) -> Order:
        """Record that a payment failed. If it was accepted, the order ends."""
        return await self._change(order_id, lambda order, stock: order.payment_failed(stock, payment_id, reason))

    async def refunded(self, order_id: str, payment_id: str, payment_version: int) -> Order:
        """Record that a payment was refunded, as its version says."""
        return await self._change(order_id, lambda order, stock: order.refunded(stock, payment_id, payment_version))

    async def follow(self, item: ItemState) -> None:
        """Copy the offer of an item that was listed, changed or withdrawn."""
        await self._execute(FollowItem(item))

    async def _change(self, order_id: str, transition: Callable[[Order, Stock], None]) -> Order:
        # The order may have changed in the same group: then a later group reads the outcome.
        order = await retry_stale(lambda: self._execute(ChangeOrder(order_id, transition)))
        assert order is not None  # noqa: S101 - changing answers with an order or an error
        return order

    async def _execute(self, command: Command) -> Order | None:
        return await self._groups((command, current_cause()))

    async def _commit(self, batch: Sequence[tuple[Command, Cause]]) -> Sequence[Outcome]:
        async def attempt(session: Session) -> _Committed:
            group = await self._read(session, [command for command, _ in batch])
            for command, cause in batch:
                group.decide(command, cause)
            group.close()
            orders, stocks = _enveloped(group.orders), _enveloped(group.stocks)
            await self._store.write(session, orders, stocks, group.answers, now())
            return group.outcomes, group.answers, orders, stocks

        outcomes, answers, orders, stocks = await self._store.in_transaction(attempt)
        GROUP.observe(len(batch))
        self._store.committed(orders.values(), stocks.values())
        await self._store.count_refusals(answers)
        return outcomes

    async def _read(self, session: Session, commands: Sequence[Command]) -> Group[Cause]:
        """Read what the commands of a group need, each kind in one query."""
        placing = [c for c in commands if isinstance(c, PlaceOrder)]
        following = [c for c in commands if isinstance(c, FollowItem)]
        orders = await self._store.orders_in(session, {c.order_id for c in commands if isinstance(c, ChangeOrder)})
        items = {c.item_id for c in placing} | {c.item.item_id for c in following}
        stock = await self._store.stock_in(session, items | {o.item_id for o in orders.values()})
        buying = {(c.buyer_id, c.item_id) for c in placing}
        networks = {c.network for c in placing if c.network}
        holds = Holds(await self._store.holds_in(session, buying, networks, now() - LAPSES_REMEMBERED))
        late = {(o.buyer_id, o.item_id) for o in orders.values() if o.status is OrderStatus.EXPIRED}
        limited = {pair for pair in buying | late if pair[1] in stock and stock[pair[1]].limit_per_buyer}
        lapsed = {pair for pair in buying if len(holds.lapses(*pair)) >= FREE_LAPSES}
        return Group(
            now=now(),
            limits=self._limits,
            known_orders=orders,
            known_stock=stock,
            holds=holds,
            owned=await self._store.owned_in(session, limited | lapsed),
            answered=await self._store.answers_in(session, {c.answer_key for c in placing if c.answer_key}),
        )


_Changed = Mapping[str, tuple[A, Sequence[Envelope]]]
_Committed = tuple[Sequence[Outcome], Mapping[str, Answer], _Changed[Order], _Changed[Stock]]


def _enveloped(changed: Mapping[str, tuple[A, Sequence[tuple[Event, Cause]]]]) -> _Changed[A]:
    return {
        key: (aggregate, [Envelope.of(event, cause) for event, cause in events])
        for key, (aggregate, events) in changed.items()
    }
