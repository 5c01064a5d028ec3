"""The rules of payments: each lets pass what is right or only on its way, and names what is wrong."""

from datetime import datetime, timedelta

import pytest

from audit.reconciliation.findings import Money, Rule
from audit.reconciliation.log_reader import PAYMENTS
from audit.reconciliation.records import ChargeRecord, OrderRecord, OrderStatus, PaymentRecord, PaymentStatus
from audit.reconciliation.rules.payments import check_charge, check_payment
from common.events import (
    DisputeStatus,
    Event,
    OrderPaid,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentPartlyRefunded,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentReleased,
)

from .records import ACCEPTED, ENDS, NOW, charge, moved, order, paid, payment, rules

AUTHORIZED = moved(PaymentAuthorized, 2)


@pytest.mark.parametrize(
    ("record", "log"),
    [
        (payment(PaymentStatus.CREATED, version=1), []),
        (payment(), [moved(PaymentCaptured, 2)]),
        (payment(PaymentStatus.REFUND_DUE, version=3), [moved(PaymentCaptured, 2)]),
        (payment(PaymentStatus.REFUNDED, version=4), [moved(PaymentRefunded, 4), moved(PaymentCaptured, 2)]),
        (payment(version=3, refunded_amount=300), [moved(PaymentCaptured, 2), moved(PaymentPartlyRefunded, 3)]),
        (payment(PaymentStatus.FAILED), [moved(PaymentFailed, 2)]),
        (payment(PaymentStatus.AUTHORIZED), [AUTHORIZED]),
        (payment(PaymentStatus.CAPTURE_DUE, version=3), [AUTHORIZED, ACCEPTED]),
        (payment(version=4), [AUTHORIZED, ACCEPTED, moved(PaymentCaptured, 4)]),
        (payment(PaymentStatus.RELEASE_DUE, version=3), [AUTHORIZED]),
        (payment(PaymentStatus.RELEASE_DUE, version=3), [moved(PaymentFailed, 2)]),  # authorized after it failed
        (payment(PaymentStatus.RELEASED, version=4), [AUTHORIZED, moved(PaymentReleased, 4)]),
        (
            payment(PaymentStatus.REFUNDED, version=6),
            [AUTHORIZED, moved(PaymentCaptured, 4), moved(PaymentRefunded, 6)],
        ),
        (payment(PaymentStatus.REFUND_FAILED, version=7), [moved(PaymentRefunded, 6), moved(PaymentRefundFailed, 7)]),
        (payment(PaymentStatus.DISPUTED, version=5), [moved(PaymentCaptured, 4), moved(PaymentDisputed, 5)]),
    ],
)
def test_a_payment_that_is_what_was_published_is_right(record: PaymentRecord, log: list[Event]) -> None:
    assert list(check_payment(record, log)) == []


@pytest.mark.parametrize(
    ("record", "log", "rule", "certain"),
    [
        (payment(), [], Rule.EVENTS_KEPT, False),
        (payment(PaymentStatus.REFUNDED, version=4), [moved(PaymentCaptured, 2)], Rule.EVENTS_KEPT, False),
        (payment(PaymentStatus.PROCESSING), [moved(PaymentCaptured, 2)], Rule.BOOKS_AGREE, True),
        (payment(), [moved(PaymentCaptured, 2), moved(PaymentRefunded, 4)], Rule.BOOKS_AGREE, False),
        (payment(refunded_amount=300), [moved(PaymentCaptured, 2)], Rule.EVENTS_KEPT, False),
        (payment(version=3), [moved(PaymentCaptured, 2), moved(PaymentPartlyRefunded, 3)], Rule.EVENTS_KEPT, False),
        (payment(PaymentStatus.AUTHORIZED), [], Rule.EVENTS_KEPT, False),
        (payment(PaymentStatus.RELEASED, version=4), [AUTHORIZED], Rule.EVENTS_KEPT, False),
        (payment(PaymentStatus.REFUND_FAILED, version=7), [moved(PaymentRefunded, 6)], Rule.EVENTS_KEPT, False),
        (payment(PaymentStatus.DISPUTED, version=5), [moved(PaymentCaptured, 4)], Rule.EVENTS_KEPT, False),
        (
            payment(version=5, dispute=DisputeStatus.WON),
            [moved(PaymentCaptured, 2), moved(PaymentDisputed, 3)],
            Rule.EVENTS_KEPT,
            False,
        ),
        (payment(PaymentStatus.PROCESSING), [AUTHORIZED], Rule.BOOKS_AGREE, True),
        (
            payment(PaymentStatus.CAPTURE_DUE, version=4),
            [AUTHORIZED, moved(PaymentReleased, 4)],
            Rule.BOOKS_AGREE,
            True,
        ),
        (
            payment(PaymentStatus.RELEASE_DUE, version=4),
            [AUTHORIZED, moved(PaymentReleased, 4)],
            Rule.BOOKS_AGREE,
            True,
        ),
    ],
)
def test_a_payment_that_differs_from_what_was_published_is_found(
    record: PaymentRecord, log: list[Event], rule: Rule, certain: bool
) -> None:
    assert rules(check_payment(record, log), certain) == {rule}


def test_money_that_was_taken_without_the_orders_word_is_found() -> None:
    captured = moved(PaymentCaptured, 4)
    unasked, another = [AUTHORIZED, captured], moved(PaymentRefunded, 6)

    assert rules(check_payment(payment(version=4), unasked), certain=False) == {Rule.CHARGES_END}
    assert list(check_payment(payment(version=4), [captured])) == []  # a method that can't be authorized
    assert list(check_payment(payment(PaymentStatus.REFUNDED, version=6), [*unasked, another])) == []
    again = captured.model_copy(update={"restated": True})
    assert list(check_payment(payment(version=4), [AUTHORIZED, again])) == []  # the bus may have lost the order's word
    sold = OrderPaid(**ACCEPTED.model_dump() | {"order_version": 3, "restated": True})
    assert list(check_payment(payment(version=4), [*unasked, sold])) == []  # it has, and the order was said again
    assert OrderPaid.subject in PAYMENTS


def test_every_charge_that_ended_balances() -> None:
    sold, nothing = check_charge(payment(), paid(), charge(), NOW)
    assert (sold, nothing) == (Money(charged=1000, sellers=1000), [])

    back, nothing = check_charge(
        payment(PaymentStatus.REFUNDED), order(rejected_payments=frozenset("p")), charge(refunded=True), NOW
    )
    assert (back, nothing) == (Money(charged=1000, refunded=1000), [])

    declined, nothing = check_charge(payment(PaymentStatus.FAILED), order(), charge(captured=False), NOW)
    assert (declined, nothing) == (Money(), [])

    released, nothing = check_charge(
        payment(PaymentStatus.RELEASED), order(rejected_payments=frozenset("p")), charge(captured=False), NOW
    )
    assert (released, nothing) == (Money(), [])

    later = payment(PaymentStatus.PROCESSING, check_at=ENDS)
    under_way, nothing = check_charge(later, order(), charge(), NOW)
    assert (under_way, nothing) == (Money(charged=1000, in_transit=1000), [])

    capturing = payment(PaymentStatus.CAPTURE_DUE, check_at=ENDS)
    for moved_already, expected in ((False, Money()), (True, Money(charged=1000, in_transit=1000))):
        under_way, nothing = check_charge(capturing, order(accepted_payment="p"), charge(moved_already), NOW)
        assert (under_way, nothing) == (expected, [])


@pytest.mark.parametrize("buys", [paid(), paid(status=OrderStatus.REFUNDED)])
@pytest.mark.parametrize(
    ("status", "where"),
    [
        (PaymentStatus.REFUND_FAILED, Money(charged=1000, in_transit=1000)),
        (PaymentStatus.DISPUTED, Money(charged=1000, disputed=1000)),
    ],
)
def test_what_an_operator_has_to_settle_is_found_and_its_money_is_where_the_records_say(
    status: PaymentStatus, where: Money, buys: OrderRecord
) -> None:
    dispute = DisputeStatus.OPEN if status is PaymentStatus.DISPUTED else None
    money, findings = check_charge(payment(status, dispute=dispute), buys, charge(), NOW)

    assert money == where
    assert rules(findings) == {Rule.CHARGES_END}
    assert findings[0].expected.startswith("an operator settles")


PART = "300 EUR went back, as the gateway says"


@pytest.mark.parametrize(
    ("status", "buys", "where"),
    [
        (PaymentStatus.CAPTURED, paid(), Money(charged=1000, refunded=300, sellers=700)),
        (
            PaymentStatus.REFUND_FAILED,
            paid(status=OrderStatus.REFUNDED),
            Money(charged=1000, refunded=300, in_transit=700),
        ),
        (PaymentStatus.DISPUTED, paid(), Money(charged=1000, refunded=300, disputed=700)),
    ],
)
def test_a_part_that_went_back_is_the_buyers_and_the_rest_is_where_the_records_say(
    status: PaymentStatus, buys: OrderRecord, where: Money
) -> None:
    dispute = DisputeStatus.LOST if status is PaymentStatus.DISPUTED else None
    partly = payment(status, refunded_amount=300, dispute=dispute)

    money, findings = check_charge(partly, buys, charge(part=300), NOW)
    _, unheard = check_charge(payment(status, dispute=dispute), buys, charge(part=300), NOW)

    assert (money, money.difference) == (where, 0)
    assert PART not in {finding.expected for finding in findings}
    assert PART in {finding.expected for finding in unheard}


def test_the_rest_of_a_refund_that_an_operator_paid_by_other_means_balances() -> None:
    settled = payment(PaymentStatus.REFUNDED, settled_by="ola@souk.test", refunded_amount=300)

    money, findings = check_charge(settled, paid(status=OrderStatus.REFUNDED), charge(part=300), NOW)

    assert findings == []
    assert (money.refunded, money.difference) == (1000, 0)


@pytest.mark.parametrize("buys", [paid(), paid(status=OrderStatus.REFUNDED)])
def test_a_lost_dispute_is_final_and_its_money_stays_with_the_bank(buys: OrderRecord) -> None:
    lost = payment(PaymentStatus.DISPUTED, dispute=DisputeStatus.LOST)

    money, findings = check_charge(lost, buys, charge(), NOW)

    assert (money, findings) == (Money(charged=1000, disputed=1000), [])


@pytest.mark.parametrize("status", [PaymentStatus.AUTHORIZED, PaymentStatus.CAPTURE_DUE, PaymentStatus.RELEASE_DUE])
@pytest.mark.parametrize("check_at", [None, NOW - timedelta(seconds=1)])
def test_an_authorization_that_nobody_looks_after_is_found(status: PaymentStatus, check_at: datetime | None) -> None:
    asked = payment(status, check_at=check_at)

    _, findings = check_charge(asked, order(accepted_payment="p"), charge(captured=False), NOW)

    assert "a check that is not overdue" in {finding.expected for finding in findings}


@pytest.mark.parametrize(
    ("record", "buys", "money", "expected"),
    [
        (payment(), None, charge(), "an order"),
        (payment(), order(), charge(), "the order takes or rejects it"),
        (payment(), paid(payment_id="q"), charge(), "the order takes or rejects it"),
        (payment(), order(rejected_payments=frozenset("p")), charge(), "a refund, since the order rejected it"),
        (payment(), paid(status=OrderStatus.REFUNDED), charge(), "the order is paid with it"),
        (payment(PaymentStatus.REFUND_DUE), paid(), charge(), "the refund that is due"),
        (payment(PaymentStatus.REFUNDED), paid(), charge(refunded=True), "the order is refunded, too"),
        (payment(PaymentStatus.REFUNDED), order(), charge(), "the gateway has sent the money back"),
        (
            payment(PaymentStatus.CREATED, check_at=NOW - timedelta(seconds=1)),
            order(),
            None,
            "a check that is not overdue",
        ),
        (payment(), paid(), None, "the gateway has the charge"),
        (payment(), paid(), charge(refunded=True), "no refund"),
        (payment(), paid(), charge(amount=999), "1000 EUR"),
        (payment(PaymentStatus.FAILED), order(), charge(), "no money moved"),
        (payment(PaymentStatus.RELEASED), order(), charge(), "no money moved"),
        (payment(PaymentStatus.AUTHORIZED), None, charge(captured=False), "an order"),
        (payment(PaymentStatus.AUTHORIZED), order(), charge(captured=False), "the order accepts or rejects it"),
        (
            payment(PaymentStatus.AUTHORIZED),
            order(accepted_payment="p"),
            charge(captured=False),
            "the capture that is due, since the order accepted it",
        ),
        (
            payment(PaymentStatus.AUTHORIZED),
            order(rejected_payments=frozenset("p")),
            charge(captured=False),
            "a release, since the order rejected it",
        ),
        (payment(PaymentStatus.CAPTURE_DUE), order(), charge(captured=False), "the order has accepted it"),
        (payment(), order(status=OrderStatus.CANCELLED), charge(), "the order takes or rejects it"),
    ],
)
def test_a_charge_that_ends_nowhere_or_twice_is_found(
    record: PaymentRecord, buys: OrderRecord | None, money: ChargeRecord | None, expected: str
) -> None:
    _, findings = check_charge(record, buys, money, NOW)

    assert expected in {finding.expected for finding in findings if finding.rule is Rule.CHARGES_END}


@pytest.mark.parametrize(
    ("record", "buys", "money"),
    [
        (payment(), paid(), charge(refunded=True)),
        (payment(), paid(), charge(amount=999)),
        (payment(), paid(), charge(part=300)),
        (payment(refunded_amount=300), paid(), charge()),
        (payment(), paid(), None),
        (payment(PaymentStatus.REFUNDED), paid(), charge(refunded=True)),
        (payment(PaymentStatus.REFUNDED), order(), charge()),
        (payment(PaymentStatus.FAILED), order(), charge()),
        (payment(PaymentStatus.RELEASED), order(), charge()),
    ],
)
def test_money_that_is_lost_or_made_does_not_balance(
    record: PaymentRecord, buys: OrderRecord, money: ChargeRecord | None
) -> None:
    balance, findings = check_charge(record, buys, money, NOW)

    assert balance.difference
    assert Rule.MONEY_BALANCES in rules(findings)


def test_what_is_missing_again_after_a_rest_was_paid_by_other_means_is_on_its_way() -> None:
    settled = payment(PaymentStatus.REFUND_FAILED, settled_by="ola@souk.test", settled_amount=700)

    money, _ = check_charge(settled, paid(), charge(), NOW)

    assert (money.refunded, money.in_transit, money.difference) == (700, 300, 0)


def test_a_refund_that_an_operator_paid_by_other_means_balances() -> None:
    settled = payment(PaymentStatus.REFUNDED, settled_by="ola@souk.test")

    money, findings = check_charge(settled, paid(status=OrderStatus.REFUNDED), charge(), NOW)

    assert findings == []
    assert (money.refunded, money.difference) == (1000, 0)
