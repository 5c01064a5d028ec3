"""The stores of orders and payments, over tables in memory.

Everything but the input and output is the real class: what a change is, when it is tried again and when it is refused.
The tables keep the promises of MongoDB that the stores rely on: a write is guarded by the version that was loaded, a
unique field is unique, a transaction reads a snapshot and conflicts with whoever wrote meanwhile, and state and events
are one write.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar, cast

from pymongo.errors import AutoReconnect, DuplicateKeyError

from common.aggregate import Aggregate
from common.bus.envelope import Envelope
from common.errors import StaleWrite
from common.ids import nothing_missed
from common.mongo.client import Collection, Document
from common.outbox import Outbox, Relay
from orders.domain import Order, hold_key
from orders.holds import Hold, Owned
from orders.stock import Stock
from orders.store import OrderStore, Pair, Session, hold_of
from payments.domain import Payment
from payments.due import Due
from payments.store import DueStore, PaymentStore
from tests.interleavings.steps import Wires, pause

T = TypeVar("T")
A = TypeVar("A", bound=Aggregate)
Publish = Callable[[Envelope], None]


class Room(Relay):
    """A relay with room. The tables publish: whoever writes an event may die, and the sweeper publishes it."""

    def __init__(self) -> None: ...

    def check_room(self) -> None:
        """Do nothing: there is always room."""

    @property
    def waiting_bytes(self) -> int:
        """None."""
        return 0


@dataclass
class Table:
    """Documents by id, with at most one for each value of the `unique` field."""

    publish: Publish
    unique: str = ""
    documents: dict[str, Document] = field(default_factory=dict)

    def check(self, aggregate: Aggregate) -> None:
        """Raise what the write of this aggregate would raise."""
        stored = self.documents.get(aggregate.id, {"version": 0})
        if stored["version"] != aggregate.version:
            raise StaleWrite("it was changed meanwhile; load it again")
        value = getattr(aggregate, self.unique) if self.unique else None
        if value is not None and any(d.get(self.unique) == value for d in self._others(aggregate.id)):
            raise DuplicateKeyError("refused by a unique index")

    def write(self, aggregate: Aggregate, envelopes: Sequence[Envelope]) -> None:
        """Make state and events durable, in one write. Raises what `check` does."""
        self.check(aggregate)
        state = {name: value for name, value in aggregate.to_document().items() if value is not None}
        self.documents[aggregate.id] = {"_id": aggregate.id, "version": aggregate.next_version, **state}
        for envelope in envelopes:
            self.publish(envelope)

    def load(self, kind: type[A], key: str) -> A | None:
        """An aggregate, or None."""
        document = self.documents.get(key)
        return kind.from_document(document) if document else None

    def _others(self, key: str) -> Iterable[Document]:
        return (document for other, document in self.documents.items() if other != key)


class MemoryOutbox(Outbox):
    """Saves the aggregates of one table."""

    def __init__(self, table: Table, wires: Wires) -> None:
        self.relay = Room()
        self._table = table
        self._wires = wires

    async def _save(self, aggregate: Aggregate, envelopes: Sequence[Envelope]) -> None:
        await self._wires.call(lambda: self._table.write(aggregate, envelopes), AutoReconnect)
        aggregate.saved()

    async def _confirm(self, aggregate: Aggregate) -> None:
        await pause()
        self._table.check(aggregate)


@dataclass
class Snapshot:
    """What a transaction read, and what it is going to write."""

    orders: dict[str, Document]
    stock: dict[str, Document]
    writes: list[tuple[Table, Aggregate, Sequence[Envelope]]] = field(default_factory=list)

    def commit(self) -> None:
        """Write all or nothing. Raises `StaleWrite` if another transaction wrote one of these documents first."""
        for table, aggregate, _ in self.writes:
            table.check(aggregate)
        for table, aggregate, envelopes in self.writes:
            table.write(aggregate, envelopes)


class MemoryOrders(OrderStore):
    """Orders and stock in two tables."""

    def __init__(self, orders: Table, stock: Table, wires: Wires) -> None:
        self.orders_table = orders
        self.stock_table = stock
        self._wires = wires
        self._outbox = MemoryOutbox(orders, wires)
        self.check_room = self._outbox.relay.check_room

    async def get(self, order_id: str) -> Order | None:
        await pause()
        return self.orders_table.load(Order, order_id)

    async def stock(self, item_id: str) -> Stock | None:
        await pause()
        return self.stock_table.load(Stock, item_id)

    async def in_transaction(self, work: Callable[[Session], Awaitable[T]]) -> T:
        while True:
            await pause()
            snapshot = Snapshot(dict(self.orders_table.documents), dict(self.stock_table.documents))
            result = await work(cast("Session", snapshot))
            try:
                await self._wires.call(snapshot.commit, AutoReconnect)
            except StaleWrite:
                continue
            return result

    async def orders_in(self, session: Session, ids: Iterable[str]) -> dict[str, Order]:
        documents = _snapshot(session).orders
        return {key: Order.from_document(documents[key]) for key in ids if key in documents}

    async def stock_in(self, session: Session, ids: Iterable[str]) -> dict[str, Stock]:
        documents = _snapshot(session).stock
        return {key: Stock.from_document(documents[key]) for key in ids if key in documents}

    async def answers_in(self, session: Session, keys: Iterable[str]) -> dict[str, Document]:  # noqa: ARG002
        return {}  # No order is placed under an Idempotency-Key here.

    async def holds_in(
        self,
        session: Session,
        buying: Set[Pair],
        networks: Set[str],  # noqa: ARG002
        lapsed_after: datetime,  # noqa: ARG002
    ) -> list[Hold]:
        keys = {hold_key(*pair) for pair in buying}
        return [hold_of(d) for d in _snapshot(session).orders.values() if d.get("held_by") in keys]

    async def owned_in(self, session: Session, pairs: Set[Pair]) -> dict[Pair, Owned]:  # noqa: ARG002
        return {}  # No item has a limit here, and nobody has to wait.

    async def write(
        self,
        session: Session,
        orders: Mapping[str, tuple[Order, Sequence[Envelope]]],
        stock: Mapping[str, tuple[Stock, Sequence[Envelope]]],
        answers: Mapping[str, Document],  # noqa: ARG002
        now: datetime,  # noqa: ARG002
    ) -> None:
        snapshot = _snapshot(session)
        snapshot.writes += [(self.stock_table, *changed) for changed in stock.values()]
        snapshot.writes += [(self.orders_table, *changed) for changed in orders.values()]

    async def count_refusals(self, answers: Mapping[str, Document]) -> None: ...

    def committed(
        self, orders: Iterable[tuple[Order, Sequence[Envelope]]], stock: Iterable[tuple[Stock, Sequence[Envelope]]]
    ) -> None:
        for aggregate, _ in (*orders, *stock):
            aggregate.saved()


def _snapshot(session: Session) -> Snapshot:
    return cast("Snapshot", session)


class MemoryPayments(PaymentStore):
    """Payments in a table. Those that are due are leased from a collection over the same documents."""

    def __init__(self, table: Table, leased: Collection, wires: Wires) -> None:
        self.table = table
        self.collection = leased
        self._outbox = MemoryOutbox(table, wires)
        self._waiting = {}

    async def find(self, payment_id: str) -> Payment | None:
        await pause()
        return self.table.load(Payment, payment_id)


class MemoryDues(DueStore):
    """What is due for each order, in a dictionary."""

    def __init__(self, wires: Wires) -> None:
        self.dues: dict[str, Due] = {}
        self._missed = nothing_missed
        self._wires = wires

    async def find(self, order_id: str) -> Due | None:
        await pause()
        return self.dues.get(order_id)

    async def keep(self, due: Due) -> None:
        def keep_newer() -> None:
            stored = self.dues.get(due.id)
            if stored is None or stored.order_version < due.order_version:
                self.dues[due.id] = due

        await self._wires.call(keep_newer, AutoReconnect)
