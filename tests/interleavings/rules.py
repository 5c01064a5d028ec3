"""What must hold in every interleaving: at each capture, at each change of stock, and at the end."""

from collections import Counter
from typing import TYPE_CHECKING

from common.events import Event, OrderPaymentAccepted, OrderPaymentRejected
from orders.domain import Order, OrderStatus
from payments.domain import Payment
from payments.due import DueState
from payments.gateways.port import ABANDONED, RELEASED
from payments.gateways.sandbox import CARDS
from payments.status import PaymentStatus

if TYPE_CHECKING:
    from tests.interleavings.world import Interleaving

LIVE = (OrderStatus.AWAITING_PAYMENT, OrderStatus.PAID)

ENDS = (PaymentStatus.CAPTURED, PaymentStatus.REFUNDED, PaymentStatus.FAILED, PaymentStatus.RELEASED)

DUES = {
    OrderStatus.PAID: DueState.PAID,
    OrderStatus.REFUNDED: DueState.PAID,
    OrderStatus.EXPIRED: DueState.CANCELLED,
    OrderStatus.CANCELLED: DueState.CANCELLED,
}
"""What payments knows at the end of an order."""


def check_capture(world: "Interleaving", payment_id: str) -> None:
    """A card is captured only while its order keeps its units for it: after no "no", and never without the units."""
    payment = world.souk.payments.table.load(Payment, payment_id)
    order = world.souk.orders.orders_table.load(Order, payment.order_id) if payment else None
    if order is None or (order.status, order.accepted_payment) != (OrderStatus.AWAITING_PAYMENT, payment_id):
        world.fail(f"{payment_id} was captured, and its order did not keep its units for it: {order}")


def check_stock(world: "Interleaving") -> None:
    """A unit is taken exactly while a live order has it, and no more are taken than were offered at any time."""
    for document in world.souk.orders.stock_table.documents.values():
        live = sum(d["quantity"] for d in world.souk.orders.orders_table.documents.values() if d["status"] in LIVE)
        if document["taken"] != live:
            world.fail(f"{document['taken']} units are taken, and live orders have {live}")
        if live > world.most:
            world.fail(f"live orders have {live} units of {world.most}")


def check_decision(world: "Interleaving", event: Event) -> None:
    """A payment is accepted or rejected, and that is never changed."""
    if not isinstance(event, OrderPaymentAccepted | OrderPaymentRejected):
        return
    if world.decisions.setdefault(event.payment_id, type(event)) is not type(event):
        world.fail(f"{event.payment_id} was both accepted and rejected")


def check_end(world: "Interleaving") -> None:
    """Every order and payment has ended, and every charge pays one order, was given back, or never took anything."""
    check_stock(world)
    orders = {order.id: order for order in world.souk.all_orders()}
    payments = {payment.id: payment for payment in world.souk.all_payments()}
    for order in orders.values():
        _check_order(world, order)
    for payment in payments.values():
        _check_payment(world, payment, orders[payment.order_id])
    _check_money(world, orders, payments)


def _check_order(world: "Interleaving", order: Order) -> None:
    if not order.is_settled:
        world.fail(f"{order.id} never ended: {order}")
    if order.id in world.said_no and order.status is not OrderStatus.CANCELLED:
        world.fail(f"{order.id} was cancelled, said an answer: {order}")
    due = world.souk.dues.dues.get(order.id)
    if due is None or due.state is not DUES[order.status]:
        world.fail(f"{order.id} is {order.status}, and due is {due}")


def _check_payment(world: "Interleaving", payment: Payment, order: Order) -> None:
    charge = world.souk.ledger.charges[payment.id]
    took, gave = charge.get("captured_at") is not None, "refunded_at" in charge
    pays = order.status is OrderStatus.PAID and order.payment_id == payment.id
    told = {PaymentStatus.CAPTURED: (True, False), PaymentStatus.REFUNDED: (True, True)}
    if payment.status not in ENDS:
        world.fail(f"{payment.id} never ended: {payment}")
    if (took and not gave) != pays:
        world.fail(f"{payment.id} {'pays' if pays else 'does not pay'} {order}, and the provider says {charge}")
    if (took, gave) != told.get(payment.status, (False, False)):
        world.fail(f"{payment.id} is {payment.status}, and the provider says {charge}")
    if charge.get("authorized_at") and not took and "ended" not in charge:
        world.fail(f"the authorization of {payment.id} stays open: {charge}")
    card = CARDS[payment.method].authorized
    if world.decisions.get(payment.id) is OrderPaymentAccepted and charge.get("ended") in (ABANDONED, RELEASED):
        world.fail(f"{payment.id} was accepted, and Souk gave its authorization up: {charge}")
    if card and took and order.payment_id != payment.id:
        world.fail(f"{payment.id} was captured, and displaced: {order}")
    if card and gave and not order.refund_requested:
        world.fail(f"{payment.id} was captured and refunded, and no seller asked for that: {order}")


def _check_money(world: "Interleaving", orders: dict[str, Order], payments: dict[str, Payment]) -> None:
    kept: Counter[str] = Counter()
    owed: Counter[str] = Counter()
    for payment_id, charge in world.souk.ledger.charges.items():
        if charge.get("captured_at") is not None and "refunded_at" not in charge:
            kept[payments[payment_id].buyer_id] += charge["amount"]
    for order in orders.values():
        if order.status is OrderStatus.PAID:
            owed[order.buyer_id] += order.total
    if kept != owed:
        world.fail(f"the provider keeps {dict(kept)}, and the paid orders come to {dict(owed)}")
