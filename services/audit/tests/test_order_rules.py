"""The rules of orders: each lets pass what is right or only on its way, and names what is wrong."""

from datetime import timedelta

import pytest

from audit.reconciliation.findings import Rule
from audit.reconciliation.records import BookingRecord, OrderRecord, OrderStatus, PaymentStatus
from audit.reconciliation.rules.orders import check_end, check_order, check_paid
from audit.reconciliation.rules.tickets import check_tickets
from common.events import (
    CancelReason,
    Event,
    ItemKind,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    PaymentFailed,
    PaymentRefunded,
    PaymentReleased,
    RejectReason,
)

from .records import ACCEPTED, DUE, ENDS, NOW, PAID, PLACED, listed, moved, order, paid, payment, published, rules

PAYMENT_FAILED = published(OrderCancelled, 3, reason=CancelReason.PAYMENT_FAILED)


@pytest.mark.parametrize(
    ("record", "log"),
    [
        (order(), [PLACED]),
        (order(), [PLACED, PLACED]),  # published twice
        (order(version=2), [PLACED]),  # a failed payment changes the version and tells nothing
        (paid(), [PAID, PLACED]),  # out of order
        (
            order(status=OrderStatus.EXPIRED, version=2),
            [PLACED, published(OrderCancelled, 2, reason=CancelReason.EXPIRED)],
        ),
        (
            order(status=OrderStatus.CANCELLED, version=2),
            [PLACED, published(OrderCancelled, 2, reason=CancelReason.BUYER)],
        ),
        (paid(status=OrderStatus.REFUNDED, version=4), [PLACED, PAID, moved(PaymentRefunded, 4)]),
        (order(version=2, accepted_payment="p"), [PLACED, ACCEPTED]),
        (paid(version=3), [PLACED, ACCEPTED, published(OrderPaid, 3, payment_id="p")]),
        (order(status=OrderStatus.CANCELLED, version=3), [PLACED, ACCEPTED, PAYMENT_FAILED, moved(PaymentFailed, 5)]),
        (order(status=OrderStatus.CANCELLED, version=3), [PLACED, ACCEPTED, PAYMENT_FAILED, moved(PaymentReleased, 5)]),
        (
            order(version=3, accepted_payment="p"),  # taken up again
            [
                PLACED,
                published(OrderCancelled, 2, reason=CancelReason.EXPIRED),
                published(OrderPaymentAccepted, 3, payment_id="p"),
            ],
        ),
        (
            order(status=OrderStatus.EXPIRED, version=3, rejected_payments=frozenset("q")),
            [
                PLACED,
                published(OrderCancelled, 2, reason=CancelReason.EXPIRED),
                published(OrderPaymentRejected, 3, payment_id="q", reason=RejectReason.SOLD_OUT),
            ],
        ),
    ],
)
def test_an_order_that_is_what_was_published_is_right(record: OrderRecord, log: list[Event]) -> None:
    assert list(check_order(record, log)) == []


@pytest.mark.parametrize(
    ("record", "log", "rule", "certain"),
    [
        (order(), [], Rule.EVENTS_KEPT, False),
        (paid(), [PLACED], Rule.EVENTS_KEPT, False),  # perhaps orders.paid is on its way
        (paid(status=OrderStatus.REFUNDED, version=3), [PLACED, PAID], Rule.EVENTS_KEPT, False),
        (order(), [PLACED, PAID], Rule.BOOKS_AGREE, False),  # perhaps the record was read before
        (order(version=2), [PLACED, PAID], Rule.BOOKS_AGREE, True),
        (paid(payment_id="q"), [PLACED, PAID], Rule.BOOKS_AGREE, True),
        (paid(quantity=3), [PLACED, PAID], Rule.BOOKS_AGREE, True),
        (paid(unit_price=1), [PLACED, PAID], Rule.BOOKS_AGREE, True),
        (paid(version=3, rejected_payments=frozenset("q")), [PLACED, PAID], Rule.EVENTS_KEPT, False),
        (order(version=2, accepted_payment="p"), [PLACED], Rule.EVENTS_KEPT, False),
        (order(version=2, accepted_payment="q"), [PLACED, ACCEPTED], Rule.BOOKS_AGREE, True),
        (order(version=2), [PLACED, ACCEPTED], Rule.BOOKS_AGREE, True),
    ],
)
def test_an_order_that_differs_from_what_was_published_is_found(
    record: OrderRecord, log: list[Event], rule: Rule, certain: bool
) -> None:
    assert rules(check_order(record, log)) == {rule}
    assert rules(check_order(record, log), certain) == {rule}


def test_an_order_ends_or_has_a_deadline_that_expiration_knows() -> None:
    assert list(check_end(order(), DUE, None, NOW)) == []
    assert list(check_end(paid(), None, None, ENDS + timedelta(days=1))) == []
    for due, now in ((None, NOW), (DUE - 1, NOW), (DUE, ENDS), (None, ENDS + timedelta(hours=1))):
        assert rules(check_end(order(), due, None, now), certain=False) == {Rule.ORDERS_END}


def test_a_paid_order_has_its_money_and_a_refunded_one_has_not() -> None:
    assert list(check_paid(order(), None)) == []
    assert list(check_paid(paid(), payment())) == []
    assert list(check_paid(paid(status=OrderStatus.REFUNDED), payment(PaymentStatus.REFUNDED))) == []
    wrong = [None, payment(order_id="another"), payment(amount=999), payment(currency="USD")]
    for kept in (PaymentStatus.REFUND_FAILED, PaymentStatus.DISPUTED):
        for status in (OrderStatus.PAID, OrderStatus.REFUNDED):
            assert list(check_paid(paid(status=status), payment(kept))) == []
    for money in (*wrong, payment(PaymentStatus.FAILED), payment(PaymentStatus.PROCESSING)):
        assert rules(check_paid(paid(), money)) == {Rule.CHARGES_END}
    assert rules(check_paid(paid(status=OrderStatus.REFUNDED), payment())) == {Rule.CHARGES_END}


@pytest.mark.parametrize("reason", [CancelReason.EXPIRED, CancelReason.BUYER, CancelReason.WITHDRAWN])
def test_an_order_that_ended_while_its_accepted_payment_was_captured_is_found(reason: CancelReason) -> None:
    status = OrderStatus.EXPIRED if reason is CancelReason.EXPIRED else OrderStatus.CANCELLED
    log = [PLACED, ACCEPTED, published(OrderCancelled, 3, reason=reason)]

    assert rules(check_order(order(status=status, version=3), log), certain=True) == {Rule.ORDERS_END}


def test_an_order_that_ended_for_a_payment_that_did_not_fail_is_found() -> None:
    record = order(status=OrderStatus.CANCELLED, version=3)
    another = moved(PaymentReleased, 5).model_copy(update={"payment_id": "q"})

    for log in ([PLACED, ACCEPTED, PAYMENT_FAILED], [PLACED, ACCEPTED, PAYMENT_FAILED, another]):
        assert rules(check_order(record, log), certain=False) == {Rule.ORDERS_END}


def test_an_order_with_an_accepted_payment_needs_no_deadline_but_that_payment_is_under_way() -> None:
    accepted, late = order(accepted_payment="p"), ENDS + timedelta(days=1)
    for under_way in (PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURE_DUE):
        assert list(check_end(accepted, None, payment(under_way), late)) == []
    for ended in (None, payment(PaymentStatus.RELEASED), payment(PaymentStatus.FAILED), payment()):
        assert rules(check_end(accepted, DUE, ended, NOW), certain=False) == {Rule.ORDERS_END}
    for status in (OrderStatus.EXPIRED, OrderStatus.CANCELLED):
        ended_order = order(accepted_payment="p", status=status)
        assert rules(check_end(ended_order, None, payment(), NOW), certain=True) == {Rule.ORDERS_END}


# Tickets

CONCERT = listed().model_copy(update={"kind": ItemKind.EVENT})
TWO = {"tickets": [{"unit": 1}, {"unit": 2}], "sale": {"payment_id": "p"}, "version": 1}


def booking(**changes: object) -> BookingRecord:
    return BookingRecord.model_validate({"id": "o", **TWO, **changes})


@pytest.mark.parametrize(
    ("record", "item", "found"),
    [
        (paid(), CONCERT, booking()),
        (paid(), listed(), None),  # a thing
        (order(), CONCERT, None),  # not paid yet
        (paid(refund_requested=True), CONCERT, booking(returned=["p"])),
        (paid(status=OrderStatus.REFUNDED), CONCERT, booking(returned=["x", "p"])),
        (paid(status=OrderStatus.REFUNDED), CONCERT, None),
        (order(), CONCERT, booking(sale=None, tickets=[], returned=["x"])),  # a rejected payment went back
    ],
)
def test_the_tickets_of_an_order_are_its_paid_units(
    record: OrderRecord, item: Event, found: BookingRecord | None
) -> None:
    assert list(check_tickets(record, [item], found)) == []


@pytest.mark.parametrize(
    ("record", "found"),
    [
        (paid(), None),
        (paid(), booking(tickets=[{"unit": 1}])),
        (paid(), booking(tickets=[{"unit": 1}, {"unit": 2}, {"unit": 2}])),
        (paid(), booking(returned=["p"])),
        (paid(refund_requested=True), booking()),
        (paid(status=OrderStatus.REFUNDED), booking()),
        (order(), booking()),
    ],
)
def test_a_ticket_too_many_or_too_few_is_found(record: OrderRecord, found: BookingRecord | None) -> None:
    [finding] = check_tickets(record, [CONCERT], found)
    assert finding.rule is Rule.TICKETS_MATCH
