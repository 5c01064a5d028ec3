"""The rules of tickets and their scans: each lets pass what is right or only on its way, and names what is wrong."""

from typing import Any

import pytest

from audit.reconciliation.findings import Rule
from audit.reconciliation.records import BookingRecord
from audit.reconciliation.rules.tickets import check_booking
from common.events import Event, TicketAdmitted, TicketsIssued, TicketsRevoked, TicketTransferred

from .records import NOW, order, paid, rules

BOOKING: dict[str, Any] = {"order_id": "o", "item_id": "i", "buyer_id": "b", "seller_id": "s", "quantity": 2}
TICKET: dict[str, Any] = {"ticket_id": "o-1", "order_id": "o", "item_id": "i", "holder_id": "b", "generation": 1}


def issued(version: int = 1, **more: Any) -> TicketsIssued:
    return TicketsIssued(**BOOKING, tickets_version=version, **more)


def revoked(version: int) -> TicketsRevoked:
    return TicketsRevoked(**BOOKING, tickets_version=version)


def given(version: int, generation: int = 2) -> TicketTransferred:
    return TicketTransferred(**TICKET | {"generation": generation}, tickets_version=version, previous_holder_id="a")


def let_in(version: int, *, again: bool = False, generation: int = 1, gate: str = "North") -> TicketAdmitted:
    where = {"gate_id": gate, "gate": gate, "at": NOW, "again": again, "generation": generation}
    return TicketAdmitted(**TICKET | where, tickets_version=version)


def scan(seq: int, gate: str = "North") -> dict[str, Any]:
    return {"gate_id": gate, "device": "phone", "seq": seq}


def booking(version: int = 1, *, returned: tuple[str, ...] = (), **ticket: Any) -> BookingRecord:
    """Two tickets, of which the first has these fields."""
    untouched = {"generation": 1, "admissions": [], "strays": []}
    tickets = [{"unit": 1, **untouched, **ticket}, {"unit": 2, **untouched}]
    fields = {"id": "o", "version": version, "sale": {"payment_id": "p"}, "returned": returned, "tickets": tickets}
    return BookingRecord.model_validate(fields)


SCANNED = booking(2, admissions=[scan(1)])
COPIED = booking(3, admissions=[scan(1), scan(2, "South")])
GIVEN = booking(4, generation=2, admissions=[scan(2)], strays=[scan(1)])


@pytest.mark.parametrize(
    ("record", "log"),
    [
        (booking(), [issued()]),
        (booking(), [issued(), issued()]),  # published twice
        (SCANNED, [issued(), let_in(2)]),
        (COPIED, [let_in(3, again=True, gate="South"), let_in(2), issued()]),  # out of order
        (booking(2, generation=2), [issued(), given(2)]),
        (GIVEN, [issued(), given(2), let_in(3, again=True), let_in(4, generation=2)]),
        (booking(2, returned=("p",)), [issued(), revoked(2)]),
        (booking(2, returned=("p",)), [revoked(2)]),  # refunded before it was known to be paid
        (booking(3, returned=("p",), admissions=[scan(1)]), [issued(), let_in(2), revoked(3)]),
        (booking(3, returned=("p",), strays=[scan(1)]), [issued(), revoked(2), let_in(3, again=True)]),
        (GIVEN, [issued(4, restated=True)]),  # the bus has lost its streams, and the log what was in them
        (booking(2, generation=None, admissions=None, strays=None), [issued(), let_in(2)]),  # an older replica
    ],
)
def test_tickets_that_are_what_was_published_are_right(record: BookingRecord, log: list[Event]) -> None:
    assert list(check_booking(record, log, paid())) == []


def test_news_of_a_payment_that_went_back_needs_no_order_and_no_event() -> None:
    unsold = BookingRecord(id="o", version=1, returned=frozenset("q"))

    assert list(check_booking(unsold, [], None)) == []
    assert list(check_booking(unsold, [], order())) == []


@pytest.mark.parametrize(
    ("record", "log", "rule", "certain"),
    [
        (booking(), [], Rule.EVENTS_KEPT, False),
        (booking(2, returned=("p",)), [issued()], Rule.EVENTS_KEPT, False),
        (SCANNED, [issued()], Rule.EVENTS_KEPT, False),
        (COPIED, [issued(), let_in(2)], Rule.EVENTS_KEPT, False),  # nobody is told of the second one
        (booking(2, generation=2), [issued()], Rule.EVENTS_KEPT, False),
        (booking(), [issued(), let_in(2)], Rule.BOOKS_AGREE, False),  # perhaps the record was read before
        (booking(2), [issued(), let_in(2)], Rule.BOOKS_AGREE, True),
        (booking(2), [issued(), given(2)], Rule.BOOKS_AGREE, True),
        (SCANNED, [issued(), let_in(2), let_in(2, gate="South")], Rule.EVENTS_AGREE, True),
        (COPIED, [issued(), let_in(2), let_in(3, gate="South")], Rule.ADMITTED_ONCE, True),
        (booking(3, generation=2, admissions=[scan(1)]), [issued(), given(2), let_in(3)], Rule.ADMITTED_ONCE, True),
        (booking(3, returned=("p",), admissions=[scan(1)]), [issued(), revoked(2), let_in(3)],
         Rule.ADMITTED_ONCE, True),
        (booking(3, admissions=[scan(1), scan(1)]), [issued(), let_in(2), let_in(3, again=True)],
         Rule.ADMITTED_ONCE, True),
        (booking(2, admissions=[scan(1)]), [issued(), let_in(2, generation=2)], Rule.ADMITTED_ONCE, False),
    ],
)  # fmt: skip
def test_tickets_that_differ_from_what_was_published_or_admit_too_many_are_found(
    record: BookingRecord, log: list[Event], rule: Rule, certain: bool
) -> None:
    findings = list(check_booking(record, log, paid()))

    assert rule in rules(findings, certain)


def test_a_scan_that_counts_for_two_tickets_is_found() -> None:
    record = booking(3, admissions=[scan(1)])
    twice = record.model_copy(update={"tickets": (record.tickets[0], record.tickets[0].model_copy(update={"unit": 2}))})
    log = [issued(), let_in(2), TicketAdmitted(**let_in(3).model_dump() | {"ticket_id": "o-2"})]

    assert rules(check_booking(twice, log, paid()), certain=True) == {Rule.ADMITTED_ONCE}


def test_tickets_without_an_order_are_found() -> None:
    assert rules(check_booking(booking(), [issued()], None)) == {Rule.TICKETS_MATCH}
