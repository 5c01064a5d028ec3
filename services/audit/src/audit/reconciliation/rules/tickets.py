"""The rules of tickets. No I/O."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeVar

from audit.reconciliation.findings import Finding, Rule
from audit.reconciliation.records import BookingRecord, OrderRecord, OrderStatus, TicketRecord
from audit.reconciliation.rules.versions import behind, contradictions, lost, restated
from common.events import (
    BookingState,
    Event,
    ItemKind,
    ItemState,
    TicketAdmitted,
    TicketsIssued,
    TicketsRevoked,
    TicketTransferred,
)

TicketEvent = BookingState | TicketAdmitted | TicketTransferred
E = TypeVar("E", TicketAdmitted, TicketTransferred)


def check_tickets(order: OrderRecord, item: Sequence[Event], booking: BookingRecord | None) -> Iterator[Finding]:
    """A paid order of an event has a ticket that is not revoked for each unit; any other order has none.

    `item` are the events of its item: without any, it is not known whether it is an event.
    """
    is_event = any(event.kind is ItemKind.EVENT for event in item if isinstance(event, ItemState))
    paid = order.status is OrderStatus.PAID and not order.refund_requested
    wanted = list(range(1, order.quantity + 1)) if paid and is_event else []
    found = booking.live_units if booking else []
    if found != wanted:
        yield Finding(
            rule=Rule.TICKETS_MATCH,
            subject={"order": order.id},
            expected=f"{len(wanted)} tickets, as the order of version {order.version} is {order.status}",
            found=f"{len(found)}: {', '.join(map(str, found))}",
        )


def check_booking(record: BookingRecord, events: Sequence[Event], order: OrderRecord | None) -> Iterator[Finding]:
    """The tickets are those of an order, and what their events made of them; each lets one person in."""
    subject = {"order": record.id}
    if order is None and record.live_units:
        expected = f"an order for the tickets of version {record.version}"
        yield Finding(rule=Rule.TICKETS_MATCH, subject=subject, expected=expected, found="none")
    told = sorted(
        (e for e in events if isinstance(e, BookingState | TicketAdmitted | TicketTransferred)),
        key=lambda event: event.tickets_version,
    )
    yield from contradictions(subject, ((event.tickets_version, event) for event in told))
    if told and (newest := told[-1].tickets_version) > record.version:
        yield behind(subject, newest, record.version)
    wanted = TicketsRevoked if record.revoked else TicketsIssued
    if record.sale is not None and not any(isinstance(event, wanted) for event in told):
        yield lost(subject, f"{wanted.subject} of version {record.version} or before", "none")
    yield from _scans_twice(record)
    for ticket in record.tickets:
        yield from _check_ticket(record, ticket, told)


def _check_ticket(record: BookingRecord, ticket: TicketRecord, told: Sequence[TicketEvent]) -> Iterator[Finding]:
    ticket_id = f"{record.id}-{ticket.unit}"
    subject = {"order": record.id, "ticket": ticket_id}
    given = _once([e for e in told if isinstance(e, TicketTransferred) and e.ticket_id == ticket_id])
    let_in = _once([e for e in told if isinstance(e, TicketAdmitted) and e.ticket_id == ticket_id])
    yield from _check_admissions(subject, [event for event in let_in if not event.again], given, told)
    if ticket.generation is None or restated((event.tickets_version, event) for event in told):
        return
    first, more = ticket.admissions or (), (*(ticket.admissions or ())[1:], *(ticket.strays or ()))
    counts = (
        (TicketTransferred.subject, ticket.generation - 1, given),
        (TicketAdmitted.subject, len(first[:1]), [event for event in let_in if not event.again]),
        (f"{TicketAdmitted.subject} again", len(more), [event for event in let_in if event.again]),
    )
    for what, stored, published in counts:
        known = len([event for event in published if event.tickets_version <= record.version])
        if known < stored:
            yield lost(subject, f"{stored} of {what} up to version {record.version}", f"{known}")
        if known > stored:
            expected = f"{known} of {what} up to version {record.version}, as published"
            yield Finding(rule=Rule.BOOKS_AGREE, subject=subject, expected=expected, found=f"{stored}", certain=True)


def _check_admissions(
    subject: dict[str, str],
    admitted: Sequence[TicketAdmitted],
    given: Sequence[TicketTransferred],
    told: Sequence[TicketEvent],
) -> Iterator[Finding]:
    """A ticket admits one, with a code of its newest generation, and before it is revoked."""

    def wrong(expected: str, found: str, *, certain: bool = True) -> Finding:
        return Finding(rule=Rule.ADMITTED_ONCE, subject=subject, expected=expected, found=found, certain=certain)

    if len(admitted) > 1:
        yield wrong("one admission", f"{len(admitted)}, at {', '.join(event.gate for event in admitted)}")
    revoked = [event.tickets_version for event in told if isinstance(event, TicketsRevoked) and not event.restated]
    for event in admitted:
        newest = 1 + len([one for one in given if one.tickets_version < event.tickets_version])
        if event.generation != newest:
            expected = f"generation {newest} admitted at {event.gate}, as of version {event.tickets_version}"
            yield wrong(expected, f"generation {event.generation}", certain=event.generation < newest)
        if revoked and revoked[0] < event.tickets_version:
            expected = f"nobody admitted after version {revoked[0]}, which revoked it"
            yield wrong(expected, f"version {event.tickets_version}, at {event.gate}")


def _scans_twice(record: BookingRecord) -> Iterator[Finding]:
    """Every scan counts once."""
    made = [scan for ticket in record.tickets for scan in (*(ticket.admissions or ()), *(ticket.strays or ()))]
    for scan, times in Counter(made).items():
        if times > 1:
            expected = f"scan {scan.seq} of {scan.device} counted once"
            subject = {"order": record.id}
            yield Finding(rule=Rule.ADMITTED_ONCE, subject=subject, expected=expected, found=f"{times}", certain=True)


def _once(events: Sequence[E]) -> list[E]:
    """One event of each version: the log may have one twice."""
    return list({event.tickets_version: event for event in events}.values())
