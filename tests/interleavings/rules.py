"""What must hold in every interleaving: at each capture, lease and change of stock, and at the end."""

from typing import TYPE_CHECKING

from common.events import (
    Event,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    PaymentCaptured,
    PaymentDisputed,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentRefundRetried,
)
from orders.domain import Order, OrderStatus
from payments.domain import Payment
from payments.due import DueState
from payments.gateways.port import ABANDONED, RELEASED
from payments.gateways.sandbox import CARDS
from tests.interleavings.leases import Lease
from tests.interleavings.money import check_money, check_payment_and_charge

if TYPE_CHECKING:
    from tests.interleavings.course import Course

LIVE = (OrderStatus.AWAITING_PAYMENT, OrderStatus.PAID)

DUES = {
    OrderStatus.PAID: DueState.PAID,
    OrderStatus.REFUNDED: DueState.PAID,
    OrderStatus.EXPIRED: DueState.CANCELLED,
    OrderStatus.CANCELLED: DueState.CANCELLED,
}
"""What payments knows at the end of an order."""

OF_MONEY = (
    PaymentCaptured
    | PaymentRefunded
    | PaymentPartlyRefunded
    | PaymentRefundFailed
    | PaymentRefundRetried
    | PaymentDisputed
)
"""Events that tell where money is, of which a version of a payment has one: readers drop the second."""


def check_lease(course: "Course", lease: Lease) -> None:
    """Only what is due is leased, and what is leased is due when that lease has ended."""
    document, due = lease
    if due > course.souk.clock.now:
        course.fail(f"{document} was leased although it is not due before {due}, and perhaps leased to another process")


def check_capture(course: "Course", payment_id: str) -> None:
    """A card is captured only while its order keeps its units for it: after no "no", and never without the units."""
    payment = course.souk.payments.table.load(Payment, payment_id)
    order = course.souk.orders.orders_table.load(Order, payment.order_id) if payment else None
    if order is None or (order.status, order.accepted_payment) != (OrderStatus.AWAITING_PAYMENT, payment_id):
        course.fail(f"{payment_id} was captured, and its order did not keep its units for it: {order}")


def check_stock(course: "Course") -> None:
    """A unit is taken exactly while a live order has it, and no more are taken than were offered at any time."""
    for document in course.souk.orders.stock_table.documents.values():
        live = sum(d["quantity"] for d in course.souk.orders.orders_table.documents.values() if d["status"] in LIVE)
        if document["taken"] != live:
            course.fail(f"{document['taken']} units are taken, and live orders have {live}")
        if live > course.most:
            course.fail(f"live orders have {live} units of {course.most}")


def check_event(course: "Course", event: Event) -> None:
    """A payment is accepted or rejected, and that is never changed. A version of it says one thing of its money."""
    if isinstance(event, OrderPaymentAccepted | OrderPaymentRejected) and course.decisions.setdefault(
        event.payment_id, type(event)
    ) is not type(event):
        course.fail(f"{event.payment_id} was both accepted and rejected")
    if isinstance(event, OF_MONEY):
        known = course.told.setdefault((event.payment_id, event.payment_version), event)
        if known is not event:
            course.fail(f"version {event.payment_version} of {event.payment_id} said two things: {known}, {event}")


def check_end(course: "Course") -> None:
    """Every order and payment has ended, and every charge pays one order, was given back, or never took anything."""
    check_stock(course)
    orders = {order.id: order for order in course.souk.all_orders()}
    payments = {payment.id: payment for payment in course.souk.all_payments()}
    for order in orders.values():
        _check_order(course, order)
    for payment in payments.values():
        _check_promises(course, payment, orders[payment.order_id])
        check_payment_and_charge(course, payment, orders[payment.order_id])
    check_money(course, orders, payments)


def _check_order(course: "Course", order: Order) -> None:
    if not order.is_settled:
        course.fail(f"{order.id} never ended: {order}")
    if order.id in course.said_no and order.status is not OrderStatus.CANCELLED:
        course.fail(f"{order.id} was cancelled, said an answer: {order}")
    due = course.souk.dues.dues.get(order.id)
    if due is None or due.state is not DUES[order.status]:
        course.fail(f"{order.id} is {order.status}, and due is {due}")


def _check_promises(course: "Course", payment: Payment, order: Order) -> None:
    """A card that was accepted is captured, and one that was captured is neither displaced nor refunded unasked."""
    charge = course.souk.ledger.charges[payment.id]
    took, card = charge.get("captured_at") is not None, CARDS[payment.method].authorized
    if charge.get("authorized_at") and not took and "ended" not in charge:
        course.fail(f"the authorization of {payment.id} stays open: {charge}")
    if course.decisions.get(payment.id) is OrderPaymentAccepted and charge.get("ended") in (ABANDONED, RELEASED):
        course.fail(f"{payment.id} was accepted, and Souk gave its authorization up: {charge}")
    if card and took and order.payment_id != payment.id:
        course.fail(f"{payment.id} was captured, and displaced: {order}")
    asked = order.refund_requested or payment.id in course.given_elsewhere
    if card and took and not asked and ("refunded_at" in charge or charge.get("refund_failures")):
        course.fail(f"{payment.id} was captured and refunded, and nobody asked for that: {order}")
