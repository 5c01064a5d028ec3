"""Answers the scans of a gate."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from common.clock import whole_milliseconds
from common.order_numbers import as_typed
from tickets.codes import Claim, TicketCodes
from tickets.domain import Booking, Extra, Scan, ScanResult, Ticket, TicketNotFound, ticket_id
from tickets.door.domain import Gate
from tickets.store import BookingStore, LookedUp


@dataclass(frozen=True)
class Answer:
    """What a gate is told. `first` is the scan that admitted somebody with the ticket; `number` is the ticket's."""

    result: ScanResult
    first: Scan | None = None
    number: str | None = None
    extra: Extra | None = None
    """Why the one who was let in here, without asking, should not have been."""


@dataclass(frozen=True)
class Shown:
    """A code that somebody shows, and the tickets of its order, which are on their way."""

    code: str
    claim: Claim | None
    booking: LookedUp | None


class ScanDesk:
    """Finds the ticket of a code and lets the tickets of its order decide, in one guarded write.

    However many gates scan a ticket at once, one of them is told `admitted`, and only after the majority has stored it.
    """

    def __init__(self, bookings: BookingStore, codes: TicketCodes) -> None:
        self._bookings = bookings
        self._codes = codes

    @contextmanager
    def shown(self, code: str) -> Iterator[Shown]:
        """What a code says. The tickets of its order are looked up while it is found out where it was shown."""
        claim = self._codes.read(code)
        booking = self._bookings.looked_up(claim.order_id) if claim else None
        try:
            yield Shown(code, claim, booking)
        finally:
            if booking and not booking.cancel() and not booking.cancelled():
                booking.exception()  # Nobody may have waited for it.

    async def answer(self, gate: Gate, shown: Shown, scan: Scan) -> Answer:
        """The answer to a scan, which may have come before."""
        if claim := shown.claim:
            if claim.item_id != gate.item_id:
                return Answer(ScanResult.WRONG_EVENT)
            return await self._admit(claim.order_id, claim.unit, lambda _: claim.generation, scan, shown.booking)
        if typed := as_typed(shown.code):
            number, unit, check = typed
            if order_id := await self._bookings.numbered(gate.item_id, number):
                return await self._admit(order_id, unit, lambda booking: booking.generation_of(unit, check), scan)
        return Answer(ScanResult.UNKNOWN)

    async def _admit(
        self,
        order_id: str,
        unit: int,
        generation_in: Callable[[Booking], int | None],
        scan: Scan,
        found: LookedUp | None = None,
    ) -> Answer:
        results: list[tuple[ScanResult, int]] = []

        def decide(booking: Booking) -> None:
            generation = generation_in(booking)
            said = ScanResult.UNKNOWN if generation is None else booking.admit(unit, generation, scan)
            results.append((said, generation or 1))

        try:
            loaded = await self._bookings.loaded(found) if found else None
            booking = await self._bookings.change(order_id, decide, loaded=loaded, command=False)
        except TicketNotFound:
            return Answer(ScanResult.UNKNOWN)
        result, generation = results[-1]
        if result is ScanResult.UNKNOWN:
            return Answer(result)
        ticket = booking.ticket(unit)
        extra = next((found.why for found in extras_of_ticket(booking, ticket) if found.second.is_same(scan)), None)
        first = ticket.admissions[0] if ticket.admissions else None
        # Who stands there with an old code does not get to read the new number.
        return Answer(result, first, booking.number_of(ticket, generation), extra)


@dataclass(frozen=True)
class ExtraAdmission:
    """Somebody was let in who should not have been, and the `first` whom the ticket let in, else themselves.

    `number` is the one that they had. It was worth nothing since `void_since`, unless the ticket was used.
    """

    number: str
    why: Extra
    first: Scan
    second: Scan
    void_since: datetime | None = None


def extras_of(bookings: Sequence[Booking]) -> list[ExtraAdmission]:
    """Every admission that was one too many, in the order of their time."""
    found = [extra for b in bookings for ticket in b.tickets for extra in extras_of_ticket(b, ticket)]
    return sorted(found, key=lambda extra: extra.second.at)


def extras_of_ticket(booking: Booking, ticket: Ticket) -> Iterator[ExtraAdmission]:
    """Those of one ticket."""
    for second in ticket.admissions[1:]:
        yield ExtraAdmission(booking.number_of(ticket), Extra.ALREADY_USED, ticket.admissions[0], second)
    for stray in ticket.strays:
        number, first = booking.number_of(ticket, stray.generation), next(iter(ticket.admissions), stray)
        yield ExtraAdmission(number, stray.why, first, stray, stray.void_since)


def offline_scan(
    gate: Gate, device: str, seq: int, at: datetime, now: datetime, *, let_in: bool, list_at: datetime | None = None
) -> Scan:
    """A scan that a device made by itself. Its clock may be wrong, but nobody was let in in the future."""
    known = {"list_at": whole_milliseconds(list_at) if list_at else None, "at": whole_milliseconds(min(at, now))}
    made = {"gate_id": gate.id, "gate": gate.name, "device": device, "seq": seq, "online": False, "let_in": let_in}
    return Scan.model_validate(made | known)


def guest_list(item_id: str, bookings: Sequence[Booking], now: datetime) -> str:
    """The tickets of an event as JSON, for gates that cannot ask: what a right code or number says and is worth."""
    tickets = [
        {
            "id": ticket_id(booking.id, ticket.unit),
            "generation": ticket.generation,
            "status": booking.status_of(ticket),
            **({"checks": [transfer.check for transfer in ticket.transfers]} if ticket.transfers else {}),
        }
        for booking in bookings
        for ticket in booking.tickets
    ]
    return json.dumps({"item_id": item_id, "at": now.isoformat(), "tickets": tickets}, separators=(",", ":"))
