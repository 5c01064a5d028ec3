"""The rules of stock and items, and what all rules have in common."""

from audit.reconciliation.findings import Rule
from audit.reconciliation.rules.orders import check_order
from audit.reconciliation.rules.payments import check_payment
from audit.reconciliation.rules.stock import check_item, check_stock
from common.events import PaymentCaptured, PaymentFailed

from .records import CANCELLED, PAID, PLACED, item, listed, moved, news, paid, payment, rules, stock


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
