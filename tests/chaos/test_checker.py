"""Each rule, with a history and an end state that break it."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from tests.chaos.repeats import Place
from tests.chaos.town import CAPTURED_AT, END, NOW, Town


def bought(town: Town) -> None:
    """What a buyer sees when all is well; one request gets no answer."""
    town.asked("place", None, "ReadTimeout", key="k", item_id="i1", quantity=2)
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.saw(1, "awaiting_payment")
    town.asked("pay", 201, {"id": "p1", "amount": 1000, "status": "captured"}, key="p", order_id="o1")
    town.saw(2, "paid")
    town.asked("cancel", 409, {"code": "order_already_paid"}, order_id="o1")
    town.asked("list orders", 200, {"items": [town.view(2, "paid")]})
    town.asked("show item", 200, {"id": "i1", "available": 3, "quantity": 5}, item_id="i1")
    place = Place("ORDERS", 99)
    town.unreadable[place] = "orders.placed"
    town.add_dead_letter(place, "payments-copy_amount_due")


def test_where_every_promise_is_kept_nothing_is_found() -> None:
    town = Town()
    bought(town)

    assert town.broken() == set()


def refunded(town: Town) -> None:
    """The order was refunded, and its units are free."""
    town.order["status"] = "refunded"
    town.stock["taken"], town.item["available"] = 0, 5
    town.charge["refunded_at"] = END
    town.payment["status"] = "refunded"
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000)


def test_a_refund_is_as_good_as_a_paid_order() -> None:
    town = Town()
    town.asked("place", 201, town.view(), item_id="i1", quantity=2)
    refunded(town)

    assert town.broken() == set()


def refund_failed(town: Town) -> None:
    """The order was refunded, and then the money came back."""
    refunded(town)
    town.charge.pop("refunded_at")
    town.charge["refund_failures"] = 1
    town.payment.update(status="refund_failed", failed_refunds=1)
    town.publish("payments.refund_failed", order_id="o1", payment_id="p1", amount=1000, payment_version=1)


def retried(town: Town) -> None:
    """An operator made the failed refund again."""
    refund_failed(town)
    town.charge["refunded_at"] = END
    town.payment["status"] = "refunded"
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000, payment_version=2)


def settled(town: Town) -> None:
    """An operator paid the failed refund by other means."""
    refund_failed(town)
    town.payment.update(status="refunded", settled_by="ola@souk.test")
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000, payment_version=2)


def disputed(town: Town, outcome: str = "open") -> None:
    """The buyer's bank wants the money."""
    town.charge["disputed_at"] = CAPTURED_AT
    if outcome != "open":
        town.charge["dispute"] = outcome
    town.payment.update(status="captured" if outcome == "won" else "disputed", dispute=outcome)
    town.order["dispute"] = outcome
    town.publish("payments.disputed", order_id="o1", payment_id="p1")


def partly_refunded(town: Town) -> None:
    """Somebody gave 300 of 1000 back at the provider."""
    town.charge["part_refunded"] = 300
    town.payment["refunded_amount"] = 300
    town.publish("payments.partly_refunded", order_id="o1", payment_id="p1", amount=1000, refunded_amount=300)


def rest_refunded(town: Town) -> None:
    """The seller refunded what was left after that."""
    partly_refunded(town)
    refunded(town)
    town.payment["refunded_amount"] = 1000
    town.lose("payments.refunded")
    body = {"amount": 1000, "refunded_before": 300, "payment_version": 1}
    town.publish("payments.refunded", order_id="o1", payment_id="p1", **body)


def rest_failed(town: Town) -> None:
    """The refund of what was left failed."""
    rest_refunded(town)
    town.charge.pop("refunded_at")
    town.charge["refund_failures"] = 1
    town.payment.update(status="refund_failed", failed_refunds=1, refunded_amount=300)
    body = {"amount": 1000, "refunded_amount": 300, "payment_version": 2}
    town.publish("payments.refund_failed", order_id="o1", payment_id="p1", **body)


def part_disputed(town: Town) -> None:
    """The buyer's bank took what was left."""
    partly_refunded(town)
    disputed(town, "lost")


@pytest.mark.parametrize(
    "trouble",
    [
        *(refund_failed, retried, settled),
        *(disputed, partial(disputed, outcome="won"), partial(disputed, outcome="lost")),
        *(partly_refunded, rest_refunded, rest_failed, part_disputed),
    ],
)
def test_money_that_went_astray_is_accounted_for(trouble: Callable[[Town], object]) -> None:
    town = Town()
    town.asked("place", 201, town.view(), item_id="i1", quantity=2)
    trouble(town)

    assert town.broken() == set()


def test_a_card_whose_capture_the_provider_refused_owes_nobody_units() -> None:
    town = Town()
    town.asked("place", 201, town.view(), item_id="i1", quantity=2)
    town.asked("pay", 402, {"code": "card_declined"}, key="p", order_id="o1")
    accepted_for_nothing(town)
    town.order.update(status="cancelled", cancel_reason="payment_failed")
    town.publish("orders.cancelled", order_id="o1", reason="payment_failed")
    town.publish("payments.failed", order_id="o1", payment_id="p1")
    town.payment.update(method="pm_card_capture_fails", request_key="p")
    town.stock["taken"], town.item["available"] = 0, 5

    assert town.broken() == set()

    # News of the authorization that was read before the refusal came after it: it is given up once more.
    town.publish("payments.released", order_id="o1", payment_id="p1")
    town.payment["status"] = "released"

    assert town.broken() == set()


def refunded_twice(town: Town) -> None:
    refunded(town)
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000)


def refunded_again_for_nothing(town: Town) -> None:
    retried(town)
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000, payment_version=3)


def part_unheard(town: Town) -> None:
    town.charge["part_refunded"] = 300


def part_made_up(town: Town) -> None:
    partly_refunded(town)
    town.charge.pop("part_refunded")


def part_in_secret(town: Town) -> None:
    partly_refunded(town)
    town.lose("payments.partly_refunded")


def part_and_then_everything(town: Town) -> None:
    """Souk gave the whole amount back after a part of it had gone back."""
    rest_refunded(town)
    town.lose("payments.refunded")
    town.publish("payments.refunded", order_id="o1", payment_id="p1", amount=1000, payment_version=1)


def failed_unheard(town: Town) -> None:
    """Souk says that the money went back, and it did not."""
    refunded(town)
    town.charge.pop("refunded_at")
    town.charge["refund_failures"] = 1


def refund_failed_in_secret(town: Town) -> None:
    refund_failed(town)
    town.lose("payments.refund_failed")


def told_of_an_order_that_was_undone(town: Town) -> None:
    town.end.users["bea"] = {}
    town.publish("orders.placed", order_id="o2", buyer_id="bea")


def disputed_unheard(town: Town) -> None:
    town.charge["disputed_at"] = CAPTURED_AT


def disputed_and_not_shown(town: Town) -> None:
    disputed(town)
    del town.order["dispute"]


def won_unheard(town: Town) -> None:
    disputed(town)
    town.charge["dispute"] = "won"


def settled_and_refunded(town: Town) -> None:
    """The buyer got the money twice: from the operator and from the provider."""
    settled(town)
    town.charge["refunded_at"] = END


def a_card_was_charged(town: Town) -> None:
    """The money was set aside before it was captured."""
    town.charge["authorized_at"] = NOW


def displaced(town: Town) -> None:
    """A card was charged for units that somebody else got, and the money went back."""
    a_card_was_charged(town)
    refunded(town)
    town.order.update(status="expired", payment_id=None)


def accepted_for_nothing(town: Town) -> None:
    """Orders said that the units were the buyer's, and then the payment was released."""
    town.publish("orders.payment_accepted", order_id="o1", payment_id="p1")
    town.order.update(status="expired", payment_id=None)
    town.charge.update(authorized_at=NOW, captured_at=None, ended="released")
    town.payment["status"] = "failed"


def expired_while_accepted(town: Town) -> None:
    """The deadline ended an order whose payment was accepted, and then the units were still free."""
    a_card_was_charged(town)
    town.publish("orders.payment_accepted", order_id="o1", payment_id="p1")
    town.publish("orders.cancelled", order_id="o1", reason="expired", expires_at=NOW.isoformat())


def charged_after(town: Town, status: str) -> None:
    a_card_was_charged(town)
    town.saw(1, status)
    town.charge["captured_at"] = NOW + timedelta(seconds=5)


def set_aside(town: Town) -> None:
    town.charge.update(authorized_at=NOW, captured_at=None)
    town.payment["status"] = "failed"


def still_held(town: Town) -> None:
    town.order["status"] = "awaiting_payment"


def expired_early(town: Town) -> None:
    town.publish("orders.cancelled", order_id="o1", reason="expired", expires_at=END.isoformat())


def paid_and_refunded(town: Town) -> None:
    town.charge["refunded_at"] = END
    town.payment["status"] = "refunded"


def charged_twice(town: Town) -> None:
    town.end.payments["p2"] = town.payment | {"_id": "p2"}
    town.end.charges["p2"] = dict(town.charge)


def dropped(town: Town) -> None:
    town.unreadable[Place("ORDERS", 99)] = "orders.placed"


def answered_twice(town: Town) -> None:
    town.asked("place", 201, town.view(), key="k", item_id="i1", quantity=2)
    town.asked("place", 409, {"code": "sold_out"}, key="k", item_id="i1", quantity=2)


def listed_without_it(town: Town) -> None:
    town.asked("place", 201, town.view(), item_id="i1", quantity=2)
    town.asked("list orders", 200, {"items": []})


def seen_backwards(town: Town) -> None:
    town.saw(2, "paid")
    town.saw(1, "awaiting_payment")


def paid_after_cancelled(town: Town) -> None:
    town.saw(1, "cancelled")
    town.saw(2, "paid")


def known_after_sign_out(town: Town) -> None:
    town.asked("sign out", 204, "")
    town.asked("who am i", 200, {"current_user": {"id": "bea"}})


PAID = {"id": "p1", "amount": 1000, "status": "captured"}

BROKEN: list[tuple[str, Callable[[Town], object]]] = [
    ("stock", lambda town: town.stock.update(taken=3)),
    ("oversold", lambda town: town.order.update(quantity=6)),
    ("shown", lambda town: town.item.update(available=4)),
    ("shown", lambda town: town.end.stock.clear()),
    ("overdue", still_held),
    ("early", expired_early),
    ("unpublished", lambda town: town.lose("orders.paid")),
    ("unpublished", lambda town: town.lose("payments.captured")),
    ("unpublished", lambda town: town.lose("items.listed")),
    ("unpublished", lambda town: town.end.users.update(u={})),
    ("charged", lambda town: town.order.update(status="expired")),
    ("charged", paid_and_refunded),
    ("charged", lambda town: town.charge.update(amount=999)),
    ("charged", charged_twice),
    ("charged", lambda town: town.end.orders.clear()),
    ("unpaid", lambda town: town.charge.update(captured_at=None)),
    ("unpaid", lambda town: town.order.update(status="refunded")),
    ("sum", charged_twice),
    ("sum", lambda town: town.charge.update(currency="USD")),
    ("sum", lambda town: town.charge.update(amount=999)),
    ("record", set_aside),
    ("record", lambda town: town.payment.update(status="failed")),
    ("record", failed_unheard),
    ("record", disputed_unheard),
    ("record", won_unheard),
    ("record", disputed_and_not_shown),
    ("record", lambda town: town.payment.update(status="refund_failed")),
    ("record", part_unheard),
    ("record", part_made_up),
    ("sum", part_unheard),
    ("account", part_made_up),
    ("unpublished", part_in_secret),
    ("refunded twice", part_and_then_everything),
    ("account", failed_unheard),
    ("account", disputed_unheard),
    ("account", settled_and_refunded),
    ("account", lambda town: town.payment.update(amount=999)),
    ("account", lambda town: town.payment.update(currency="USD")),
    ("charged", lambda town: town.end.unknown_charges.append("p9")),
    ("charged", failed_unheard),
    ("unpublished", refund_failed_in_secret),
    ("phantom", told_of_an_order_that_was_undone),
    ("refunded twice", refunded_twice),
    ("refunded twice", refunded_again_for_nothing),
    ("in time", displaced),
    ("in time", accepted_for_nothing),
    ("in time", expired_while_accepted),
    ("after no", lambda town: charged_after(town, "cancelled")),
    ("after no", lambda town: charged_after(town, "expired")),
    ("dead letter", lambda town: town.add_dead_letter(town.events[1].place, "payments-copy_amount_due")),
    ("dropped", dropped),
    ("unsettled", lambda town: town.end.unsettled.append("1 orders are not settled")),
    ("unexpected", lambda town: town.asked("show item", 500, {"code": "internal_error"})),
    ("lost", lambda town: town.asked("place", 201, town.view() | {"id": "o2"}, item_id="i1", quantity=2)),
    ("lost", lambda town: town.asked("list item", 201, {"id": "i2", "available": 1, "quantity": 1})),
    ("lost", lambda town: town.asked("sign up", 201, {"id": "u2"}, email="u2@souk.test")),
    ("lost", lambda town: town.asked("pay", 201, PAID | {"amount": 1}, order_id="o1")),
    ("lost", lambda town: town.saw(3, "paid")),
    ("lie", lambda town: town.asked("pay", 402, {"code": "card_declined"}, key="p", order_id="o1")),
    ("lie", lambda town: town.saw(2, "cancelled", "cancel")),
    ("lie", lambda town: town.saw(1, "paid", "refund")),
    ("lie", paid_after_cancelled),
    ("lie", known_after_sign_out),
    ("went back", seen_backwards),
    ("two answers", answered_twice),
    ("impossible", lambda town: town.asked("show item", 200, {"id": "i1", "available": 6, "quantity": 5})),
    ("impossible", lambda town: town.asked("search", 200, {"items": [{"id": "i1", "available": -1, "quantity": 5}]})),
    ("missing", listed_without_it),
    ("unfair", lambda town: town.asked("pay", 409, {"code": "order_not_payable"}, order_id="o1")),
]


@pytest.mark.parametrize(("rule", "break_it"), BROKEN, ids=[f"{n}-{rule}" for n, (rule, _) in enumerate(BROKEN)])
def test_a_broken_promise_is_found(rule: str, break_it: Callable[[Town], object]) -> None:
    town = Town()
    break_it(town)

    assert rule in town.broken()
