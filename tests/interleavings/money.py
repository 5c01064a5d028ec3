"""Where the money must be at the end: what payments and orders say, against the provider's ledger."""

from collections import Counter
from typing import TYPE_CHECKING

from orders.domain import Order, OrderStatus
from payments.domain import Payment
from payments.status import PaymentStatus
from tests.chaos.ledger import BANK, SOUK, dispute_of, in_ledger, in_souk, part_in_ledger, part_in_souk

if TYPE_CHECKING:
    from tests.interleavings.course import Course

ENDS = (
    PaymentStatus.CAPTURED,
    PaymentStatus.REFUNDED,
    PaymentStatus.REFUND_FAILED,
    PaymentStatus.DISPUTED,
    PaymentStatus.FAILED,
    PaymentStatus.RELEASED,
)


def check_payment_and_charge(course: "Course", payment: Payment, order: Order) -> None:
    """A payment has ended, says what the provider says, and so does its order."""
    charge, now = course.souk.ledger.charges[payment.id], course.souk.clock.now
    state = payment.model_dump()
    if payment.status not in ENDS:
        course.fail(f"{payment.id} never ended: {payment}")
    ours, theirs = (in_souk(state), part_in_souk(state)), (in_ledger(charge, now), part_in_ledger(charge))
    if ours != theirs:
        course.fail(f"{payment.id} is {ours}, and the provider says {theirs}: {payment}, {charge}")
    if (known := payment.dispute) != (dispute := dispute_of(charge, now)):
        course.fail(f"the dispute of {payment.id} is {known}, and {dispute} at the provider")
    failed, failures = payment.failed_refunds, charge.get("refund_failures", 0)
    if failed != failures and payment.status is not PaymentStatus.DISPUTED:
        course.fail(f"{failed} refunds of {payment.id} have failed, and {failures} at the provider: {payment}")
    _check_order(course, payment, order, theirs[0])


def _check_order(course: "Course", payment: Payment, order: Order, where: str) -> None:
    mine = order.payment_id == payment.id
    pays = mine and order.status is OrderStatus.PAID
    status = payment.before_dispute if payment.status is PaymentStatus.DISPUTED else payment.status
    unreturned = mine and status is PaymentStatus.REFUNDED and order.status is not OrderStatus.REFUNDED
    if unreturned or (pays and where not in {SOUK, BANK}):
        course.fail(f"{payment.id} is {payment.status}, and its order is {order}")
    if status is PaymentStatus.CAPTURED and not pays:
        course.fail(f"{payment.id} was captured, and does not pay {order}")
    if mine and order.dispute != payment.dispute:
        course.fail(f"the dispute of {payment.id} is {payment.dispute}, and its buyer reads {order.dispute}")
    waits = status is PaymentStatus.REFUND_DUE  # A refund that failed is tried again when the dispute has ended.
    if mine and not waits and (order.refund_failure is not None) is not (status is PaymentStatus.REFUND_FAILED):
        course.fail(f"{payment.id} is {status}, and its buyer reads that the refund failed: {order.refund_failure}")


def check_money(course: "Course", orders: dict[str, Order], payments: dict[str, Payment]) -> None:
    """Souk has of each buyer what their paid orders cost, but for what a bank has, and what failed refunds left."""
    kept: Counter[str] = Counter()
    owed: Counter[str] = Counter()
    for payment_id, charge in course.souk.ledger.charges.items():
        payment = payments[payment_id]
        order = orders[payment.order_id]
        if in_ledger(charge, course.souk.clock.now) == SOUK and not payment.settled_by:
            kept[payment.buyer_id] += charge["amount"] - part_in_ledger(charge)
        pays = order.status is OrderStatus.PAID and order.payment_id == payment_id
        if payment.status is PaymentStatus.REFUND_FAILED or (pays and payment.status is PaymentStatus.CAPTURED):
            owed[order.buyer_id] += order.total - part_in_souk(payment.model_dump())
    if +kept != +owed:
        course.fail(f"the provider keeps {dict(kept)}, and the orders and failed refunds come to {dict(owed)}")
