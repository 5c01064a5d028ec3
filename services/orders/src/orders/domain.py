"""Orders, which draw from the stock of their items. No I/O.

A unit of an item is either free or taken; it is taken exactly while an order that is awaiting payment or paid has it.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import PrivateAttr

from common.aggregate import Aggregate
from common.errors import Conflict, Forbidden, NotFound
from common.events import (
    CancelReason,
    Currency,
    DisputeStatus,
    Event,
    ItemStatus,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderPlaced,
    OrderRefundRequested,
    RejectReason,
)
from orders.stock import SoldOut, Stock


class OrderNotFound(NotFound):
    """No such order, or another buyer's."""

    code = "order_not_found"


class ItemWithdrawn(Conflict):
    """The seller takes no more orders."""

    code = "item_withdrawn"


class OwnItem(Conflict):
    """Sellers can't buy their own items."""

    code = "own_item"


class PriceChanged(Conflict):
    """The item has another price than the buyer saw. The problem has it: `unit_price` (minor units) and `currency`."""

    code = "price_changed"


class HoldLimit(Conflict):
    """A buyer holds the largest allowed number of units of an item. The problem has the number: `limit`."""

    code = "hold_limit"


class OrderAlreadyPaid(Conflict):
    """A paid order can only be refunded."""

    code = "order_already_paid"


class OrderNotPaid(Conflict):
    """There is no money to refund."""

    code = "order_not_paid"


class NotSeller(Forbidden):
    """Only the seller can refund an order."""

    code = "not_seller"


class OrderStatus(StrEnum):
    """The status of an order. All but the first are settled."""

    AWAITING_PAYMENT = "awaiting_payment"
    PAID = "paid"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REFUNDED = "refunded"


class OrderPhase(StrEnum):
    """What an order is to its buyer: still to be paid, paid for an event that is not over, or anything else."""

    OPEN = "open"
    UPCOMING = "upcoming"
    PAST = "past"


REJECT_REASONS = {
    OrderStatus.AWAITING_PAYMENT: RejectReason.ALREADY_PAID,
    OrderStatus.EXPIRED: RejectReason.SOLD_OUT,
    OrderStatus.CANCELLED: RejectReason.CANCELLED,
    OrderStatus.PAID: RejectReason.ALREADY_PAID,
    OrderStatus.REFUNDED: RejectReason.ALREADY_PAID,
}
"""Why an order with this status rejected a payment, as far as it still knows."""


class LatePayment(StrEnum):
    """The outcome of a payment that was authorized or captured after the hold."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Order(Aggregate):
    """Some units of one item, held for one buyer until paid, cancelled or expired."""

    buyer_id: str
    buyer_name: str | None = None
    """Written with a new order only, so that no later save brings it back once it is forgotten."""
    seller_id: str
    item_id: str
    item_title: str
    quantity: int
    unit_price: int
    currency: Currency
    placed_at: datetime
    expires_at: datetime
    status: OrderStatus = OrderStatus.AWAITING_PAYMENT
    held_by: str | None = None
    """`hold_key` of buyer and item while the order is awaiting payment."""
    counts_for: tuple[str, ...] | None = None
    """The buyer and their network, for whose limits it counts: while it awaits payment, and after it has lapsed."""
    lapsed_at: datetime | None = None
    """When it ended unpaid, because the buyer cancelled it or let it run out."""
    cancel_reason: CancelReason | None = None
    accepted_payment: str | None = None
    """The authorized payment that is being captured. Until that is over, the order neither expires nor is cancelled."""
    accepted_version: int | None = None
    """The version that accepted the payment that is being captured, or was. The bus may lose that news."""
    failed_payment: str | None = None
    """The accepted payment that failed, and ended the order."""
    payment_id: str | None = None
    payment_failure: str | None = None
    refund_failure: str | None = None
    """Why the money of a refund is not with the buyer yet."""
    refund_news: int = 0
    """The version of the payment that said so, or that the money is back. Older news change neither."""
    dispute: DisputeStatus | None = None
    """Whether the buyer's bank wants the money back, and how that ended."""
    dispute_news: int = 0
    """The version of the payment that said so. Older news do not change it."""
    late_payment: LatePayment | None = None
    rejected_payments: tuple[str, ...] = ()
    refund_requested: bool = False
    _exceeds_limit: bool = PrivateAttr(default=False)

    @classmethod
    def place(
        cls,
        stock: Stock,
        *,
        order_id: str,
        buyer_id: str,
        buyer_name: str,
        quantity: int,
        held: int,
        limit: int,
        now: datetime,
        hold: timedelta,
        network: str | None = None,
        expected_unit_price: int | None = None,
        expected_currency: Currency | None = None,
    ) -> Self:
        """Hold `quantity` for `hold`, taking it from `stock`.

        `held` is the number of units the buyer holds already; together they may be `limit` at most. The expected price
        is the one that the buyer saw. Raises `OwnItem`, `ItemWithdrawn`, `PriceChanged`, `HoldLimit` or `SoldOut`, and
        then takes nothing.
        """
        if buyer_id == stock.seller_id:
            raise OwnItem("this is your own item")
        if stock.status is ItemStatus.WITHDRAWN:
            raise ItemWithdrawn("the seller takes no more orders for this item")
        if expected_unit_price not in {None, stock.unit_price} or expected_currency not in {None, stock.currency}:
            raise PriceChanged(
                "the seller has changed the price", unit_price=stock.unit_price, currency=str(stock.currency)
            )
        if held + quantity > limit:
            raise HoldLimit(f"you may hold {limit} of this item at a time, and you hold {held}", limit=limit)
        stock.take(quantity)
        order = cls(
            id=order_id,
            buyer_id=buyer_id,
            buyer_name=buyer_name,
            seller_id=stock.seller_id,
            item_id=stock.id,
            item_title=stock.title,
            quantity=quantity,
            unit_price=stock.unit_price,
            currency=stock.currency,
            placed_at=now,
            expires_at=now + hold,
            held_by=hold_key(buyer_id, stock.id),
            counts_for=(buyer_id, network) if network else (buyer_id,),
        )
        order.record(OrderPlaced(**order._state()))
        return order

    def to_document(self) -> dict[str, Any]:
        """The state; the buyer's name only of a new order."""
        return self.model_dump(exclude={"id", "version"} | ({"buyer_name"} if self.version else set()))

    def keep_from_exceeding(self, limit: int, others: int) -> None:
        """If it has expired, do not let it take its units again where the buyer would have more than `limit`.

        `others` is the number of units of the same item in the buyer's other orders.
        """
        self._exceeds_limit = others + self.quantity > limit

    @property
    def total(self) -> int:
        """The amount due, in minor units of `currency`."""
        return self.quantity * self.unit_price

    @property
    def is_settled(self) -> bool:
        """Whether the hold is over, one way or the other."""
        return self.status is not OrderStatus.AWAITING_PAYMENT

    def cancel(self, stock: Stock, reason: CancelReason, now: datetime) -> None:
        """Give the stock back. Cancelling twice is one cancellation.

        Raises `OrderAlreadyPaid` for a paid order, and while its accepted payment is captured.
        """
        match self.status:
            case OrderStatus.CANCELLED | OrderStatus.EXPIRED:
                return
            case OrderStatus.PAID | OrderStatus.REFUNDED:
                raise OrderAlreadyPaid("the order is paid; only the seller can refund it")
            case OrderStatus.AWAITING_PAYMENT if self.accepted_payment:
                raise OrderAlreadyPaid("the order is being paid; after that, only the seller can refund it")
            case OrderStatus.AWAITING_PAYMENT:
                self._end(stock, reason, now if reason is CancelReason.BUYER else None)

    def expire(self, stock: Stock) -> None:
        """The hold is over: give the stock back, unless the order is settled or a payment is accepted."""
        if self.awaits_payment:
            self._end(stock, CancelReason.EXPIRED, self.expires_at)

    @property
    def awaits_payment(self) -> bool:
        """Whether it holds its units and has accepted no payment."""
        return not self.is_settled and not self.accepted_payment

    def accept(self, payment_id: str) -> None:
        """A payment was authorized during the hold, which does not end until that payment is captured or has failed.

        Only for an order that `awaits_payment`.
        """
        if not self.awaits_payment:
            raise Conflict(f"order {self.id} is {self.status}, it does not await a payment")
        self._accept(payment_id)

    def pay(self, payment_id: str) -> None:
        """The money came: the units are the buyer's. Only for an order that holds its units for this payment or any."""
        if not self.awaits_payment and payment_id != self.accepted_payment:
            raise Conflict(f"order {self.id} is {self.status}, it does not await this payment")
        self._paid(payment_id)

    def consider(self, stock: Stock, payment_id: str) -> None:
        """A payment was authorized, whatever happened before: it is accepted, or rejected exactly once.

        An expired order takes its units again if they are still free.
        """
        if payment_id != self.failed_payment:
            self._decide(stock, payment_id, self._accept)

    def settle(self, stock: Stock, payment_id: str) -> None:
        """Money came, whatever happened before: every payment pays this order, or is rejected exactly once.

        An expired order takes its units again if they are still free. A buyer who cancelled gets the money back.
        """
        if payment_id == self.accepted_payment:
            self._paid(payment_id)
        else:
            self._decide(stock, payment_id, self._paid)

    def payment_failed(self, stock: Stock, payment_id: str, reason: str) -> None:
        """Store why a payment failed, for the buyer to read.

        The hold continues, unless the payment was accepted: its hold may be long over, so the units go on sale again.
        """
        if self.awaits_payment or payment_id == self.accepted_payment:
            self.payment_failure = reason
        if payment_id == self.accepted_payment:
            self.accepted_payment, self.accepted_version, self.failed_payment = None, None, payment_id
            self._end(stock, CancelReason.PAYMENT_FAILED)

    def request_refund(self) -> None:
        """The seller refunds the order. A second request changes nothing. Raises `OrderNotPaid`."""
        if self.status is OrderStatus.REFUNDED or self.refund_requested:
            return
        if self.status is not OrderStatus.PAID or self.payment_id is None:
            raise OrderNotPaid("only a paid order can be refunded")
        self.refund_requested = True
        self.record(OrderRefundRequested(**self._state(), payment_id=self.payment_id))

    def refunded(self, stock: Stock, payment_id: str, payment_version: int) -> None:
        """The money is back with the buyer: the units go on sale again. A rejected payment changes nothing here."""
        if self.status is OrderStatus.PAID and payment_id == self.payment_id:
            self.status = OrderStatus.REFUNDED
            stock.give_back(self.quantity)
        self._note_refund(payment_id, payment_version, None)

    def refund_failed(self, payment_id: str, reason: str, payment_version: int) -> None:
        """The provider could not give the money back: store why, for buyer and seller to read."""
        self._note_refund(payment_id, payment_version, reason)

    def disputed(self, payment_id: str, dispute: DisputeStatus, payment_version: int) -> None:
        """The buyer's bank wants the money, or has decided who gets it: for buyer and seller to read."""
        if payment_id == self.payment_id and payment_version >= self.dispute_news:
            self.dispute_news, self.dispute = payment_version, dispute

    def _note_refund(self, payment_id: str, payment_version: int, failure: str | None) -> None:
        if payment_id == self.payment_id and payment_version >= self.refund_news:
            self.refund_news, self.refund_failure = payment_version, failure

    def restated(self) -> list[Event]:
        """Where the order stands, and what payments is to refund for it."""
        # That the money of a refund is back is an event of payments: the version before it was the paid order's.
        version = self.version - (self.status is OrderStatus.REFUNDED)
        state = {**self._state(), "order_version": version, "restated": True}
        rejected = (
            OrderPaymentRejected(**state, payment_id=payment_id, reason=REJECT_REASONS[self.status])
            for payment_id in self.rejected_payments
        )
        return [*self._acceptance(state), self._as_event(state), *rejected, *self._requests(state)]

    def _as_event(self, state: dict[str, Any]) -> Event:
        match self.status:
            case OrderStatus.CANCELLED | OrderStatus.EXPIRED:
                return OrderCancelled(**state, reason=self.cancel_reason or CancelReason.BUYER)
            case OrderStatus.PAID | OrderStatus.REFUNDED:
                return OrderPaid(**state, payment_id=self.payment_id or "")
            case OrderStatus.AWAITING_PAYMENT if self.accepted_payment:
                return OrderPaymentAccepted(**state, payment_id=self.accepted_payment)
            case OrderStatus.AWAITING_PAYMENT:
                return OrderPlaced(**state)

    def _acceptance(self, state: dict[str, Any]) -> list[Event]:
        if self.payment_id and self.accepted_version:
            said = {**state, "order_version": self.accepted_version}
            return [OrderPaymentAccepted(**said, payment_id=self.payment_id)]
        return []

    def _requests(self, state: dict[str, Any]) -> list[Event]:
        if self.status is OrderStatus.PAID and self.refund_requested:
            return [OrderRefundRequested(**state, payment_id=self.payment_id or "")]
        return []

    def _decide(self, stock: Stock, payment_id: str, agree: Callable[[str], None]) -> None:
        """Agree to a payment, or reject it; a decision about it is never changed."""
        if payment_id in {self.accepted_payment, self.payment_id, *self.rejected_payments}:
            return
        match self.status:
            case OrderStatus.AWAITING_PAYMENT if not self.accepted_payment:
                agree(payment_id)
            case OrderStatus.EXPIRED:
                self._take_up_again(stock, payment_id, agree)
            case OrderStatus.CANCELLED:
                self._reject(payment_id, RejectReason.CANCELLED)
            case OrderStatus.AWAITING_PAYMENT | OrderStatus.PAID | OrderStatus.REFUNDED:
                self._reject(payment_id, RejectReason.ALREADY_PAID)

    def _take_up_again(self, stock: Stock, payment_id: str, agree: Callable[[str], None]) -> None:
        try:
            if self._exceeds_limit:
                raise SoldOut("the buyer has as many as the seller sells to one person")
            stock.take(self.quantity)
        except SoldOut:
            self._reject(payment_id, RejectReason.SOLD_OUT)
        else:
            self.late_payment = LatePayment.ACCEPTED
            self.cancel_reason = None
            agree(payment_id)

    def _accept(self, payment_id: str) -> None:
        self.status = OrderStatus.AWAITING_PAYMENT
        self.accepted_payment, self.accepted_version = payment_id, self.next_version
        self.payment_failure = None
        self.held_by = hold_key(self.buyer_id, self.item_id)
        self.counts_for, self.lapsed_at = self.counts_for or (self.buyer_id,), None
        self.record(OrderPaymentAccepted(**self._state(), payment_id=payment_id))

    def _end(self, stock: Stock, reason: CancelReason, lapsed_at: datetime | None = None) -> None:
        self.status = OrderStatus.EXPIRED if reason is CancelReason.EXPIRED else OrderStatus.CANCELLED
        self.cancel_reason = reason
        self.held_by = None
        self.lapsed_at = lapsed_at
        self.counts_for = self.counts_for if lapsed_at else None
        stock.give_back(self.quantity)
        self.record(OrderCancelled(**self._state(), reason=reason))

    def _paid(self, payment_id: str) -> None:
        self.status = OrderStatus.PAID
        self.accepted_payment = None
        self.payment_id = payment_id
        self.payment_failure = None
        self.held_by = self.counts_for = self.lapsed_at = None
        self.record(OrderPaid(**self._state(), payment_id=payment_id))

    def _reject(self, payment_id: str, reason: RejectReason) -> None:
        self.rejected_payments = (*self.rejected_payments, payment_id)
        if self.status in {OrderStatus.EXPIRED, OrderStatus.CANCELLED}:
            self.late_payment = LatePayment.REJECTED
        self.record(OrderPaymentRejected(**self._state(), payment_id=payment_id, reason=reason))

    def _state(self) -> dict[str, Any]:
        return {
            "order_id": self.id,
            "order_version": self.next_version,
            "buyer_id": self.buyer_id,
            "seller_id": self.seller_id,
            "item_id": self.item_id,
            "item_title": self.item_title,
            "quantity": self.quantity,
            "unit_price": self.unit_price,
            "currency": self.currency,
            "expires_at": self.expires_at,
        }


def hold_key(buyer_id: str, item_id: str) -> str:
    """The key by which one buyer's open holds of one item are found."""
    return f"{buyer_id}/{item_id}"
