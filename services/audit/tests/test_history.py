"""Histories, folded from entries alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from audit.dead_letters.domain import DeadLetter, Retry
from audit.event_log.domain import Entry
from audit.history.timeline import Line, snapshots_of, timeline_of
from common.bus.message import Message
from common.events import (
    CancelReason,
    Currency,
    DisputeStatus,
    Event,
    HoldElapsed,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPaymentRejected,
    OrderPlaced,
    OrderRefundRequested,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentPartlyRefunded,
    PaymentProcessing,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentReleased,
    ProviderCalled,
    ProviderOperation,
    ProviderOutcome,
    RejectReason,
    StockChanged,
)

BEGAN = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(second: float) -> datetime:
    return BEGAN + timedelta(seconds=second)


def entry(name: str, second: float, event: Event, because: str | None = None) -> Entry:
    """An event, told `second` seconds after the beginning. Names are numbers in the stream, too."""
    headers = {
        "ce-id": name,
        "ce-time": at(second).isoformat(),
        "ce-source": f"/souk/{event.subject.partition('.')[0]}",
    }
    if because:
        headers["ce-causationid"] = because
    body = event.model_dump_json().encode()
    return Entry.of(Message(event.stream, int(second * 1000) + 1, event.subject, at(second), headers, body))


def failed(subject: str, about: str, second: float, deliveries: int) -> Message:
    """A note of a retry or a dead letter."""
    headers = {
        "Nats-Msg-Id": f"orders-finish_paid_order:PAYMENTS:1:{deliveries}",
        "ce-id": about,
        "Souk-Subject": "payments.captured",
        "Souk-Stream": "PAYMENTS",
        "Souk-Sequence": "1",
        "Souk-Error": "ValueError: no",
        "Souk-Deliveries": str(deliveries),
        "Souk-Failed-At": at(second).isoformat(),
    }
    return Message("DEAD_LETTERS", 7, subject, at(second), headers, b"")


def order(kind: Any, version: int, **more: Any) -> Any:
    """An order event."""
    return kind(
        order_id="order",
        order_version=version,
        buyer_id="buyer",
        seller_id="seller",
        item_id="item",
        item_title="A seat",
        quantity=2,
        unit_price=700,
        currency=Currency.EUR,
        expires_at=at(900),
        **more,
    )


def payment(kind: Any, version: int, payment_id: str = "payment", **more: Any) -> Any:
    """A payment event."""
    return kind(
        payment_id=payment_id,
        payment_version=version,
        order_id="order",
        buyer_id="buyer",
        amount=1400,
        currency=Currency.EUR,
        **more,
    )


def called(operation: ProviderOperation, outcome: ProviderOutcome) -> ProviderCalled:
    """A call to the provider."""
    return ProviderCalled(
        payment_id="payment",
        payment_version=2,
        order_id="order",
        operation=operation,
        outcome=outcome,
        reference="ch_1",
        milliseconds=12,
    )


def stock(version: int, available: int) -> StockChanged:
    """What was left."""
    return StockChanged(item_id="item", stock_version=version, quantity=2, available=available)


REJECTED = order(OrderPaymentRejected, 3, payment_id="payment", reason=RejectReason.SOLD_OUT)

LATE = [
    entry("placed", 0, order(OrderPlaced, 1)),
    entry("held", 0.001, stock(2, 0)),
    entry("asked", 1, called(ProviderOperation.CHARGE, ProviderOutcome.PROCESSING)),
    entry("elapsed", 900, HoldElapsed(order_id="order")),
    entry("expired", 901, order(OrderCancelled, 2, reason=CancelReason.EXPIRED), "elapsed"),
    entry("freed", 901.001, stock(3, 2), "elapsed"),
    entry("captured", 905, payment(PaymentCaptured, 3)),
    entry(
        "rejected", 906, order(OrderPaymentRejected, 3, payment_id="payment", reason=RejectReason.SOLD_OUT), "captured"
    ),
    entry("given back", 907, payment(PaymentRefunded, 5, reason="sold_out"), "rejected"),
]


def ids(story: Sequence[Line]) -> list[str]:
    return [line.id for line in story]


def test_an_order_that_was_paid_too_late_and_refunded_tells_how_everything_stood_at_each_moment() -> None:
    story = timeline_of(reversed(LATE))

    found = [
        (
            line.id,
            p.order and p.order.status,
            p.stock and p.stock.available,
            [one.status for one in p.payments.values()],
        )
        for line, p in zip(story, snapshots_of(story), strict=True)
    ]

    assert found == [
        ("placed", "awaiting_payment", None, []),
        ("held", "awaiting_payment", 0, []),
        ("asked", "awaiting_payment", 0, ["created"]),
        ("elapsed", "awaiting_payment", 0, ["created"]),
        ("expired", "expired", 0, ["created"]),
        ("freed", "expired", 2, ["created"]),
        ("captured", "expired", 2, ["captured"]),
        ("rejected", "expired", 2, ["refund_due"]),
        ("given back", "expired", 2, ["refunded"]),
    ]
    last = snapshots_of(story)[-1]
    assert last.order
    assert last.order.late_payment == "rejected"
    assert last.payments["payment"].reason == "sold_out"
    assert [line.kind for line in story].count("provider_call") == 1


def test_stock_that_others_moved_counts_from_its_time_on() -> None:
    story = timeline_of(LATE)
    others = entry("sold to another", 904, stock(4, 0))

    left = [p.stock and p.stock.available for p in snapshots_of(story, [others])]

    assert left == [None, 0, 0, 0, 0, 2, 0, 0, 0]


def test_late_money_that_was_accepted_pays_the_order_and_the_seller_may_refund_it() -> None:
    paid = entry("paid", 906, order(OrderPaid, 3, payment_id="payment"), "captured")
    asked = entry("asked for", 950, order(OrderRefundRequested, 4, payment_id="payment"))
    refunded = entry("refunded", 951, payment(PaymentRefunded, 5, reason="requested_by_seller"), "asked for")

    shown = [p for p in snapshots_of(timeline_of([*LATE[:7], paid, asked, refunded])) if p.order]

    assert [p.order.status for p in shown if p.order][-3:] == ["paid", "paid", "refunded"]
    assert {p.order.late_payment for p in shown[-3:] if p.order} == {"accepted"}
    assert [p.payments["payment"].status for p in shown[-3:]] == ["captured", "refund_due", "refunded"]


def statuses(*entries: Entry) -> list[tuple[str | None, list[str]]]:
    """The status of the order and of its payments after each entry."""
    found = snapshots_of(timeline_of(entries))
    return [(p.order.status if p.order else None, [one.status for one in p.payments.values()]) for p in found]


AUTHORIZED = [LATE[0], entry("authorized", 1, payment(PaymentAuthorized, 2))]
ACCEPTED = entry("accepted", 2, order(OrderPaymentAccepted, 2, payment_id="payment"), "authorized")


def test_an_authorized_payment_is_captured_once_the_order_has_accepted_it() -> None:
    captured = entry("captured", 3, payment(PaymentCaptured, 4), "accepted")
    late = entry("processing", 3.5, payment(PaymentProcessing, 1))
    again = entry("authorized again", 3.6, payment(PaymentAuthorized, 2))
    paid = entry("paid", 4, order(OrderPaid, 3, payment_id="payment"), "captured")

    assert statuses(*AUTHORIZED, ACCEPTED, captured, late, again, paid) == [
        ("awaiting_payment", []),
        ("awaiting_payment", ["authorized"]),
        ("awaiting_payment", ["capture_due"]),
        ("awaiting_payment", ["captured"]),
        ("awaiting_payment", ["captured"]),
        ("awaiting_payment", ["captured"]),
        ("paid", ["captured"]),
    ]
    accepted, last = (snapshots_of(timeline_of([*AUTHORIZED, ACCEPTED, captured, paid]))[n].order for n in (2, -1))
    assert accepted
    assert last
    assert (accepted.accepted_payment, last.accepted_payment) == ("payment", None)


def test_an_authorized_payment_that_the_order_rejects_is_released() -> None:
    expired = entry("expired", 0.5, order(OrderCancelled, 2, reason=CancelReason.EXPIRED))
    rejected = entry("rejected", 2, REJECTED, "authorized")
    released = entry("released", 3, payment(PaymentReleased, 4, reason="sold_out"), "rejected")

    assert statuses(*AUTHORIZED, expired, rejected, released)[-3:] == [
        ("expired", ["authorized"]),
        ("expired", ["release_due"]),
        ("expired", ["released"]),
    ]


def test_an_expired_order_that_accepts_a_payment_is_held_again_and_ends_if_the_payment_fails() -> None:
    expired = entry("expired", 0.5, order(OrderCancelled, 2, reason=CancelReason.EXPIRED))
    accepted = entry("accepted", 2, order(OrderPaymentAccepted, 3, payment_id="payment"), "authorized")
    failed = entry("failed", 3, payment(PaymentFailed, 4, reason="capture_refused"), "accepted")
    ended = entry("ended", 4, order(OrderCancelled, 4, reason=CancelReason.PAYMENT_FAILED), "failed")

    shown = snapshots_of(timeline_of([*AUTHORIZED, expired, accepted, failed, ended]))

    assert [p.order.status for p in shown[-3:] if p.order] == ["awaiting_payment", "awaiting_payment", "cancelled"]
    last = shown[-1].order
    assert last
    assert (last.cancel_reason, last.accepted_payment, last.late_payment) == ("payment_failed", None, "accepted")


def test_a_part_that_went_back_leaves_everything_else_as_it_was() -> None:
    captured = entry("captured", 3, payment(PaymentCaptured, 2))
    paid = entry("paid", 4, order(OrderPaid, 2, payment_id="payment"), "captured")
    part = entry("part", 5, payment(PaymentPartlyRefunded, 3, refunded_amount=300))
    opened = entry("opened", 6, payment(PaymentDisputed, 4, reason="fraudulent", dispute=DisputeStatus.OPEN))
    more = entry("more", 7, payment(PaymentPartlyRefunded, 5, refunded_amount=400, refunded_before=300))
    won = entry("won", 8, payment(PaymentDisputed, 6, reason="fraudulent", dispute=DisputeStatus.WON))

    told = [LATE[0], captured, paid, part, opened, more, won]
    shown = [snapshot.payments["payment"] for snapshot in snapshots_of(timeline_of(told))[-4:]]

    assert statuses(*told)[-4:] == [
        ("paid", ["captured"]),
        ("paid", ["disputed"]),
        ("paid", ["disputed"]),
        ("paid", ["captured"]),
    ]
    assert [(one.refunded_amount, one.amount) for one in shown] == [(300, 1400), (300, 1400), (400, 1400), (400, 1400)]


def test_a_refund_that_fails_and_a_dispute_are_what_happened_to_the_payment_later() -> None:
    captured = entry("captured", 3, payment(PaymentCaptured, 2))
    paid = entry("paid", 4, order(OrderPaid, 2, payment_id="payment"), "captured")
    opened = entry("opened", 5, payment(PaymentDisputed, 3, reason="fraudulent", dispute=DisputeStatus.OPEN))
    won = entry("won", 6, payment(PaymentDisputed, 4, reason="fraudulent", dispute=DisputeStatus.WON))
    refunded = entry("refunded", 7, payment(PaymentRefunded, 5, reason="requested_by_seller"))
    failed = entry("failed", 8, payment(PaymentRefundFailed, 6, reason="account_closed"))

    told = [LATE[0], captured, paid, opened, won, refunded, failed]
    assert statuses(*told)[-4:] == [
        ("paid", ["disputed"]),
        ("paid", ["captured"]),
        ("refunded", ["refunded"]),
        ("refunded", ["refund_failed"]),
    ]
    last = snapshots_of(timeline_of(told))[-1].order
    assert last
    assert (last.refund_failure, last.dispute) == ("account_closed", "won")


def test_a_declined_payment_and_the_next_are_two() -> None:
    declined = entry("declined", 2, payment(PaymentFailed, 2, "first", reason="card_declined"))
    captured = entry("captured", 3, payment(PaymentCaptured, 2, "second"))

    last = snapshots_of(timeline_of([LATE[0], declined, captured]))[-1]

    assert [(p.id, p.status, p.reason) for p in last.payments.values()] == [
        ("first", "failed", "card_declined"),
        ("second", "captured", None),
    ]


def test_a_cause_stands_before_what_it_led_to_whatever_the_clocks_say() -> None:
    first = entry("c", 10, payment(PaymentCaptured, 2))
    second = entry("b", 5, order(OrderPaid, 2, payment_id="payment"), "c")
    third = entry("a", 1, stock(3, 0), "b")
    after = entry("d", 10.5, HoldElapsed(order_id="order"))

    assert ids(timeline_of([third, after, second, first])) == ["c", "b", "a", "d"]


def test_what_names_itself_as_its_cause_is_told_all_the_same() -> None:
    one = entry("a", 1, HoldElapsed(order_id="order"), "b")
    other = entry("b", 1, HoldElapsed(order_id="order"), "a")
    assert sorted(ids(timeline_of([one, other]))) == ["a", "b"]


def test_retries_and_a_dead_letter_and_its_replay_stand_after_the_event_they_are_about() -> None:
    captured = entry("captured", 5, payment(PaymentCaptured, 2))
    again = entry("paid", 60, order(OrderPaid, 2, payment_id="payment"), "captured")
    retry = Retry.of(failed("retries.orders.finish_paid_order", "captured", 5.1, 1))
    letter = DeadLetter.of(failed("dead_letters.orders.finish_paid_order", "captured", 5.5, 2))
    letter.replay("ola@souk.test", at(50))

    story = timeline_of([again, captured], [retry], [letter])

    assert [(line.kind, line.service, line.caused_by) for line in story] == [
        ("event", "payments", None),
        ("retry", "orders", "captured"),
        ("dead_letter", "orders", "captured"),
        ("replayed", "audit", letter.id),
        ("event", "orders", "captured"),
    ]
    assert story[1].fields == {"handler": "finish_paid_order", "error": "ValueError: no", "deliveries": 1}
    assert story[3].fields["by"] == "ola@souk.test"


def test_what_nobody_can_read_is_told_as_it_is() -> None:
    broken = Entry.of(Message("PAYMENTS", 3, "payments.captured", BEGAN, {}, b'{"order_id": "order", \xff'))
    wrong = Entry.of(Message("PAYMENTS", 4, "payments.captured", BEGAN, {}, b'{"order_id": "order"}'))

    story = timeline_of([broken, wrong])

    assert ids(story) == ["PAYMENTS:3", "PAYMENTS:4"]
    assert story[0].fields == {"body": '{"order_id": "order", \\xff'}
    assert wrong.keys == {"order_id": "order"}
    assert [p.order for p in snapshots_of(story)] == [None, None]


def test_an_entry_comes_back_whole_from_its_document() -> None:
    assert [Entry.from_document(one.to_document()) for one in LATE] == LATE
