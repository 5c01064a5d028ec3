"""The rules: each lets pass what is right or only on its way, and names what is wrong."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from audit.reconciliation.findings import Finding, Money, Rule
from audit.reconciliation.records import (
    ChargeRecord,
    ItemRecord,
    OrderRecord,
    OrderStatus,
    PaymentRecord,
    PaymentStatus,
    StockRecord,
)
from audit.reconciliation.rules import (
    EPOCH,
    check_charge,
    check_end,
    check_item,
    check_order,
    check_paid,
    check_payment,
    check_stock,
)
from common.events import (
    CancelReason,
    Currency,
    Event,
    ItemChanged,
    ItemListed,
    ItemStatus,
    OrderCancelled,
    OrderPaid,
    OrderPaymentRejected,
    OrderPlaced,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    RejectReason,
    StockChanged,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ENDS = NOW + timedelta(minutes=5)
DUE = (ENDS - EPOCH) // timedelta(milliseconds=1)


def order(**changes: Any) -> OrderRecord:
    """Two lamps, held at version 1."""
    held = OrderRecord(
        id="o", item_id="i", quantity=2, unit_price=500, currency="EUR", status=OrderStatus.AWAITING_PAYMENT,
        expires_at=ENDS, version=1,
    )  # fmt: skip
    return held.model_copy(update=changes)


def paid(**changes: Any) -> OrderRecord:
    return order(**{"status": OrderStatus.PAID, "version": 2, "payment_id": "p", **changes})


def published(kind: type[Event], version: int, **more: Any) -> Any:
    """An event of the order."""
    state: dict[str, Any] = {"buyer_id": "b", "seller_id": "s", "item_id": "i", "item_title": "A lamp", "quantity": 2}
    state |= {"unit_price": 500, "currency": Currency.EUR, "expires_at": ENDS, "order_id": "o"}
    return kind(**{**state, "order_version": version, **more})


PLACED = published(OrderPlaced, 1)
PAID = published(OrderPaid, 2, payment_id="p")
EXPIRED = published(OrderCancelled, 2, reason=CancelReason.EXPIRED)
CANCELLED = published(OrderCancelled, 2, reason=CancelReason.BUYER)


def moved(kind: type[Event], version: int) -> Any:
    """An event of the payment."""
    state: dict[str, Any] = {
        "payment_id": "p",
        "order_id": "o",
        "buyer_id": "b",
        "amount": 1000,
        "currency": Currency.EUR,
    }
    state["reason"] = "told"
    return kind(**{**state, "payment_version": version})


def payment(status: PaymentStatus = PaymentStatus.CAPTURED, **changes: Any) -> PaymentRecord:
    record = PaymentRecord(id="p", order_id="o", amount=1000, currency="EUR", status=status, version=2)
    return record.model_copy(update=changes)


def charge(captured: bool = True, refunded: bool = False, amount: int = 1000) -> ChargeRecord:
    return ChargeRecord(id="p", amount=amount, currency="EUR", captured=captured, refunded=refunded)


def stock(**changes: Any) -> StockRecord:
    """Five lamps: two held, one sold."""
    record = StockRecord(
        id="i", offered=5, taken=3, held=2, sold=1, status="listed", version=2, item_version=1,
    )  # fmt: skip
    return record.model_copy(update=changes)


def news(version: int, available: int, quantity: int = 5) -> StockChanged:
    return StockChanged(item_id="i", stock_version=version, quantity=quantity, available=available)


def listed(version: int = 1, quantity: int = 5) -> Any:
    kind = ItemListed if version == 1 else ItemChanged
    return kind(
        item_id="i", item_version=version, seller_id="s", title="A lamp", description="", price=500,
        currency=Currency.EUR, quantity=quantity, status=ItemStatus.LISTED,
    )  # fmt: skip


def item(**changes: Any) -> ItemRecord:
    record = ItemRecord(id="i", quantity=5, status="listed", version=1, available=2, stock_version=2)
    return record.model_copy(update=changes)


def rules(findings: Iterable[Finding], certain: bool | None = None) -> set[Rule]:
    return {finding.rule for finding in findings if certain in {None, finding.certain}}


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
    ],
)
def test_an_order_that_differs_from_what_was_published_is_found(
    record: OrderRecord, log: list[Event], rule: Rule, certain: bool
) -> None:
    assert rules(check_order(record, log)) == {rule}
    assert rules(check_order(record, log), certain) == {rule}


def test_an_order_ends_or_has_a_deadline_that_expiration_knows() -> None:
    assert list(check_end(order(), DUE, NOW)) == []
    assert list(check_end(paid(), None, ENDS + timedelta(days=1))) == []
    for due, now in ((None, NOW), (DUE - 1, NOW), (DUE, ENDS), (None, ENDS + timedelta(hours=1))):
        assert rules(check_end(order(), due, now), certain=False) == {Rule.ORDERS_END}


def test_a_paid_order_has_its_money_and_a_refunded_one_has_not() -> None:
    assert list(check_paid(order(), None)) == []
    assert list(check_paid(paid(), payment())) == []
    assert list(check_paid(paid(status=OrderStatus.REFUNDED), payment(PaymentStatus.REFUNDED))) == []
    wrong = [None, payment(order_id="another"), payment(amount=999), payment(currency="USD")]
    for money in (*wrong, payment(PaymentStatus.FAILED), payment(PaymentStatus.PROCESSING)):
        assert rules(check_paid(paid(), money)) == {Rule.CHARGES_END}
    assert rules(check_paid(paid(status=OrderStatus.REFUNDED), payment())) == {Rule.CHARGES_END}


@pytest.mark.parametrize(
    ("record", "log"),
    [
        (payment(PaymentStatus.CREATED, version=1), []),
        (payment(), [moved(PaymentCaptured, 2)]),
        (payment(PaymentStatus.REFUND_DUE, version=3), [moved(PaymentCaptured, 2)]),
        (payment(PaymentStatus.REFUNDED, version=4), [moved(PaymentRefunded, 4), moved(PaymentCaptured, 2)]),
        (payment(PaymentStatus.FAILED), [moved(PaymentFailed, 2)]),
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
    ],
)
def test_a_payment_that_differs_from_what_was_published_is_found(
    record: PaymentRecord, log: list[Event], rule: Rule, certain: bool
) -> None:
    assert rules(check_payment(record, log), certain) == {rule}


def test_every_charge_that_ended_balances() -> None:
    sold, nothing = check_charge(payment(), paid(), charge(), NOW)
    assert (sold, nothing) == (Money(charged=1000, sellers=1000), [])

    back, nothing = check_charge(
        payment(PaymentStatus.REFUNDED), order(rejected_payments=frozenset("p")), charge(refunded=True), NOW
    )
    assert (back, nothing) == (Money(charged=1000, refunded=1000), [])

    declined, nothing = check_charge(payment(PaymentStatus.FAILED), order(), charge(captured=False), NOW)
    assert (declined, nothing) == (Money(), [])

    later = payment(PaymentStatus.PROCESSING, check_at=ENDS)
    under_way, nothing = check_charge(later, order(), charge(), NOW)
    assert (under_way, nothing) == (Money(charged=1000, in_transit=1000), [])


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
        (payment(), paid(), None),
        (payment(PaymentStatus.REFUNDED), paid(), charge(refunded=True)),
        (payment(PaymentStatus.REFUNDED), order(), charge()),
        (payment(PaymentStatus.FAILED), order(), charge()),
    ],
)
def test_money_that_is_lost_or_made_does_not_balance(
    record: PaymentRecord, buys: OrderRecord, money: ChargeRecord | None
) -> None:
    balance, findings = check_charge(record, buys, money, NOW)

    assert balance.difference
    assert Rule.MONEY_BALANCES in rules(findings)


def test_stock_adds_up() -> None:
    log = [listed(), news(1, 5), news(2, 2)]
    assert list(check_stock(stock(), log)) == []
    assert list(check_stock(stock(), [*log, news(2, 2)])) == []  # published twice
    for wrong in (stock(held=1), stock(sold=2)):
        assert rules(check_stock(wrong, log), certain=True) == {Rule.UNITS_ADD_UP}


def test_stock_may_be_over_its_offer_only_where_the_offer_was_lowered() -> None:
    lowered = stock(offered=2, item_version=2, version=3)
    before = [listed(), news(1, 5), news(2, 2), listed(2, 2), news(3, 0, quantity=2)]
    assert list(check_stock(lowered, before)) == []

    never_more = [listed(1, 2), news(1, 2, quantity=2), news(2, 0, quantity=2), news(3, 0, quantity=2)]
    assert rules(check_stock(lowered, never_more)) == {Rule.SOLD_ONCE}


def test_stock_whose_changes_were_not_published_is_found() -> None:
    last_is_missing, middle_is_missing = [news(1, 5)], [news(1, 5), news(3, 2)]
    for record, log in ((stock(), last_is_missing), (stock(version=3), middle_is_missing)):
        [lost] = [finding for finding in check_stock(record, log) if finding.rule is Rule.EVENTS_KEPT]
        assert lost.expected == "in the log: orders.stock_changed of version 2"
        assert not lost.certain


def test_stock_that_differs_from_what_was_published_is_found() -> None:
    assert rules(check_stock(stock(), [news(1, 5), news(2, 3)]), certain=True) == {Rule.BOOKS_AGREE}
    newer = check_stock(stock(), [news(1, 5), news(2, 2), news(3, 1)])
    assert rules(newer, certain=False) == {Rule.BOOKS_AGREE}  # perhaps the record was read before


def test_copies_of_an_item_agree() -> None:
    assert list(check_item(item(), stock(), [listed()])) == []
    fresh = item(stock_version=0, available=5)
    assert rules(check_item(fresh, stock(), [listed()]), certain=False) == {Rule.COPIES_AGREE}
    assert rules(check_item(item(), None, [listed()]), certain=False) == {Rule.COPIES_AGREE}
    edited = item(version=2, quantity=6)
    assert rules(check_item(edited, stock(), [listed(), listed(2, 6)]), certain=False) == {Rule.COPIES_AGREE}


def test_copies_that_differ_at_the_same_version_are_wrong_for_good() -> None:
    for record, known in (
        (item(available=4), stock()),
        (item(quantity=9), stock()),
        (item(), stock(status="withdrawn")),
    ):
        assert Rule.COPIES_AGREE in rules(check_item(record, known, [listed()]), certain=True)


def test_an_item_whose_change_was_not_published_is_found() -> None:
    edited = item(version=3)
    findings = list(check_item(edited, stock(item_version=3), [listed(), listed(3)]))

    assert [(f.rule, f.expected) for f in findings] == [
        (Rule.EVENTS_KEPT, "in the log: an event of items of version 2")
    ]


def test_two_different_events_of_one_version_are_a_contradiction() -> None:
    contradiction = {Rule.EVENTS_AGREE}
    assert contradiction <= rules(check_order(paid(), [PLACED, PAID, CANCELLED]), certain=True)
    assert contradiction <= rules(check_stock(stock(), [news(1, 5), news(2, 2), news(2, 4)]), certain=True)
    assert contradiction <= rules(check_item(item(), stock(), [listed(), listed(1, 6)]), certain=True)
    captured, failed = moved(PaymentCaptured, 2), moved(PaymentFailed, 2)
    assert contradiction <= rules(check_payment(payment(), [captured, failed]), certain=True)
    assert not contradiction & rules(check_payment(payment(), [captured, captured]))


def test_what_the_bus_lost_before_an_owner_stated_it_again_is_not_missed() -> None:
    again = news(3, 2).model_copy(update={"restated": True})
    assert list(check_stock(stock(version=3), [news(1, 5), again, news(3, 2)])) == []
    assert rules(check_stock(stock(version=5), [again])) == {Rule.EVENTS_KEPT}  # 4 came after it
    offer = listed(3).model_copy(update={"restated": True})
    known = stock(item_version=3, version=3)
    assert list(check_item(item(version=3, stock_version=3), known, [offer])) == []
