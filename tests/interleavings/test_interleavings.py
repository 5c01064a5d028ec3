"""Nobody is charged after "no", nobody who was captured is displaced, and the money sums to zero, in any interleaving.

`make test` tries a few thousand, `make prove` a hundred thousand. They run the services' real rules over a model
of the servers: `world.py` says what is real and what is a model. `tests/journeys/test_properties.py` runs fewer, over
the real MongoDB and Redis. The same seed always gives the same interleaving.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from common.events import CancelReason, DisputeStatus
from common.leased_work import LeasedWork
from common.mongo.client import Document
from orders.domain import LatePayment, Order, OrderStatus
from orders.stock import Stock
from payments.cashier import Cashier
from payments.domain import Payment
from payments.refunds import Refundable
from payments.status import PaymentStatus
from tests.interleavings.course import Broken, model_time
from tests.interleavings.souk import Souk
from tests.interleavings.stores import Table
from tests.interleavings.world import Interleaving

FEW = range(2_000)
SHARDS, EACH = 10, 10_000


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Lost answers are warnings in the log: thousands of them."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def souk() -> Iterator[Souk]:
    """Orders and payments over memory, whose time is that of the model."""
    souk = Souk()
    with model_time(souk):
        yield souk


def assert_all_hold(souk: Souk, seeds: Iterable[int], ended: Callable[[Interleaving], object] = str) -> None:
    """Run the interleavings of these seeds. Of those that break a rule, show the shortest."""
    broken: list[tuple[int, int, str]] = []
    for seed in seeds:
        interleaving = Interleaving(souk, seed)
        try:
            interleaving.run()
        except Broken as error:
            broken.append((len(interleaving.log), seed, str(error)))
        ended(interleaving)
    if broken:
        _, seed, text = min(broken)
        pytest.fail(f"{len(broken)} interleavings break a rule, the shortest is {seed}: {text}", pytrace=False)


def test_no_interleaving_breaks_a_rule_and_together_they_reach_every_end(souk: Souk) -> None:
    seen: set[object] = set()

    def note(interleaving: Interleaving) -> None:
        for order in souk.all_orders():
            seen.update((order.status, order.cancel_reason, order.late_payment))
        for payment in souk.all_payments():
            seen.update(((payment.status, payment.method), payment.dispute, payment.before_dispute))
            seen.add(("tried again", payment.status) if payment.refund_attempt else None)
            seen.add("settled" if payment.settled_by else None)
            seen.add("a part" if payment.part_refunded else None)
        seen.add("outlived" if interleaving.outlived else None)

    assert_all_hold(souk, FEW, note)

    ends: set[object] = {*OrderStatus, *LatePayment, *CancelReason}
    # Nobody withdraws here, and an operator cancels as a buyer does.
    assert ends - seen == {OrderStatus.AWAITING_PAYMENT, CancelReason.WITHDRAWN, CancelReason.OPERATOR}
    assert {*DisputeStatus, "settled", "a part", ("tried again", PaymentStatus.REFUNDED), "outlived"} <= seen
    assert {PaymentStatus.CAPTURED, PaymentStatus.REFUND_DUE} <= seen  # before a dispute
    card, bank = "pm_card_visa", "pm_bank"
    by_method = {(card, status) for status in ("captured", "refunded", "released", "failed")}
    assert by_method | {(bank, status) for status in ("captured", "refunded")} <= {
        (str(method), str(status)) for status, method in (one for one in seen if isinstance(one, tuple))
    }


@pytest.mark.prove
@pytest.mark.timeout(600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_no_interleaving_of_a_hundred_thousand_breaks_a_rule(souk: Souk, shard: int) -> None:
    first = 1_000_000 + shard * EACH
    assert_all_hold(souk, range(first, first + EACH))


@dataclass(frozen=True)
class Bug:
    """A wrong `method` of a class, and the words of the rule that it breaks."""

    owner: type
    method: str
    wrong: Callable[..., Any]
    breaks: str


def expire_the_accepted(order: Order, stock: Stock) -> None:
    if not order.is_settled:
        order._end(stock, CancelReason.EXPIRED)


def cancel_the_accepted(order: Order, stock: Stock, reason: CancelReason, now: datetime) -> None:
    if not order.is_settled:
        order._end(stock, reason)


def capture_unasked(payment: Payment, reference: str, now: datetime) -> None:
    if payment.status in {PaymentStatus.CREATED, PaymentStatus.PROCESSING}:
        authorize(payment, reference, now)
        payment.accepted(now)


def accept_in_silence(payment: Payment, now: datetime, cause: dict[str, Any] | None = None) -> None:
    if payment.status is PaymentStatus.AUTHORIZED:
        accepted(payment, now, cause)


def refund_and_keep_the_units(order: Order, stock: Stock, payment_id: str, payment_version: int) -> None:
    if payment_id == order.payment_id:
        order.status = OrderStatus.REFUNDED


async def forget_to_give_back(cashier: Cashier, payment_id: str, reason: str) -> None:
    """Do nothing."""


def never_look(payment: Payment, at: datetime | None) -> None:
    payment.check_at = None


def write_unguarded(table: Table, aggregate: object) -> None:
    """Check nothing."""


async def lease_unguarded(leased: LeasedWork, document: Document, now: datetime) -> None:
    stored = await leased._collection.find({leased._due_field: {"$exists": True}}).sort(leased._due_field).to_list()
    newest = [
        {**document, leased._due_field: one[leased._due_field]} for one in stored if one["_id"] == document["_id"]
    ]
    for one in newest:
        await lease(leased, one, now)


async def lease_without_end(leased: LeasedWork, document: Document, now: datetime) -> None:
    await lease(leased, document, now + timedelta(days=365))


def ignore_the_failure(payment: Refundable, reason: str, now: datetime) -> None:
    """Do nothing."""


def retry_under_the_old_key(payment: Refundable, now: datetime, by: str, cause: dict[str, Any] | None = None) -> None:
    refund_again(payment, now, by, cause)
    payment.refund_attempt = 0


def settle_and_check(payment: Refundable, by: str, reason: str) -> None:
    settle_refund(payment, by, reason)
    payment.status, payment.check_at = PaymentStatus.REFUND_DUE, payment.in_trouble_since
    payment.refund_attempt += 1


def believe_old_news(order: Order, payment_id: str, payment_version: int, failure: str | None) -> None:
    if payment_id == order.payment_id:
        order.refund_failure = failure


def believe_old_news_of_a_dispute(order: Order, payment_id: str, dispute: DisputeStatus, payment_version: int) -> None:
    if payment_id == order.payment_id:
        order.dispute = dispute


def count_only_the_whole(
    payment: Refundable, reason: str, failures: int, now: datetime, *, returned: bool, amount: int = 0
) -> None:
    note_refunds(payment, reason, failures, now, returned=returned, amount=0)


def refund_during_a_dispute(
    payment: Refundable, reason: str, now: datetime, cause: dict[str, Any] | None = None
) -> None:
    owe_refund(payment, reason, now, cause)
    if payment.before_dispute is PaymentStatus.REFUND_DUE:
        payment.status, payment.before_dispute, payment.check_at = PaymentStatus.REFUND_DUE, None, now


def win_and_forget(payment: Refundable, dispute: DisputeStatus, reason: str, now: datetime, opened_at: int = 0) -> None:
    before = payment.dispute
    disputed(payment, dispute, reason, now, opened_at)
    if dispute is DisputeStatus.WON and before is not DisputeStatus.WON:
        payment.check_at = None


def never_decided(payment: Refundable, dispute: DisputeStatus, reason: str, now: datetime, opened_at: int = 0) -> None:
    if payment.dispute is None:
        disputed(payment, dispute, reason, now, opened_at)


authorize, accepted = Payment.authorize, Payment.accepted
lease, refund_again, settle_refund = LeasedWork._lease, Refundable.refund_again, Refundable.settle_refund
note_refunds, owe_refund, disputed = Refundable.note_refunds, Refundable.owe_refund, Refundable.disputed

BUGS = {
    "an accepted order expires": Bug(Order, "expire", expire_the_accepted, "did not keep its units|are taken"),
    "an accepted order is cancelled": Bug(Order, "cancel", cancel_the_accepted, "did not keep|are taken"),
    "a card is captured unasked": Bug(Payment, "authorize", capture_unasked, "did not keep its units"),
    "a late failure is not said again": Bug(Payment, "accepted", accept_in_silence, "rest|never ended"),
    "refunded units stay taken": Bug(Order, "refunded", refund_and_keep_the_units, "units are taken"),
    "a rejected payment is kept": Bug(Cashier, "give_back", forget_to_give_back, "does not pay|rest|never ended"),
    "what is due is not found again": Bug(Payment, "_check", never_look, "never ended|stays open"),
    "a write is not guarded": Bug(Table, "check", write_unguarded, "units|said two things"),
    "a lease is not guarded": Bug(LeasedWork, "_lease", lease_unguarded, "perhaps leased to another"),
    "a lease does not end": Bug(LeasedWork, "_lease", lease_without_end, "rest"),
    "a refund that failed is not heard of": Bug(Refundable, "refund_failed", ignore_the_failure, "the provider says"),
    "a refund is retried under its old key": Bug(Refundable, "refund_again", retry_under_the_old_key, "where it was"),
    "a settled refund is made too": Bug(Refundable, "settle_refund", settle_and_check, "the provider says"),
    "old news of a refund counts": Bug(Order, "_note_refund", believe_old_news, "reads that the refund failed"),
    "old news of a dispute counts": Bug(Order, "disputed", believe_old_news_of_a_dispute, "and its buyer reads"),
    "a part that went back is not seen": Bug(Refundable, "note_refunds", count_only_the_whole, "the provider says"),
    "what a bank has is refunded": Bug(Refundable, "owe_refund", refund_during_a_dispute, "the provider says"),
    "a won dispute forgets a refund": Bug(Refundable, "disputed", win_and_forget, "never ended"),
    "a decided dispute stays open": Bug(Refundable, "disputed", never_decided, "the provider says|at the provider"),
}


@pytest.mark.prove
@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_caught(souk: Souk, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    bug = BUGS[name]
    monkeypatch.setattr(bug.owner, bug.method, bug.wrong)

    assert re.search(bug.breaks, first_broken(souk))


def first_broken(souk: Souk) -> str:
    """The rule that breaks first."""
    for seed in FEW:
        try:
            Interleaving(souk, seed).run()
        except Broken as error:
            return str(error).partition("\n")[0]
    return "none"
