"""What goes on by itself in an interleaving: messages, leased work, the provider's calls, the clock and crashes.

What is real, and what is a model: handlers, desk, groups, cashier, leased work, the stores' decisions, domain and the
sandbox's rules are the services' own code. MongoDB, the provider's ledger, the bus and the clock are models
(`stores.py`, `leases.py`, `ledger.py`, and below), which keep the promises that `common/tests` and the services' tests
check on real servers. Of expiration there is only its message, which comes whenever a hold is over.
"""

import types
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NoReturn

import pytest

import common.leased_work
import common.outbox
import payments.gateways.sandbox
from common.events import Event, HoldElapsed
from common.mongo.client import Document
from common.telemetry import caused_by, new_cause
from tests.interleavings.leases import WORKING
from tests.interleavings.rules import check_capture, check_event, check_lease, check_stock
from tests.interleavings.souk import CASHIERS, DESKS, HOLD, Reader, Souk
from tests.interleavings.steps import Task, pause

ROUNDS = 60
"""How often it is looked for more to do until it is at rest, at most."""

A_WHILE = timedelta(seconds=11)
"""Longer than a lease, and than payments waits for news of a payment."""

TICK = timedelta(milliseconds=1)
"""How far two things that people or banks do are apart. Nobody does two at the same millisecond."""


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
    """Meanwhile the services' time is that of the model, and what they start or wait for goes on in its steps."""

    async def wait(seconds: float) -> None:
        await pause()

    with souk.clock.shown(common.leased_work), caused_by(new_cause()), pytest.MonkeyPatch.context() as patch:
        patch.setattr(common.outbox, "asyncio", types.SimpleNamespace(sleep=wait))
        patch.setattr(common.leased_work, "asyncio", souk.spawned)
        patch.setattr(payments.gateways.sandbox, "asyncio", souk.spawned)
        yield


class Course:
    """The course of one interleaving. `log` tells what happened."""

    def __init__(self, souk: Souk, seed: int) -> None:
        souk.reset(seed)
        self.souk = souk
        self.rng = souk.wires.rng
        self.tasks: list[Task] = []
        self.waiting: list[Delivery] = []
        self.seen: list[Delivery] = []
        self.elapsed: set[str] = set()
        """The orders whose hold has ended with a message."""
        self.said_no: set[str] = set()
        """The orders whose cancellation was answered with `cancelled`."""
        self.decisions: dict[str, type[Event]] = {}
        """What orders said of each payment."""
        self.told: dict[tuple[str, int], Event] = {}
        """What payments said of the money of each payment, by its version."""
        self.given_elsewhere: set[str] = set()
        """The payments of which the provider's people gave something back."""
        self.settling: set[str] = set()
        """The payments whose failed refund an operator pays by other means, or has tried to."""
        self.most = 0
        """How many units were offered at most."""
        self.outlived: set[str] = set()
        """What was leased while an earlier holder still worked on it."""
        self.log: list[tuple[object, ...]] = []

    def fail(self, rule: str) -> NoReturn:
        """A rule does not hold."""
        text = "\n  ".join([rule, *(" ".join(map(str, line)) for line in self.log)])
        for number, payment_id in enumerate(self.souk.payments.table.documents):
            text = text.replace(payment_id, f"p{number + 1}")
        raise Broken(text)

    def begin(
        self,
        process: str,
        what: object,
        work: Coroutine[Any, Any, Any],
        succeeded: Callable[[Any], object] = str,
    ) -> None:
        """A process begins some work."""
        self.log.append((process, "begins:", what))
        if str(what).startswith(WORKING):
            self.outlived.update(str(task.what) for task in self.tasks if task.what == what)
        self.tasks.append(Task(process, what, work, succeeded))

    def advance(self, task: Task) -> None:
        """One step of a task. What it does is checked, and what it publishes is sent."""
        moved, leased = len(self.souk.moved), len(self.souk.leased)
        try:
            end = task.advance()
        except Exception as error:
            self.fail(f"{task.what} failed: {type(error).__name__}: {error}")
        self.log.append((task.process, end or "goes on", task.what))
        if end is not None:
            self.tasks.remove(task)
        for what, work in self.souk.spawned.take():
            self.begin(task.process, what, work)
        for unfit in self.souk.failed:
            self.fail(f"{task.what} failed: {type(unfit).__name__}: {unfit}")
        for lease in self.souk.leased[leased:]:
            check_lease(self, lease)
        for payment_id in self.souk.moved[moved:]:
            check_capture(self, payment_id)
        self._publish()

    def _publish(self) -> None:
        if self.souk.published:
            check_stock(self)
            for event in self.souk.published:
                check_event(self, event)
            self.send(*self.souk.published)
            self.souk.published.clear()

    def send(self, *events: Event) -> None:
        """These messages are on their way to all who read them."""
        for event in events:
            self.waiting += [Delivery(event, r) for r in self.souk.readers if isinstance(event, r.events)]

    def deliver(self, delivery: Delivery) -> None:
        """A message arrives. It is over when its handler has ended without an error."""

        def handled(_: object) -> None:
            if delivery in self.waiting:
                self.waiting.remove(delivery)
                self.seen.append(delivery)

        process = self.rng.choice(list(delivery.reader.calls))
        self.begin(process, delivery, delivery.reader.calls[process](delivery.event), handled)

    def finish_tasks(self, deliveries: Iterable[Delivery] = ()) -> None:
        """Go on with every task until it ends, in any order, and with these deliveries too."""
        for delivery in deliveries:
            self.deliver(delivery)
        while self.tasks:
            self.advance(self.rng.choice(self.tasks))

    def go_on_without(self, stalled: Reader) -> None:
        """For a while, everything goes on but for one reader, to whom nothing comes."""
        for _ in range(4):
            self.pass_time(A_WHILE)
            for start in self.due():
                start()
            self.finish_tasks([delivery for delivery in self.waiting if delivery.reader is not stalled])

    def rest(self) -> None:
        """Do all that waits, until nothing is left to do."""
        self.finish_tasks()
        for _ in range(ROUNDS):
            if not self.waiting:
                if self._is_quiet():
                    return
                self.pass_time(HOLD)
            for start in self.due():
                start()
            self.finish_tasks(self.waiting)
        self.fail("it does not come to rest")

    def _is_quiet(self) -> bool:
        return (
            not any(d.get("check_at") for d in self.souk.payments.table.documents.values())
            and not any("notify_at" in charge for charge in self.souk.ledger.charges.values())
            and self.elapsed.issuperset(self.souk.placed)
        )

    def due(self) -> list[Callable[[], None]]:
        """What the leased work and expiration would begin now."""
        now = self.souk.clock.now
        orders = self.souk.orders.orders_table.documents.values()
        over = (d["_id"] for d in orders if d["expires_at"] <= now and d["_id"] not in self.elapsed)
        starts: list[Callable[[], None]] = [partial(self._elapse, order_id) for order_id in over]
        if _any_due(self.souk.payments.table.documents, "check_at", now):
            starts.append(lambda: self._look("due payments", {p: t.settling.look for p, t in self.souk.tills.items()}))
        if _any_due(self.souk.ledger.charges, "notify_at", now):
            starts.append(lambda: self._look("news to tell", {p: t.calling.look for p, t in self.souk.tills.items()}))
        return starts

    def _look(self, what: str, looks: dict[str, Callable[[], Coroutine[Any, Any, float]]]) -> None:
        """One process looks for what it can lease, or both at the same time; each has one loop for that."""
        looking = {task.process for task in self.tasks if task.what == f"looks for {what}"}
        for process in self.rng.sample(CASHIERS, self.rng.randint(1, len(CASHIERS))):
            if process not in looking:
                self.begin(process, f"looks for {what}", looks[process]())

    def _elapse(self, order_id: str) -> None:
        self.elapsed.add(order_id)
        self.send(HoldElapsed(order_id=order_id))

    def pass_time(self, by: timedelta) -> None:
        """Nothing happens for a while."""
        self.log.append((by, "pass"))
        self.souk.clock.advance(by)

    def crash(self) -> None:
        """A process is killed, and starts again."""
        process = self.rng.choice((*DESKS, *CASHIERS))
        self.log.append((process, "is killed"))
        for task in [task for task in self.tasks if task.process == process]:
            task.die()
            self.tasks.remove(task)
        self.souk.restart(process)


def _any_due(documents: dict[str, Document], field: str, now: datetime) -> bool:
    return any(field in document and document[field] <= now for document in documents.values())
