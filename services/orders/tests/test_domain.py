"""The rules, without any server."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import Conflict
from common.events import (
    CancelReason,
    Currency,
    DisputeStatus,
    ItemStatus,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderPlaced,
    OrderRefundRequested,
    RejectReason,
    StockChanged,
)
from orders.domain import (
    HoldLimit,
    ItemWithdrawn,
    LatePayment,
    Order,
    OrderAlreadyPaid,
    OrderNotPaid,
    OrderStatus,
    OwnItem,
    PriceChanged,
)
from orders.stock import SoldOut, Stock

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOLD = timedelta(minutes=15)


def stock(offered: int = 5, taken: int = 0, status: ItemStatus = ItemStatus.LISTED) -> Stock:
    return Stock(
        id="item",
        version=1,
        seller_id="seller",
        title="A lamp",
        unit_price=1250,
        currency=Currency.EUR,
        offered=offered,
        taken=taken,
        status=status,
        item_version=1,
    )


def place(on: Stock, quantity: int = 1, buyer: str = "buyer", held: int = 0, limit: int = 10, **expected: Any) -> Order:
    return Order.place(
        on,
        order_id="order",
        buyer_id=buyer,
        buyer_name="Bo",
        quantity=quantity,
        held=held,
        limit=limit,
        now=NOW,
        hold=HOLD,
        **expected,
    )


def expired(on: Stock, quantity: int = 1) -> Order:
    order = place(on, quantity)
    order.saved()
    order.expire(on)
    order.saved()
    return order


def test_placing_takes_units_for_the_time_of_the_hold() -> None:
    item = stock(offered=5)

    order = place(item, quantity=2)

    assert (item.free, order.total, order.expires_at) == (3, 2500, NOW + HOLD)
    [placed] = order.recorded
    assert isinstance(placed, OrderPlaced)
    assert (placed.order_version, placed.quantity, placed.unit_price) == (1, 2, 1250)


def test_stock_tells_only_the_outcome_of_a_group() -> None:
    item = stock(offered=5)

    place(item, quantity=2)
    place(item, quantity=1)

    assert item.recorded == (StockChanged(item_id="item", stock_version=2, quantity=5, available=2, item_version=1),)


@pytest.mark.parametrize(
    ("item", "arguments", "error"),
    [
        (stock(offered=1), {"quantity": 2}, SoldOut),
        (stock(status=ItemStatus.WITHDRAWN), {}, ItemWithdrawn),
        (stock(), {"buyer": "seller"}, OwnItem),
        (stock(offered=99), {"quantity": 3, "held": 8}, HoldLimit),
        (stock(), {"expected_unit_price": 1249}, PriceChanged),
        (stock(), {"expected_unit_price": 1250, "expected_currency": Currency.USD}, PriceChanged),
    ],
)
def test_what_cannot_be_placed_takes_nothing(item: Stock, arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        place(item, **arguments)
    assert (item.taken, item.recorded) == (0, ())


def test_cancelling_twice_is_one_cancellation() -> None:
    item = stock()
    order = place(item, quantity=2)
    order.saved()

    order.cancel(item, CancelReason.BUYER, NOW)
    order.cancel(item, CancelReason.BUYER, NOW)

    assert item.free == 5
    [cancelled] = order.recorded
    assert isinstance(cancelled, OrderCancelled)
    assert (cancelled.reason, cancelled.order_version) == (CancelReason.BUYER, 2)


def test_a_paid_order_is_neither_cancelled_nor_expired() -> None:
    item = stock()
    order = place(item)
    order.pay("payment")

    order.expire(item)
    with pytest.raises(OrderAlreadyPaid):
        order.cancel(item, CancelReason.BUYER, NOW)

    assert (order.status, item.taken) == (OrderStatus.PAID, 1)


def test_an_order_whose_payment_is_accepted_is_neither_cancelled_nor_expired() -> None:
    item = stock()
    order = place(item)
    order.accept("payment")

    order.expire(item)
    with pytest.raises(OrderAlreadyPaid):
        order.cancel(item, CancelReason.BUYER, NOW)
    with pytest.raises(Conflict):
        order.accept("another")
    with pytest.raises(Conflict):
        order.pay("another")
    order.settle(item, "another")
    order.consider(item, "payment")

    assert (order.status, item.taken) == (OrderStatus.AWAITING_PAYMENT, 1)
    assert order.rejected_payments == ("another",)
    order.settle(item, "payment")
    assert (order.status, order.payment_id, order.accepted_payment) == (OrderStatus.PAID, "payment", None)


def test_an_accepted_payment_that_fails_ends_the_order() -> None:
    item = stock()
    order = place(item)
    order.accept("payment")

    order.payment_failed(item, "payment", "capture_refused")
    order.payment_failed(item, "payment", "capture_refused")

    assert (order.status, order.cancel_reason) == (OrderStatus.CANCELLED, CancelReason.PAYMENT_FAILED)
    assert (order.payment_failure, item.taken) == ("capture_refused", 0)


def test_an_accepted_payment_that_failed_is_not_rejected_when_its_authorization_is_delivered_again() -> None:
    item = stock()
    order = place(item)
    order.consider(item, "payment")
    order.payment_failed(item, "payment", "capture_refused")
    recorded = order.recorded

    order.consider(item, "payment")
    assert (order.recorded, order.late_payment) == (recorded, None)

    order.settle(item, "payment")  # money that moved after all
    assert order.rejected_payments == ("payment",)


def test_late_money_takes_the_units_again_if_they_are_free() -> None:
    item = stock(offered=1)
    order = expired(item)

    order.settle(item, "payment")
    order.settle(item, "payment")  # reported twice

    assert (order.status, order.late_payment, item.free) == (OrderStatus.PAID, LatePayment.ACCEPTED, 0)
    [paid] = order.recorded
    assert isinstance(paid, OrderPaid)


def test_late_money_is_rejected_once_when_the_units_are_gone() -> None:
    item = stock(offered=1)
    order = expired(item)
    place(item, buyer="somebody else")

    order.settle(item, "payment")
    order.settle(item, "payment")

    assert (order.status, order.late_payment) == (OrderStatus.EXPIRED, LatePayment.REJECTED)
    [rejected] = order.recorded
    assert isinstance(rejected, OrderPaymentRejected)
    assert (rejected.payment_id, rejected.reason) == ("payment", RejectReason.SOLD_OUT)


def test_a_buyer_who_cancelled_gets_his_money_back_even_if_the_item_is_free() -> None:
    item = stock()
    order = place(item)
    order.saved()
    order.cancel(item, CancelReason.BUYER, NOW)
    order.saved()

    order.settle(item, "payment")

    [rejected] = order.recorded
    assert isinstance(rejected, OrderPaymentRejected)
    assert (rejected.reason, order.status, item.free) == (RejectReason.CANCELLED, OrderStatus.CANCELLED, 5)


def test_a_second_payment_of_a_paid_order_goes_back() -> None:
    item = stock()
    order = place(item)
    order.pay("first")
    order.saved()

    order.settle(item, "second")

    [rejected] = order.recorded
    assert isinstance(rejected, OrderPaymentRejected)
    assert (rejected.payment_id, rejected.reason) == ("second", RejectReason.ALREADY_PAID)
    assert (order.status, order.payment_id, order.late_payment) == (OrderStatus.PAID, "first", None)


def test_only_a_paid_order_is_refunded_and_then_its_units_go_on_sale_again() -> None:
    item = stock()
    order = place(item, quantity=2)
    with pytest.raises(OrderNotPaid):
        order.request_refund()
    order.pay("payment")
    order.saved()

    order.request_refund()
    order.request_refund()
    assert [type(event) for event in order.recorded] == [OrderRefundRequested]
    order.refunded(item, "payment", payment_version=2)
    order.refunded(item, "payment", payment_version=2)

    assert (order.status, item.free) == (OrderStatus.REFUNDED, 5)


@pytest.mark.parametrize("story", list(permutations(["captured", "refunded", "failed", "again"])))
def test_the_newest_news_of_a_refund_counts_in_whatever_order_it_comes(story: tuple[str, ...]) -> None:
    item = stock()
    order = place(item, quantity=2)

    for news in story:
        order.settle(item, "payment")  # Each of them says that the money had come.
        match news:
            case "refunded":
                order.refunded(item, "payment", payment_version=3)
            case "failed":
                order.refund_failed("payment", "account_closed", payment_version=4)
            case "again":
                order.refunded(item, "payment", payment_version=6)

    assert (order.status, order.refund_failure, item.free) == (OrderStatus.REFUNDED, None, 5)


def test_late_news_of_a_refund_does_not_hide_that_it_failed() -> None:
    item = stock()
    order = place(item, quantity=2)
    order.settle(item, "payment")

    order.refund_failed("payment", "account_closed", payment_version=4)
    order.refunded(item, "payment", payment_version=3)

    assert (order.status, order.refund_failure) == (OrderStatus.REFUNDED, "account_closed")


@pytest.mark.parametrize("story", list(permutations([(3, "open"), (4, "won"), (5, "open"), (6, "lost")])))
def test_the_newest_news_of_a_dispute_counts_in_whatever_order_it_comes(story: tuple[tuple[int, str], ...]) -> None:
    item = stock()
    order = place(item)
    order.settle(item, "payment")

    for version, dispute in story:
        order.disputed("payment", DisputeStatus(dispute), payment_version=version)
        order.disputed("another", DisputeStatus.OPEN, payment_version=9)

    assert order.dispute == max(story)[1]


def test_news_of_a_dispute_and_of_a_refund_do_not_hide_each_other() -> None:
    item = stock()
    order = place(item)
    order.settle(item, "payment")

    order.disputed("payment", DisputeStatus.LOST, payment_version=6)
    order.refund_failed("payment", "account_closed", payment_version=5)

    assert (order.dispute, order.refund_failure) == ("lost", "account_closed")


def test_the_refund_of_a_rejected_payment_leaves_the_order_alone() -> None:
    item = stock(offered=1)
    order = expired(item)
    place(item, buyer="somebody else")
    order.settle(item, "payment")

    order.refunded(item, "payment", payment_version=2)

    assert (order.status, item.taken) == (OrderStatus.EXPIRED, 1)


def test_a_lowered_offer_leaves_what_is_taken_and_nothing_free() -> None:
    item = stock(offered=5, taken=4)

    item.offered = 2

    assert item.free == 0
    with pytest.raises(SoldOut):
        item.take(1)


STEPS = ["expire", "cancel", "ask_a", "ask_b", "pay_a", "pay_b", "fail_a", "fail_b", "back_a", "back_b", "refund"]


@given(st.lists(st.sampled_from(STEPS), max_size=12))
def test_whatever_happens_in_whatever_order_units_are_taken_exactly_while_an_order_has_them(story: list[str]) -> None:
    item = stock(offered=3)
    order = place(item, quantity=2)
    for step in story:
        try:
            match step.split("_"):
                case ["expire"]:
                    order.expire(item)
                case ["cancel"]:
                    order.cancel(item, CancelReason.BUYER, NOW)
                case ["ask", payment]:
                    order.consider(item, payment)
                case ["pay", payment]:
                    order.settle(item, payment)
                case ["fail", payment]:
                    order.payment_failed(item, payment, "refused")
                case ["back", payment]:
                    order.refunded(item, payment, payment_version=2)
                case ["refund"]:
                    order.request_refund()
        except (OrderAlreadyPaid, OrderNotPaid):
            pass
        has_units = order.status in {OrderStatus.AWAITING_PAYMENT, OrderStatus.PAID}
        assert item.taken == (2 if has_units else 0)
        assert (order.held_by is not None) == (order.status is OrderStatus.AWAITING_PAYMENT)

    came = {step[-1] for step in story if step.startswith(("ask_", "pay_"))}
    settled = {step[-1] for step in story if step.startswith("pay_")}
    agreed = [e.payment_id for e in order.recorded if isinstance(e, OrderPaymentAccepted | OrderPaid)]
    assert came == {*agreed, *order.rejected_payments}  # orders says of every payment what becomes of it
    assert settled <= {order.payment_id, *order.rejected_payments}
    assert order.payment_id not in order.rejected_payments
    assert order.accepted_payment is None or order.status is OrderStatus.AWAITING_PAYMENT
    rejections = [e.payment_id for e in order.recorded if isinstance(e, OrderPaymentRejected)]
    assert sorted(rejections) == sorted(order.rejected_payments)


def test_an_order_and_its_stock_state_again_what_they_are_with_the_version_that_they_have() -> None:
    shelf = stock()
    open_order, late, returned, accepted = place(shelf), expired(shelf), place(shelf), place(shelf)
    accepted.accept("payment")
    accepted.saved()
    [stated] = accepted.restated()
    assert isinstance(stated, OrderPaymentAccepted)
    assert (stated.payment_id, stated.order_version) == ("payment", 1)
    accepted.pay("payment")
    accepted.saved()
    [stated, sold] = accepted.restated()  # what was captured was accepted before: its word may be what the bus lost
    assert isinstance(stated, OrderPaymentAccepted)
    assert isinstance(sold, OrderPaid)
    assert [(stated.payment_id, stated.order_version), sold.order_version] == [("payment", 1), 2]
    shelf.give_back(1)
    open_order.saved()
    late.settle(stock(offered=0), "too late")
    late.saved()
    returned.saved()
    returned.pay("payment")
    returned.saved()
    returned.request_refund()
    returned.saved()

    [placed] = open_order.restated()
    assert isinstance(placed, OrderPlaced)
    assert (placed.order_version, placed.restated) == (1, True)
    [cancelled, rejected] = late.restated()
    assert isinstance(cancelled, OrderCancelled)
    assert isinstance(rejected, OrderPaymentRejected)
    assert (cancelled.reason, rejected.reason) == (CancelReason.EXPIRED, RejectReason.SOLD_OUT)
    assert {cancelled.order_version, rejected.order_version} == {late.version}
    [paid, requested] = returned.restated()
    assert isinstance(paid, OrderPaid)
    assert isinstance(requested, OrderRefundRequested)
    assert requested.payment_id == paid.payment_id == "payment"

    returned.refunded(shelf, "payment", payment_version=2)
    returned.saved()
    [paid] = returned.restated()
    assert isinstance(paid, OrderPaid)
    assert paid.order_version == returned.version - 1  # payments tells of the refund
    [left] = shelf.restated()
    assert left == StockChanged(item_id="item", stock_version=1, quantity=5, available=4, item_version=1, restated=True)
