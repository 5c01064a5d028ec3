"""One interleaving: people, messages, leased work, a provider and crashes, each going on when chance says so.

For a while anything may happen between any two steps of input and output: a process dies, a request or an answer is
lost, a message comes late, twice or before an older one, two processes work on the same payment, time passes. Then
nothing fails any more, and all that waits is done until nothing is left to do: now the rules must hold. Half of the
interleavings go through this twice.

What is real, and what is a model: handlers, desk, groups, cashier, the stores' decisions, domain and the sandbox's
rules are the services' own code. MongoDB, the provider's ledger, the bus and the clock are models (`stores.py`, and
below), which keep the promises that `common/tests` and the services' tests check on real servers. Of expiration there
is only its message, which comes whenever a hold is over. There are no leases: any process may do due work at any time.
Refunds that fail and disputes are not part of this.
"""

import types
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

import pytest

import common.outbox
from common.events import Currency, Event, HoldElapsed, ItemStatus
from common.mongo.client import Document
from common.telemetry import caused_by, new_cause
from items.domain import Item
from orders.commands import PlaceOrder
from orders.domain import Order, OrderStatus
from payments.gateways.sandbox import CARDS, REFERENCE
from tests.interleavings.rules import check_capture, check_decision, check_end, check_stock
from tests.interleavings.souk import CASHIERS, DESKS, HOLD, Reader, Souk
from tests.interleavings.steps import Task, pause

METHODS = (
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_declined",
    "pm_card_slow",
    "pm_card_late",
    "pm_card_duplicate",
    "pm_card_lost",
    "pm_card_capture_fails",
    "pm_bank",
    "pm_bank_late",
)
SELLER, BUYERS, PRICE = "seller", ("ann", "bob", "cid"), 100
ROUNDS = 60
"""How often the second part looks for more to do before it gives up."""

STEPS = (15, 90)
"""How many steps there are, at least and at most, until nothing fails any more."""

TIMES = (*(timedelta(seconds=seconds) for seconds in (1, 4, 11, 11)), HOLD)

ACTS = (*["pay"] * 8, *["cancel"] * 4, *["place", "refund", "lapse"] * 2, "offer", "stop")
"""What people and banks do, the more often the more of it is here."""


@dataclass(eq=False)
class Delivery:
    """A message on its way to one reader."""

    event: Event
    reader: Reader

    def __str__(self) -> str:
        about = getattr(self.event, "payment_id", getattr(self.event, "order_id", "the item"))
        return f"{self.event.subject} of {about} to {self.reader.name}"


class Broken(AssertionError):
    """A rule does not hold. The text has the interleaving."""


@contextmanager
def model_time(souk: Souk) -> Iterator[None]:
    """Meanwhile the services' time is that of the model, and no retry waits for longer than a step."""

    async def wait(seconds: float) -> None:
        await pause()

    with souk.clock.shown(), caused_by(new_cause()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.outbox, "asyncio", types.SimpleNamespace(sleep=wait))
        yield


class Interleaving:
    """One of them. `log` tells what happened."""

    def __init__(self, souk: Souk, seed: int) -> None:
        souk.reset(seed)
        self.souk = souk
        self.rng = souk.wires.rng
        self.tasks: list[Task] = []
        self.waiting: list[Delivery] = []
        self.seen: list[Delivery] = []
        self.orders = 0
        self.elapsed: set[str] = set()
        """The orders whose hold has ended with a message."""
        self.said_no: set[str] = set()
        """The orders whose cancellation was answered with `cancelled`."""
        self.decisions: dict[str, type[Event]] = {}
        """What orders said of each payment."""
        self.log: list[tuple[object, ...]] = []
        self.item = Item.offer(
            seller_id=SELLER,
            title="A seat",
            description="",
            price=PRICE,
            currency=Currency.EUR,
            quantity=self.rng.randint(1, 3),
            now=souk.clock.now,
        )
        self.most = self.item.quantity
        self._publish_item()

    def run(self) -> None:
        """Let it happen. Raises `Broken`."""
        try:
            self._happen()
        finally:
            for task in self.tasks:
                task.die()

    def fail(self, rule: str) -> NoReturn:
        """A rule does not hold."""
        text = "\n  ".join([rule, *(" ".join(map(str, line)) for line in self.log)])
        for number, payment_id in enumerate(self.souk.payments.table.documents):
            text = text.replace(payment_id, f"p{number + 1}")
        raise Broken(text)

    def _happen(self) -> None:
        self._finish_tasks(self.waiting)
        for _ in range(self.rng.randint(1, 3)):
            self._place()
        self._finish_tasks()
        self._finish_tasks(delivery for delivery in self.waiting if self.rng.random() < 0.9)
        for order_id in self.souk.placed:
            self._pay(order_id)
        for _ in range(self.rng.randint(1, 2)):
            self.souk.wires.lossy = True
            for _ in range(self.rng.randint(*STEPS)):
                self._anything()
            self.souk.wires.lossy = False
            self._rest()
            check_end(self)

    def _anything(self) -> None:
        chance = self.rng.random()
        if self.tasks and chance < 0.2 + 0.1 * len(self.tasks):
            self._advance(self.rng.choice(self.tasks))
        elif chance < 0.75 and self.waiting:
            self._deliver(self.rng.choice(self.waiting))
        elif chance < 0.77 and self.seen:
            self._deliver(self.rng.choice(self.seen))
        elif chance < 0.79:
            self._pass_time(self.rng.choice(TIMES))
        elif chance < 0.81:
            self._crash(self.rng.choice((*DESKS, *CASHIERS)))
        elif chance < 0.90 and (due := self._due()):
            self.rng.choice(due)()
        else:
            self._act()

    def _rest(self) -> None:
        """Do all that waits, until nothing is left to do."""
        self._finish_tasks()
        for _ in range(ROUNDS):
            if not self.waiting:
                if self._is_quiet():
                    return
                self._pass_time(HOLD)
            for start in self._due():
                start()
            self._finish_tasks(self.waiting)
        self.fail("it does not come to rest")

    def _finish_tasks(self, deliveries: Iterable[Delivery] = ()) -> None:
        """Go on with every task until it ends, in any order, and with these deliveries too."""
        for delivery in deliveries:
            self._deliver(delivery)
        while self.tasks:
            self._advance(self.rng.choice(self.tasks))

    def _is_quiet(self) -> bool:
        return (
            not any(d.get("check_at") for d in self.souk.payments.table.documents.values())
            and not any("notify_at" in charge for charge in self.souk.ledger.charges.values())
            and self.elapsed.issuperset(self.souk.placed)
        )

    # What goes on by itself

    def _begin(
        self,
        process: str,
        what: object,
        work: Coroutine[Any, Any, Any],
        succeeded: Callable[[Any], object] = str,
    ) -> None:
        self.log.append((process, "begins:", what))
        self.tasks.append(Task(process, what, work, succeeded))

    def _advance(self, task: Task) -> None:
        moved = len(self.souk.moved)
        try:
            end = task.advance()
        except Exception as error:
            self.fail(f"{task.what} failed: {type(error).__name__}: {error}")
        self.log.append((task.process, end or "goes on", task.what))
        if end is not None:
            self.tasks.remove(task)
        for payment_id in self.souk.moved[moved:]:
            check_capture(self, payment_id)
        if self.souk.published:
            check_stock(self)
            for event in self.souk.published:
                check_decision(self, event)
            self._send(*self.souk.published)
            self.souk.published.clear()

    def _send(self, *events: Event) -> None:
        for event in events:
            self.waiting += [Delivery(event, r) for r in self.souk.readers if isinstance(event, r.events)]

    def _deliver(self, delivery: Delivery) -> None:
        def handled(_: object) -> None:
            if delivery in self.waiting:
                self.waiting.remove(delivery)
                self.seen.append(delivery)

        process = self.rng.choice(list(delivery.reader.calls))
        self._begin(process, delivery, delivery.reader.calls[process](delivery.event), handled)

    def _due(self) -> list[Callable[[], None]]:
        """What the leased work, the provider and expiration would begin now."""
        now = self.souk.clock.now
        payments = self.souk.payments.table.documents.values()
        orders = self.souk.orders.orders_table.documents.values()
        charges = self.souk.ledger.charges.values()
        return [
            *(partial(self._settle, d["_id"]) for d in payments if "check_at" in d and d["check_at"] <= now),
            *(partial(self._notify, c) for c in charges if "notify_at" in c and c["notify_at"] <= now),
            *(
                partial(self._elapse, d["_id"])
                for d in orders
                if d["expires_at"] <= now and d["_id"] not in self.elapsed
            ),
        ]

    def _settle(self, payment_id: str) -> None:
        self._begin(self.rng.choice(CASHIERS), f"settle {payment_id}", self.souk.cashier.settle(payment_id))

    def _notify(self, charge: Document) -> None:
        def heard(_: object) -> None:
            charge.pop("notify_at", None)

        for _ in range(CARDS[charge["method"]].notices):
            hear = self.souk.cashier.hear(REFERENCE + charge["_id"])
            self._begin(self.rng.choice(CASHIERS), f"hear of {charge['_id']}", hear, heard)

    def _elapse(self, order_id: str) -> None:
        self.elapsed.add(order_id)
        self._send(HoldElapsed(order_id=order_id))

    def _pass_time(self, by: timedelta) -> None:
        self.log.append((by, "pass"))
        self.souk.clock.advance(by)

    def _crash(self, process: str) -> None:
        self.log.append((process, "is killed"))
        for task in [task for task in self.tasks if task.process == process]:
            task.die()
            self.tasks.remove(task)
        if process in DESKS:
            self.souk.desks[process].restart()

    # What people and the provider do

    def _act(self) -> None:
        act = self.rng.choice(ACTS)
        if act in {"offer", "stop"}:
            self._edit(act)
        elif act == "place" or not self.souk.placed:
            self._place()
        else:
            order_id = self.rng.choice(self.souk.placed)
            {"pay": self._pay, "cancel": self._cancel, "refund": self._refund, "lapse": self._lapse}[act](order_id)

    def _edit(self, act: str) -> None:
        if self.item.status is not ItemStatus.WITHDRAWN:
            if act == "stop":
                stop = self.item.resume if self.item.status is ItemStatus.PAUSED else self.item.pause
                self.rng.choice((self.item.withdraw, stop))(SELLER)
            else:
                self.item.edit(SELLER, {"quantity": self.rng.randint(1, 3)})
            self.most = max(self.most, self.item.quantity)
            self._publish_item()

    def _publish_item(self) -> None:
        self.log.append(("the seller offers", self.item.quantity, self.item.status))
        self._send(*self.item.recorded)
        self.item.saved()

    def _place(self) -> None:
        self.orders += 1
        order_id, buyer = f"o{self.orders}", self.rng.choice(BUYERS)
        command = PlaceOrder(
            self.item.id, self.rng.randint(1, 2), buyer, buyer, now=self.souk.clock.now, order_id=order_id
        )
        desk = self.rng.choice(DESKS)
        self._begin(desk, f"{buyer} places {order_id}", self.souk.desks[desk].place(command))

    def _pay(self, order_id: str) -> None:
        method, buyer = self.rng.choice(METHODS), self._order(order_id)["buyer_id"]
        pay = self.souk.cashier.pay(order_id, method, buyer, None)
        self._begin(self.rng.choice(CASHIERS), f"{buyer} pays {order_id} with {method}", pay)

    def _cancel(self, order_id: str) -> None:
        def answered(order: Order) -> None:
            if order.status is OrderStatus.CANCELLED:
                self.said_no.add(order_id)

        desk = self.rng.choice(DESKS)
        self._begin(desk, f"the buyer cancels {order_id}", self.souk.desks[desk].cancel(order_id), answered)

    def _refund(self, order_id: str) -> None:
        refund = self.souk.orders.change(order_id, Order.request_refund)
        self._begin(self.rng.choice(DESKS), f"the seller refunds {order_id}", refund)

    def _lapse(self, order_id: str) -> None:
        """The bank gives up an authorization, which it may at any time."""
        for payment in self.souk.all_payments():
            if payment.order_id == order_id and payment.id in self.souk.ledger.charges:
                charge = self.souk.ledger.charges[payment.id]
                if (agreed := charge.get("authorized_at")) and agreed <= self.souk.clock.now:
                    self.log.append(("the authorization of", payment.id, "lapses"))
                    self.souk.ledger.end_now(payment.id, "lapsed", self.souk.clock.now)

    def _order(self, order_id: str) -> Document:
        return self.souk.orders.orders_table.documents[order_id]
