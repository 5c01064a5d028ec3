"""The rules about selling, each with a history that breaks it, and histories that look wrong and are not."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.availability import available
from tests.chaos.sale_rules import RULES
from tests.chaos.town import NOW, Town

SAME_PRICE = {"code": "price_changed", "unit_price": 500, "currency": "EUR"}


def sold_beyond_the_offer(town: Town) -> None:
    """Six of five units are sold, and an edit that nobody published would have to explain it."""
    for number in range(3):
        town.order_more(f"m{number}", number, number + 0.5)


def sold_while_held(town: Town) -> None:
    """Five of five units are held until 6 s, and at 2 s another one is sold."""
    town.order_more("m1", 0, 0.5, status="expired", quantity=5)
    town.order_more("m2", 2, 2.5, quantity=1)


def cancelled_and_sold_out(town: Town) -> None:
    """All units are given back, and then there is none for the next buyer."""
    town.end.orders.clear()
    town.order_more("m1", 0, 0.5, status="cancelled", quantity=5)
    town.answered("cancel", 1, 1.5, 200, town.view(2, "cancelled") | {"id": "m1"}, order_id="m1")
    refused(town, 2, 2.5)


def refused(town: Town, since: float, until: float, code: str = "sold_out", quantity: int = 3) -> None:
    """The buyer wants more, and is refused."""
    town.answered("place", since, until, 409, {"code": code}, item_id="i1", quantity=quantity)


def at_another_price(town: Town) -> None:
    """The price is 600 since an edit that binds, and an order is placed at 500."""
    edited(town, price=600)
    town.order_more("m1", 3, 3.5, quantity=1)


def edited(town: Town, **changes: Any) -> None:
    """An edit that has bound the seller one second after the start."""
    offer = {**town.offer, **changes}
    town.item.update(version=2, quantity=offer["quantity"], status=offer["status"])
    town.publish("items.changed", item_id="i1", item_version=2, **offer)
    town.answered("edit item", 0.5, 1, 200, {"id": "i1", "version": 2, "in_effect": True, "available": 0, **offer})


def with_the_title_of_another_version(town: Town) -> None:
    town.publish(
        "items.changed", item_id="i1", item_version=2, **{**town.offer, "price": 600, "title": "A better seat"}
    )
    town.order.update(unit_price=600)


def back_to_an_older_version(town: Town) -> None:
    """Nothing binds, but an order at the new price was answered before the old price was sold."""
    town.publish("items.changed", item_id="i1", item_version=2, **{**town.offer, "price": 600})
    town.order_more("m1", 2, 2.5, quantity=1, unit_price=600)
    town.order_more("m2", 3, 3.5, quantity=1)


def placed_after_a_withdrawal(town: Town) -> None:
    edited(town, status="withdrawn")
    town.order_more("m1", 3, 3.5, quantity=1)


def placed_during_a_pause(town: Town) -> None:
    edited(town, status="paused")
    town.order_more("m1", 3, 3.5, quantity=1)


def edit_undone(town: Town) -> None:
    """An edit was answered, and then it had never been."""
    edited(town, price=600)
    town.lose("items.changed")
    town.item["version"] = 1


def edit_undone_and_forgotten(town: Town) -> None:
    """Another edit took the version of one that was answered."""
    town.publish("items.changed", item_id="i1", item_version=2, **{**town.offer, "price": 700})
    edited(town, price=600)


def withdrawal_undone(town: Town) -> None:
    edited(town, status="withdrawn")
    body = {"id": "i1", "version": 2, "available": 0, **town.offer, "status": "withdrawn"}
    town.answered("withdraw item", 2, 3, 200, body)
    town.item["status"] = "listed"


def placed_twice_under_one_key(town: Town) -> None:
    """The first request got no answer, and its repetition placed another order."""
    town.asked("place", None, "ReadTimeout", key="k", item_id="i1", quantity=2)
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.end.orders["m1"] = {**town.order, "_id": "m1"}


def holds_too_much(town: Town) -> None:
    for number in range(2):
        town.order_more(f"m{number}", number, number + 0.5, status="expired", quantity=6)


BROKEN: list[tuple[str, Callable[[Town], object]]] = [
    ("not linearizable", sold_beyond_the_offer),
    ("not linearizable", sold_while_held),
    ("not linearizable", cancelled_and_sold_out),
    ("not linearizable", lambda town: refused(town, 0, 0.5)),
    ("not linearizable", placed_after_a_withdrawal),
    ("not linearizable", lambda town: refused(town, 0, 0.5, "item_withdrawn")),
    ("sold out too early", cancelled_and_sold_out),
    ("sold out too early", lambda town: refused(town, 0, 0.5)),
    ("offer", lambda town: town.order.update(item_title="Another seat")),
    ("offer", with_the_title_of_another_version),
    ("offer", at_another_price),
    ("offer", back_to_an_older_version),
    ("price", lambda town: town.asked("place", 201, town.view(), item_id="i1", quantity=2, expected_unit_price=499)),
    ("price", lambda town: town.asked("place", 409, SAME_PRICE, item_id="i1", quantity=2, expected_unit_price=500)),
    ("withdrawn", placed_after_a_withdrawal),
    ("not linearizable", placed_during_a_pause),
    ("not linearizable", lambda town: refused(town, 0, 0.5, "item_paused")),
    ("withdrawn", placed_during_a_pause),
    ("lost", edit_undone),
    ("lost", withdrawal_undone),
    ("lie", edit_undone_and_forgotten),
    ("hold limit", holds_too_much),
    ("hold limit", lambda town: refused(town, 0, 0.5, "hold_limit")),
    ("too many orders", placed_twice_under_one_key),
]


@pytest.mark.parametrize(("rule", "break_it"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_broken_promise_is_found(rule: str, break_it: Callable[[Town], object]) -> None:
    town = Town()
    break_it(town)

    assert rule in town.broken()


def resold_before_anybody_saw_the_end_of_a_hold(town: Town) -> None:
    town.order_more("m1", 0, 0.5, status="expired", quantity=3)
    town.order_more("m2", 6.2, 6.5, quantity=3)


def sold_out_while_a_hold_was_ending(town: Town) -> None:
    town.order_more("m1", 0, 0.5, status="expired", quantity=3)
    refused(town, 8, 8.5)


def placed_without_an_answer(town: Town) -> None:
    """Somebody else is told that it is sold out, and no answer says why."""
    town.asked("place", None, "ReadTimeout", key="k", item_id="i1", quantity=3)
    town.end.orders["m1"] = {**town.order, "_id": "m1", "quantity": 3}
    refused(town, 5, 5.5, quantity=1)


def a_request_without_an_answer_that_did_nothing(town: Town) -> None:
    town.asked("place", None, "ReadTimeout", key="k", item_id="i1", quantity=3)
    town.order_more("m2", 1, 2, quantity=3)


def refused_and_then_placed(town: Town) -> None:
    """A refusal that is repeated for its key, after units were given back."""
    town.order_more("m1", 0, 0.5, status="cancelled", quantity=3)
    town.answered("place", 1, 1.5, 409, {"code": "sold_out"}, key="k", item_id="i1", quantity=3)
    town.answered("cancel", 2, 2.5, 200, {**town.view(2, "cancelled"), "id": "m1"}, order_id="m1")
    town.answered("place", 3, 3.5, 409, {"code": "sold_out"}, key="k", item_id="i1", quantity=3)


def taken_up_again_by_late_money(town: Town) -> None:
    town.order_more("m1", 0, 0.5, quantity=3, late_payment="accepted")
    town.publish("orders.cancelled", order_id="m1", reason="expired", expires_at=NOW.isoformat())
    town.order_more("m2", 6.2, 6.3, status="cancelled", quantity=3)
    town.answered("cancel", 6.4, 6.5, 200, {**town.view(2, "cancelled"), "id": "m2"}, order_id="m2")
    refused(town, 9, 9.5, quantity=1)


def an_edit_that_nobody_answered(town: Town) -> None:
    """A better offer at another price, by which some of the orders were placed."""
    offer = {**town.offer, "price": 600, "quantity": 9}
    town.publish("items.changed", item_id="i1", item_version=2, **offer)
    town.order_more("m1", 1, 1.5, quantity=3)
    town.order_more("m2", 2, 2.5, quantity=3, unit_price=600)
    town.order_more("m3", 3, 3.5, quantity=1, unit_price=600)


def an_order_while_a_withdrawal_does_not_bind(town: Town) -> None:
    town.publish("items.withdrawn", item_id="i1", item_version=2, **{**town.offer, "status": "withdrawn"})
    town.item.update(version=2, status="withdrawn")
    body = {"id": "i1", "version": 2, "in_effect": False, "available": 0, **town.offer, "status": "withdrawn"}
    town.answered("withdraw item", 0.5, 1, 200, body)
    town.order_more("m1", 2, 2.5, quantity=1)
    refused(town, 3, 3.5, "item_withdrawn")


def sold_again_after_a_pause(town: Town) -> None:
    edited(town, status="paused")
    refused(town, 1.5, 2, "item_paused")
    town.publish("items.changed", item_id="i1", item_version=3, **town.offer)
    town.item.update(version=3, status="listed")
    body = {"id": "i1", "version": 3, "in_effect": True, "available": 3, **town.offer}
    town.answered("edit item", 2.2, 2.5, 200, body)
    town.order_more("m1", 3, 3.5, quantity=1)


def held_one_after_the_other(town: Town) -> None:
    """More than the limit in all, and never at the same time."""
    edited(town, quantity=90)
    town.order_more("m1", 2, 2.5, status="expired", quantity=8)
    town.order_more("m2", 3, 9, status="expired", quantity=8)


def refused_for_a_hold_that_may_have_lasted(town: Town) -> None:
    edited(town, quantity=90)
    town.order_more("m1", 2, 2.5, status="expired", quantity=8)
    refused(town, 7, 7.5, "hold_limit")


SOUND = [
    resold_before_anybody_saw_the_end_of_a_hold,
    sold_out_while_a_hold_was_ending,
    placed_without_an_answer,
    a_request_without_an_answer_that_did_nothing,
    refused_and_then_placed,
    taken_up_again_by_late_money,
    an_edit_that_nobody_answered,
    an_order_while_a_withdrawal_does_not_bind,
    sold_again_after_a_pause,
    held_one_after_the_other,
    refused_for_a_hold_that_may_have_lasted,
]


@pytest.mark.parametrize("trade", SOUND)
def test_what_some_order_of_events_explains_is_no_violation(trade: Callable[[Town], None]) -> None:
    town = Town()
    town.order_more("o1", 0, 0.2, quantity=2)
    trade(town)

    assert {violation.rule for rule in RULES for violation in rule(town.history, town.end)} == set()


def requests(town: Town, kind: str, answered: int, unanswered: int) -> None:
    for number in range(answered + unanswered):
        town.answered(kind, 10, 10.5, 200 if number < answered else 503, {"items": []}, item_id="i1", quantity=1)


@pytest.mark.parametrize(
    ("kind", "answered", "unanswered", "enough"),
    [
        ("search", 999, 1, True),
        ("search", 998, 2, False),
        ("place", 99, 1, True),
        ("place", 98, 2, False),
        ("place", 0, 0, True),
        ("pay", 0, 9, True),
    ],
)
def test_a_single_fault_may_cost_so_many_answers(kind: str, answered: int, unanswered: int, enough: bool) -> None:
    town = Town()
    requests(town, kind, answered, unanswered)

    assert (list(available(town.history, NOW.timestamp())) == []) is enough


def test_in_the_seconds_after_a_fault_requests_may_fail() -> None:
    town = Town()
    requests(town, "search", 0, 9)

    assert list(available(town.history, NOW.timestamp() + 6)) == []
