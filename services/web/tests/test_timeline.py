"""An operator sees each entry of a timeline in words, with its cause."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.events import EVENTS
from web.clients.audit import TimelineEntry
from web.rendering.i18n import i18n_for
from web.rendering.timeline import TITLES, lines_of, shown_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENGLISH = i18n_for("en")


def entry(name: str, after: float = 0, kind: str = "event", **changes: Any) -> TimelineEntry:
    fields: dict[str, Any] = {"caused_by": None, "request_id": "r1", "fields": {}} | changes
    return TimelineEntry(
        id=name, kind=kind, service="orders", subject=name, time=NOON + timedelta(seconds=after), **fields
    )


def test_every_event_has_a_title_of_its_own() -> None:
    missing = {subject for subject in EVENTS if subject not in TITLES} - {"payments.provider_called"}
    assert {subject for subject in missing if not subject.startswith("letters.")} == set()
    assert len({title for title, _ in TITLES.values()}) == len(TITLES)


def test_a_line_has_its_cause_and_the_time_since_the_first() -> None:
    placed = entry("orders.placed", fields={"quantity": 2, "unit_price": 1250, "currency": "EUR"})
    elapsed = entry("expiration.elapsed", after=900.25, caused_by="orders.placed")

    first, second = lines_of([placed, elapsed], ENGLISH)

    assert (first.title, first.facts, first.cause) == ("Units held for the buyer", ["2 × €12.50"], None)
    assert (second.since, second.cause) == ("+900.250 s", first.title)


@pytest.mark.parametrize(
    ("name", "kind", "fields", "facts"),
    [
        ("orders.stock_changed", "event", {"available": 3, "quantity": 5}, ["3 of 5 left"]),
        ("payments.captured", "event", {"amount": 500, "currency": "JPY"}, ["¥500"]),
        ("payments.failed", "event", {"amount": 5, "currency": "EUR", "reason": "declined"}, ["€0.05", "declined"]),
        ("orders.cancelled", "event", {"reason": "expired"}, ["expired"]),
        (
            "payments.disputed",
            "event",
            {"amount": 500, "currency": "EUR", "reason": "fraudulent", "dispute": "open"},
            ["€5.00", "open", "fraudulent"],
        ),
        (
            "payments.partly_refunded",
            "event",
            {"amount": 500, "currency": "EUR", "refunded_amount": 200, "failure": "expired_card"},
            ["€2.00 of €5.00 was refunded", "Refund failed: expired_card"],
        ),
        (
            "payments.provider_called",
            "provider_call",
            {"operation": "charge", "outcome": "timed_out", "milliseconds": 2001},
            ["charge: timed_out", "2001 ms"],
        ),
        (
            "orders.placed",
            "dead_letter",
            {"handler": "start_the_clock", "error": "ValueError: no", "deliveries": 8},
            ["start_the_clock ×8", "ValueError: no"],
        ),
        (
            "orders.placed",
            "discarded",
            {"handler": "h", "by": "ola@souk.test", "reason": "old"},
            ["h", "ola@souk.test", "old"],
        ),
    ],
)
def test_a_line_has_the_most_important_facts(name: str, kind: str, fields: dict[str, Any], facts: list[str]) -> None:
    [line] = lines_of([entry(name, kind=kind, fields=fields)], ENGLISH)
    assert line.facts == facts


def test_an_unknown_event_is_shown_with_its_subject() -> None:
    [line] = lines_of([entry("orders.gift_wrapped")], ENGLISH)
    assert line.title == "orders.gift_wrapped"


def test_changes_of_the_stock_are_left_out_of_a_story_unless_they_are_all_of_it() -> None:
    placed, moved, paid = entry("orders.placed"), entry("orders.stock_changed"), entry("orders.paid")

    assert shown_of([placed, moved, paid], stock=False) == [0, 2]
    assert shown_of([placed, moved, paid], stock=True) == [0, 1, 2]
    assert shown_of([moved, moved], stock=False) == [0, 1]
