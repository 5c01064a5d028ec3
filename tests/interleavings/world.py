"""One interleaving: people, messages, leased work, a provider and crashes, each going on when chance says so.

For a while anything may happen between any two steps of input and output: a process dies, a request or an answer is
lost, a message comes late, twice or before an older one, a consumer stands still, two processes work on the same
payment, a lease ends while its holder still works, banks and the provider's own people move money without Souk, time
passes. Then nothing fails any more, and all that waits is done until nothing is left to do: now the rules must hold.
Half of the interleavings go through this twice, and in half of them an operator then sees to every refund that failed.
`course.py` says what is real and what is a model.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta

from common.events import Currency, DisputeStatus, ItemStatus
from common.mongo.client import Document
from items.domain import Item
from orders.commands import PlaceOrder
from orders.domain import Order, OrderStatus
from payments.domain import Payment
from payments.gateways.sandbox import REFERENCE
from payments.status import PaymentStatus
from tests.interleavings.course import A_WHILE, TICK, Course
from tests.interleavings.rules import check_end
from tests.interleavings.souk import CASHIERS, DESKS, HOLD, Reader, Souk

METHODS = (
    "pm_card_visa",
    "pm_card_visa",
    "pm_card_declined",
    "pm_card_slow",
    "pm_card_late",
    "pm_card_duplicate",
    "pm_card_lost",
    "pm_card_capture_fails",
    *["pm_card_refund_fails"] * 5,
    "pm_card_disputed",
    "pm_card_partly_refunded",
    "pm_bank",
    "pm_bank_late",
)
SELLER, BUYERS, PRICE, OPERATOR = "seller", ("ann", "bob", "cid"), 100, "ola"

STEPS = (15, 90)
"""How many steps there are, at least and at most, until nothing fails any more."""

LATELY = 8
"""Of how many messages that came last one is more likely to come again than others."""

TIMES = (*(timedelta(seconds=seconds) for seconds in (1, 4)), A_WHILE, A_WHILE, HOLD)

ACTS = (*["pay"] * 8, *["cancel", "lapse"] * 4, *["place", "refund"] * 2, "return", "bank", "operate", "offer", "stop")
"""What people and banks do, the more often the more of it is here."""

AFTER_PAYING = (*["refund", "bounce"] * 6, *["operate", "tell"] * 4, *["bank", "return"] * 2, "pay", "cancel", "place")
"""What they do when the orders are paid."""


class Interleaving(Course):
    """One of them, from its seed."""

    def __init__(self, souk: Souk, seed: int) -> None:
        super().__init__(souk, seed)
        self.orders = 0
        self.acts = ACTS
        self.stalled: Reader | None = None
        """Nothing comes to this reader until nothing fails any more, so what others hear later overtakes it."""
        self.item = Item.offer(
            seller_id=SELLER,
            title="A seat",
            description="",
            price=PRICE,
            currency=Currency.EUR,
            quantity=self.rng.randint(1, 3),
            now=souk.clock.now,
        )
        self._publish_item()

    def run(self) -> None:
        """Let it happen. Raises `Broken`."""
        try:
            self._happen()
        finally:
            for task in self.tasks:
                task.die()

    def _happen(self) -> None:
        self.finish_tasks(self.waiting)
        for _ in range(self.rng.randint(1, 3)):
            self._place()
        self.finish_tasks()
        self.finish_tasks(delivery for delivery in self.waiting if self.rng.random() < 0.9)
        for order_id in self.souk.placed:
            self._pay(order_id)
        if self.rng.random() < 0.4:
            self._let_pay()
        for _ in range(self.rng.randint(1, 2)):
            self.souk.wires.lossy = True
            self.stalled = self.rng.choice(self.souk.readers)
            for _ in range(self.rng.randint(*STEPS)):
                self._anything()
            self.souk.wires.lossy = False
            if self.rng.random() < 0.5:
                self.go_on_without(self.stalled)
            self.rest()
            check_end(self)
        if self.rng.random() < 0.5:
            self._see_to_refunds()

    def _let_pay(self) -> None:
        """Nothing disturbs those who pay at once. What is done then is about their money."""
        while self.waiting or self.tasks:
            self.finish_tasks(self.waiting)
        self.acts = AFTER_PAYING

    def _anything(self) -> None:
        chance = self.rng.random()
        if self.tasks and chance < 0.2 + 0.1 * len(self.tasks):
            self.advance(self.rng.choice(self.tasks))
        elif chance < 0.75 and (waiting := [one for one in self.waiting if one.reader is not self.stalled]):
            self.deliver(self.rng.choice(waiting))
        elif chance < 0.78 and self.seen:
            self.deliver(self.rng.choice(self.rng.choice((self.seen, self.seen[-LATELY:]))))
        elif chance < 0.80:
            self.pass_time(self.rng.choice(TIMES))
        elif chance < 0.82:
            self.crash()
        elif chance < 0.91 and (due := self.due()):
            self.rng.choice(due)()
        else:
            self._act()

    def _act(self) -> None:
        self.souk.clock.advance(TICK)
        acts: dict[str, Callable[[], None]] = {
            "offer": self._offer,
            "stop": self._stop,
            "place": self._place,
            "return": self._return,
            "bank": self._dispute,
            "bounce": self._bounce,
            "tell": self._tell,
            "operate": self._operate,
        }
        about: dict[str, Callable[[str], None]] = {
            "pay": self._pay,
            "cancel": self._cancel,
            "refund": self._refund,
            "lapse": self._lapse,
        }
        act = self.rng.choice(self.acts)
        if act in about and self.souk.placed:
            about[act](self.rng.choice(self.souk.placed))
        else:
            acts.get(act, self._place)()

    # The seller

    def _offer(self) -> None:
        if self.item.status is not ItemStatus.WITHDRAWN:
            self.item.edit(SELLER, {"quantity": self.rng.randint(1, 3)})
            self._publish_item()

    def _stop(self) -> None:
        if self.item.status is not ItemStatus.WITHDRAWN:
            stop = self.item.resume if self.item.status is ItemStatus.PAUSED else self.item.pause
            self.rng.choice((self.item.withdraw, stop))(SELLER)
            self._publish_item()

    def _publish_item(self) -> None:
        self.log.append(("the seller offers", self.item.quantity, self.item.status))
        self.most = max(self.most, self.item.quantity)
        self.send(*self.item.recorded)
        self.item.saved()

    def _refund(self, order_id: str) -> None:
        refund = self.souk.orders.change(order_id, Order.request_refund)
        self.begin(self.rng.choice(DESKS), f"the seller refunds {order_id}", refund)

    # The buyers

    def _place(self) -> None:
        self.orders += 1
        order_id, buyer = f"o{self.orders}", self.rng.choice(BUYERS)
        command = PlaceOrder(
            self.item.id, self.rng.randint(1, 2), buyer, buyer, now=self.souk.clock.now, order_id=order_id
        )
        desk = self.rng.choice(DESKS)
        self.begin(desk, f"{buyer} places {order_id}", self.souk.desks[desk].place(command))

    def _pay(self, order_id: str) -> None:
        method, buyer = self.rng.choice(METHODS), self._order(order_id)["buyer_id"]
        till = self.rng.choice(CASHIERS)
        pay = self.souk.tills[till].cashier.pay(order_id, method, buyer, None)
        self.begin(till, f"{buyer} pays {order_id} with {method}", pay)

    def _cancel(self, order_id: str) -> None:
        def answered(order: Order) -> None:
            if order.status is OrderStatus.CANCELLED:
                self.said_no.add(order_id)

        desk = self.rng.choice(DESKS)
        self.begin(desk, f"the buyer cancels {order_id}", self.souk.desks[desk].cancel(order_id), answered)

    def _order(self, order_id: str) -> Document:
        return self.souk.orders.orders_table.documents[order_id]

    # Banks, and the provider's own people

    def _lapse(self, order_id: str) -> None:
        """The bank gives up an authorization, which it may at any time."""
        for payment in self.souk.all_payments():
            if payment.order_id == order_id and payment.id in self.souk.ledger.charges:
                charge = self.souk.ledger.charges[payment.id]
                if (agreed := charge.get("authorized_at")) and agreed <= self.souk.clock.now:
                    self.log.append(("the authorization of", payment.id, "lapses"))
                    self.souk.ledger.end_now(payment.id, "lapsed", self.souk.clock.now)

    def _return(self) -> None:
        """Somebody gives money back in the provider's dashboard: a part, or all that is left."""
        now = self.souk.clock.now
        charges = self.souk.ledger.charges.keys() - self.settling
        if there := sorted(one for one in charges if self.souk.ledger.with_souk(one, now)):
            payment_id = self.rng.choice(there)
            rest = self.souk.ledger.rest(payment_id)
            amount = self.rng.choice((rest, self.rng.randint(1, rest)))
            self.log.append(("the provider's people give back", amount, "of", payment_id))
            self.souk.ledger.refund_now(payment_id, amount, now)
            self.given_elsewhere.add(payment_id)

    def _dispute(self) -> None:
        """The buyer's bank opens a dispute, or decides one."""
        ledger, now = self.souk.ledger, self.souk.clock.now
        if (undecided := ledger.undecided(now)) and self.rng.random() < 0.7:
            payment_id, outcome = self.rng.choice(undecided), self.rng.choice((DisputeStatus.WON, DisputeStatus.LOST))
            self.log.append(("the dispute of", payment_id, "is", outcome))
            ledger.decide_now(payment_id, outcome, now)
        elif there := [one for one in ledger.charges if ledger.with_souk(one, now)]:
            payment_id = self.rng.choice(there)
            self.log.append(("a bank disputes", payment_id))
            ledger.dispute_now(payment_id, now)

    def _bounce(self) -> None:
        """A refund that will fail does so now."""
        if bouncing := [one for one, charge in self.souk.ledger.charges.items() if "refund_fails_at" in charge]:
            payment_id = self.rng.choice(bouncing)
            self.log.append(("the refund of", payment_id, "fails"))
            self.souk.ledger.bounce_now(payment_id, self.souk.clock.now)

    def _tell(self) -> None:
        """The provider tells of a charge again, which it may at any time."""
        if charges := sorted(self.souk.ledger.charges):
            process, payment_id = self.rng.choice(CASHIERS), self.rng.choice(charges)
            hear = self.souk.tills[process].cashier.hear(REFERENCE + payment_id)
            self.begin(process, f"hears of {payment_id}", hear)

    # Operators

    def _operate(self) -> None:
        """An operator sees to a refund that failed."""
        if failed := self._failed_refunds():
            self._see_to(self.rng.choice(failed))

    def _see_to_refunds(self) -> None:
        for payment in self._failed_refunds():
            self._see_to(payment)
        self.rest()
        check_end(self)
        for payment in self._failed_refunds():
            self.fail(f"an operator has seen to the refund of {payment.id}, and it is where it was: {payment}")

    def _failed_refunds(self) -> Sequence[Payment]:
        return [payment for payment in self.souk.all_payments() if payment.status is PaymentStatus.REFUND_FAILED]

    def _see_to(self, payment: Payment) -> None:
        """Ask for it again; or pay by other means, if the money is still at the provider."""
        process = self.rng.choice(CASHIERS)
        cashier = self.souk.tills[process].cashier
        if self.rng.random() < 0.5 and self.souk.ledger.with_souk(payment.id, self.souk.clock.now):
            work = cashier.settle_refund(payment.id, OPERATOR, "by bank transfer")
            self.settling.add(payment.id)
            self.begin(process, f"{OPERATOR} settles the refund of {payment.id}", work)
        else:
            work = cashier.refund_again(payment.id, OPERATOR)
            self.begin(process, f"{OPERATOR} retries the refund of {payment.id}", work)
