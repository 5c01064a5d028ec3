from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from common.events import EVENTS
from web.clients.audit import Entry
from web.rendering.i18n import words_for
from web.rendering.timeline import TITLES, timeline

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENGLISH = words_for("en")


def entry(name: str, after: float = 0, kind: str = "event", **changes: Any) -> Entry:
    told: dict[str, Any] = {"caused_by": None, "request_id": "r1", "fields": {}} | changes
    return Entry(id=name, kind=kind, service="orders", subject=name, time=NOON + timedelta(seconds=after), **told)


def test_every_event_of_a_story_has_words_of_its_own() -> None:
    missing = {subject for subject in EVENTS if subject not in TITLES} - {"payments.provider_called"}
    assert {subject for subject in missing if not subject.startswith("letters.")} == set()
    assert len({title for title, _ in TITLES.values()}) == len(TITLES)


def test_an_entry_says_what_it_came_from_and_when() -> None:
    placed = entry("orders.placed", fields={"quantity": 2, "unit_price": 1250, "currency": "EUR"})
    elapsed = entry("expiration.elapsed", after=900.25, caused_by="orders.placed")

    first, second = timeline([placed, elapsed], ENGLISH)

    assert (first.title, first.facts, first.cause) == ("Units held for the buyer", ["2 × €12.50"], None)
    assert (second.since, second.cause) == ("+900.250 s", first.title)


@pytest.mark.parametrize(
    ("name", "kind", "fields", "said"),
    [
        ("orders.stock_changed", "event", {"available": 3, "quantity": 5}, ["3 of 5 left"]),
        ("payments.captured", "event", {"amount": 500, "currency": "JPY"}, ["¥500"]),
        ("payments.failed", "event", {"amount": 5, "currency": "EUR", "reason": "declined"}, ["€0.05", "declined"]),
        ("orders.cancelled", "event", {"reason": "expired"}, ["expired"]),
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
def test_what_matters_is_said_shortly(name: str, kind: str, fields: dict[str, Any], said: list[str]) -> None:
    [line] = timeline([entry(name, kind=kind, fields=fields)], ENGLISH)
    assert line.facts == said


def test_an_event_nobody_knows_yet_is_shown_by_its_subject() -> None:
    [line] = timeline([entry("orders.gift_wrapped")], ENGLISH)
    assert line.title == "orders.gift_wrapped"
