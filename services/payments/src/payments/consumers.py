"""How payments reacts to the events of orders. No rules."""

from common.bus.consumers import Consumers
from common.events import (
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderPlaced,
    OrderRefundRequested,
    OrderState,
)
from payments.cashier import Cashier
from payments.due import Due
from payments.store import DueStore

consumers = Consumers("payments")

REQUESTED_BY_SELLER = "requested_by_seller"
"""The reason of a refund that the seller asked for; a rejected payment's reason is the rejection's."""


@consumers.on(OrderPlaced, OrderCancelled, OrderPaymentAccepted, OrderPaid)
async def copy_amount_due(event: OrderState, dues: DueStore) -> None:
    """Copy what the buyer owes, and whether it is still due."""
    await dues.keep(Due.of(event))


@consumers.on(OrderPaymentAccepted)
async def capture_accepted_payment(event: OrderPaymentAccepted, cashier: Cashier) -> None:
    """Capture the money: the units are the buyer's."""
    await cashier.accept(event.payment_id)


@consumers.on(OrderPaymentRejected)
async def return_rejected_payment(event: OrderPaymentRejected, cashier: Cashier) -> None:
    """Release or refund money for an order that can no longer be served."""
    await cashier.give_back(event.payment_id, event.reason)


@consumers.on(OrderRefundRequested)
async def return_money_of_seller(event: OrderRefundRequested, cashier: Cashier) -> None:
    """Refund an order for its seller."""
    await cashier.give_back(event.payment_id, REQUESTED_BY_SELLER)
