"""What buyers owe for their orders. No I/O."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import AwareDatetime, BaseModel

from common.errors import Conflict, NotFound
from common.events import (
    Currency,
    MinorUnits,
    OrderCancelled,
    OrderId,
    OrderPaid,
    OrderPaymentAccepted,
    OrderState,
    PaymentId,
    UserId,
)


class OrderNotFound(NotFound):
    """No such order, or another buyer's."""

    code = "order_not_found"


class OrderNotPayable(Conflict):
    """The order is settled or its hold is over, or a payment for it is under way."""

    code = "order_not_payable"


class DueState(StrEnum):
    """Whether an order still has to be paid."""

    OPEN = "open"
    CANCELLED = "cancelled"
    ACCEPTED = "accepted"  # a payment is being captured
    PAID = "paid"


class Due(BaseModel):
    """What a buyer owes for an order, according to its event with `order_version`."""

    id: OrderId
    order_version: int
    buyer_id: UserId
    amount: MinorUnits
    currency: Currency
    expires_at: AwareDatetime
    state: DueState
    accepted_payment: PaymentId | None = None
    """The payment that orders has accepted, while it is being captured."""

    @classmethod
    def of(cls, order: OrderState) -> Self:
        """The amount due for an order."""
        match order:
            case OrderCancelled():
                state = DueState.CANCELLED
            case OrderPaymentAccepted():
                state = DueState.ACCEPTED
            case OrderPaid():
                state = DueState.PAID
            case _:
                state = DueState.OPEN
        return cls(
            id=order.order_id,
            order_version=order.order_version,
            buyer_id=order.buyer_id,
            amount=order.quantity * order.unit_price,
            currency=order.currency,
            expires_at=order.expires_at,
            state=state,
            accepted_payment=order.payment_id if isinstance(order, OrderPaymentAccepted) else None,
        )

    def to_document(self) -> dict[str, Any]:
        """The due as MongoDB stores it, without its id."""
        return self.model_dump(exclude={"id"}, exclude_none=True)

    def check_payable(self, now: datetime) -> None:
        """Raise `OrderNotPayable` unless the order is unpaid and its hold lasts."""
        if self.state is DueState.ACCEPTED:
            raise OrderNotPayable("a payment for this order is under way")
        if self.state is not DueState.OPEN:
            raise OrderNotPayable(f"the order is {self.state} already")
        if now >= self.expires_at:
            raise OrderNotPayable("the time to pay this order is over")
