"""Orders and payments with all their rules, in two processes each, over storage and a provider in memory."""

import random
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, cast, get_type_hints

import httpx

import orders.consumers
import payments.consumers
from common.bus.consumers import Consumers
from common.bus.envelope import Envelope
from common.events import EVENTS, Event, UserErased
from common.mongo.client import AWAY, Collection, Document
from common.telemetry import new_cause
from orders.commands import Command
from orders.desk import ReservationDesk
from orders.domain import Order
from orders.holds import HoldLimits
from payments.cashier import Cashier
from payments.domain import Payment
from payments.gateways.sandbox import SandboxGateway
from tests.interleavings.leases import Lease, LeasedDocuments, Spawned, Worker
from tests.interleavings.ledger import MemoryLedger
from tests.interleavings.steps import ACCEPTED, Wires, pause
from tests.interleavings.stores import MemoryDues, MemoryOrders, MemoryPayments, Table
from tests.support.clock import Clock

HOLD = timedelta(minutes=15)
STARTED = datetime(2026, 11, 28, tzinfo=UTC)

DESKS = ("orders-1", "orders-2")
CASHIERS = ("payments-1", "payments-2")


CAUSE = new_cause()


class Desk(ReservationDesk):
    """A real desk, whose commands wait for the group in flight without an event loop."""

    waiting: list["Waiting"]
    busy: bool

    def restart(self) -> None:
        """Forget everything, as a process that starts does."""
        self.waiting, self.busy = [], False

    async def _execute(self, command: Command) -> Order | None:
        mine = Waiting(command)
        self.waiting.append(mine)
        await pause()  # Others may join the group.
        while not mine.outcome:
            if self.busy:
                await pause()
            else:
                await self._commit_waiting()
        [outcome] = mine.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return cast("Order | None", outcome)

    async def _commit_waiting(self) -> None:
        self.busy = True
        group, self.waiting = self.waiting, []
        try:
            outcomes: Sequence[object] = await self._commit([(one.command, CAUSE) for one in group])
        except AWAY as error:
            outcomes = [error] * len(group)
        for one, outcome in zip(group, outcomes, strict=True):
            one.outcome.append(outcome)
        self.busy = False


class Waiting:
    """A command whose outcome comes with its group."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.outcome: list[object] = []


class Webhook:
    """The way from the provider's calls to a cashier. They are signed, and may be lost like any call."""

    cashier: Cashier

    def __init__(self, wires: Wires) -> None:
        self._wires = wires

    async def post(self, _url: str, *, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
        """Bring one call. Raises what `Cashier.hear` does, in the place of a status that asks for another try."""
        await self._wires.call(lambda: None, httpx.ReadTimeout)
        await self.cashier.receive_webhook(content, headers)
        await self._wires.call(lambda: None, httpx.ReadTimeout)
        return httpx.Response(204, request=httpx.Request("POST", "http://souk.test"))


class Till:
    """A process of payments: its cashier, and its share of the leased work on payments and on the provider's calls."""

    def __init__(self, souk: "Souk") -> None:
        webhook = Webhook(souk.wires)
        gateway = SandboxGateway(souk.ledger, "secret", "", cast("httpx.AsyncClient", webhook))
        self.cashier = Cashier(souk.payments, souk.dues, gateway, word_timeout=timedelta())
        webhook.cashier = self.cashier
        accepted = (*ACCEPTED, httpx.HTTPError)
        self.settling = Worker(self.cashier._unsettled, accepted, souk.failed)
        self.calling = Worker(gateway._webhooks, accepted, souk.failed)

    def restart(self) -> None:
        """Forget everything, as a process that starts does."""
        self.settling.restart()
        self.calling.restart()


class Souk:
    """The parts. Made once: `reset` is faster than making them again for each interleaving."""

    def __init__(self) -> None:
        self.clock = Clock(STARTED)
        self.wires = Wires(random.Random(0))  # noqa: S311 - no secret
        self.published: list[Event] = []
        self.moved: list[str] = []
        """The payments whose capture moved money, in order."""
        self.leased: list[Lease] = []
        self.failed: list[Exception] = []
        """Errors that no leased work may have."""
        self.spawned = Spawned()
        self.orders = MemoryOrders(Table(self._publish), Table(self._publish), self.wires)
        payments_table = Table(self._publish, unique="live_order")
        self.payments = MemoryPayments(payments_table, self._leases(payments_table.documents), self.wires)
        self.dues = MemoryDues(self.wires)
        charges: dict[str, Document] = {}
        self.ledger = MemoryLedger(charges, self._leases(charges), self.wires, self.moved.append)
        self.desks = {
            process: Desk(self.orders, HoldLimits(HOLD, per_item=100, total=100, pause=timedelta()))
            for process in DESKS
        }
        self.tills = {process: Till(self) for process in CASHIERS}
        self.readers = [
            *_bound(orders.consumers.consumers, {p: [self.orders, desk] for p, desk in self.desks.items()}),
            *_bound(payments.consumers.consumers, {p: [self.dues, t.cashier] for p, t in self.tills.items()}),
        ]
        self.reset(0)

    def reset(self, seed: int) -> None:
        """Forget everything, and start again."""
        self.clock.now = STARTED
        self.wires.rng.seed(seed)
        self.wires.lossy = False
        for table in (self.orders.orders_table, self.orders.stock_table, self.payments.table):
            table.documents.clear()
        self.dues.dues.clear()
        self.ledger.charges.clear()
        self.published.clear()
        for noted in (self.moved, self.leased, self.failed):
            noted.clear()
        for _, work in self.spawned.take():
            work.close()
        for process in (*DESKS, *CASHIERS):
            self.restart(process)

    def restart(self, process: str) -> None:
        """A process forgets everything, and starts again."""
        (self.desks[process] if process in self.desks else self.tills[process]).restart()

    @property
    def placed(self) -> list[str]:
        """The ids of all orders."""
        return list(self.orders.orders_table.documents)

    def all_orders(self) -> list[Order]:
        """Every order, as it is stored."""
        return [Order.from_document(d) for d in self.orders.orders_table.documents.values()]

    def all_payments(self) -> list[Payment]:
        """Every payment, as it is stored."""
        return [Payment.from_document(d) for d in self.payments.table.documents.values()]

    def _leases(self, documents: dict[str, Document]) -> Collection:
        return LeasedDocuments(documents, self.wires, self.leased).as_collection()

    def _publish(self, envelope: Envelope) -> None:
        self.published.append(EVENTS[envelope.subject].model_validate_json(envelope.body))


@dataclass(frozen=True, eq=False)
class Reader:
    """A handler, and how each process of its service calls it."""

    name: str
    events: tuple[type[Event], ...]
    calls: Mapping[str, Callable[[Event], Coroutine[Any, Any, None]]]


def _bound(consumers: Consumers, parts: Mapping[str, Sequence[object]]) -> Iterator[Reader]:
    for handler, events in consumers.handlers:
        if UserErased in events:
            continue  # Nobody deletes their account here.
        wanted = list(get_type_hints(handler).items())[1:-1]  # without the event and what it returns
        calls = {
            process: partial(handler, **{name: next(p for p in own if isinstance(p, kind)) for name, kind in wanted})
            for process, own in parts.items()
        }
        yield Reader(handler.__name__, events, calls)  # type: ignore[arg-type]
