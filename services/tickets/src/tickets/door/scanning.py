"""Answers the scans of a gate."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from common.clock import whole_milliseconds
from common.order_numbers import as_typed
from tickets.codes import TicketCodes
from tickets.domain import Booking, Scan, ScanResult, TicketNotFound, ticket_id
from tickets.door.domain import Gate
from tickets.store import BookingStore


@dataclass(frozen=True)
class Answer:
    """What a gate is told. `first` is the scan that admitted somebody with the ticket; `number` is the ticket's."""

    result: ScanResult
    first: Scan | None = None
    number: str | None = None
    again: bool = False
    """Somebody was let in here with a ticket that was used already."""


class ScanDesk:
    """Finds the ticket of a code and lets the tickets of its order decide, in one guarded write.

    However many gates scan a ticket at once, one of them is told `admitted`, and only after the majority has stored it.
    """

    def __init__(self, bookings: BookingStore, codes: TicketCodes) -> None:
        self._bookings = bookings
        self._codes = codes

    async def answer(self, gate: Gate, code: str, scan: Scan) -> Answer:
        """The answer to a scan, which may have come before."""
        if claim := self._codes.read(code):
            if claim.item_id != gate.item_id:
                return Answer(ScanResult.WRONG_EVENT)
            return await self._admit(claim.order_id, claim.unit, claim.generation, scan)
        if typed := as_typed(code):
            number, unit = typed
            if order_id := await self._bookings.numbered(gate.item_id, number):
                return await self._admit(order_id, unit, None, scan)
        return Answer(ScanResult.UNKNOWN)

    async def _admit(self, order_id: str, unit: int, generation: int | None, scan: Scan) -> Answer:
        results: list[ScanResult] = []

        def decide(booking: Booking) -> None:
            results.append(booking.admit(unit, generation, scan))

        try:
            booking = await self._bookings.change(order_id, decide, command=False)
        except TicketNotFound:
            return Answer(ScanResult.UNKNOWN)
        result = results[-1]
        if result is ScanResult.UNKNOWN:
            return Answer(result)
        ticket = booking.ticket(unit)
        again = any(made.is_same(scan) for made in ticket.admissions[1:])
        first = ticket.admissions[0] if ticket.admissions else None
        return Answer(result, first, f"{booking.number}-{unit}", again)


@dataclass(frozen=True)
class Extra:
    """Somebody was let in with a ticket that had let in somebody else: both scans."""

    number: str
    first: Scan
    second: Scan


def extras_of(bookings: Sequence[Booking]) -> list[Extra]:
    """Every admission that was one too many, in the order of their time."""
    found = [
        Extra(f"{booking.number}-{ticket.unit}", ticket.admissions[0], second)
        for booking in bookings
        for ticket in booking.tickets
        for second in ticket.admissions[1:]
    ]
    return sorted(found, key=lambda extra: extra.second.at)


def offline_scan(gate: Gate, device: str, seq: int, at: datetime, now: datetime, *, let_in: bool) -> Scan:
    """A scan that a device made by itself. Its clock may be wrong, but nobody was let in in the future."""
    made_at = whole_milliseconds(min(at, now))
    return Scan(gate_id=gate.id, gate=gate.name, device=device, seq=seq, at=made_at, online=False, let_in=let_in)


def guest_list(item_id: str, bookings: Sequence[Booking], now: datetime) -> str:
    """The tickets of an event as JSON, for gates that cannot ask: what a right code says, and what it is worth."""
    tickets = [
        {"id": ticket_id(booking.id, ticket.unit), "generation": ticket.generation, "status": booking.status_of(ticket)}
        for booking in bookings
        for ticket in booking.tickets
    ]
    return json.dumps({"item_id": item_id, "at": now.isoformat(), "tickets": tickets}, separators=(",", ":"))
