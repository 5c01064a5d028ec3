"""The tickets of an order: one for each paid unit of an event. No I/O."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from common.aggregate import Aggregate
from common.errors import Conflict, NotFound
from common.events import (
    Event,
    OrderPaid,
    TicketAdmitted,
    TicketsIssued,
    TicketsRevoked,
    TicketTransferOffered,
    TicketTransferred,
)
from common.order_numbers import check_of, new_check, readable_number

OFFER_LIFETIME = timedelta(days=7)
"""How long an offered ticket can be accepted."""

MOST_OFFERS = 20
"""How often a ticket can be offered: each offer is a mail to somebody who has not asked for it."""


MOST_REFUSALS = 20
"""Refusals of a ticket that are kept: a device repeats them as often as somebody holds it in front of the camera."""


class EventNotFound(NotFound):
    """There is no such event."""

    code = "event_not_found"


class TicketNotFound(NotFound):
    """No such ticket, or one that the caller has nothing to do with."""

    code = "ticket_not_found"


class TicketNotValid(Conflict):
    """The ticket was used or revoked, so nobody can be given it."""

    code = "ticket_not_valid"


class TooManyOffers(Conflict):
    """The ticket was offered too often."""

    code = "too_many_offers"


class OfferIsOver(Conflict):
    """The ticket was taken back, accepted by somebody else, or offered too long ago."""

    code = "offer_is_over"


class TicketStatus(StrEnum):
    """`used`: somebody was admitted with it. `revoked`: its order is refunded."""

    VALID = "valid"
    USED = "used"
    REVOKED = "revoked"


class ScanResult(StrEnum):
    """What a gate says about a code. `revoked` is also said of a code of an older generation."""

    ADMITTED = "admitted"
    ALREADY_USED = "already_used"
    REVOKED = "revoked"
    WRONG_EVENT = "wrong_event"
    UNKNOWN = "unknown"


class Extra(StrEnum):
    """Why nobody should have been let in: the ticket was used, somebody else has it, or it was refunded."""

    ALREADY_USED = "already_used"
    GIVEN_AWAY = "given_away"
    REVOKED = "revoked"


class Scan(BaseModel):
    """A scan, of which a device makes one with each `seq`. `at` is when it was made, by the clock of the server if the
    server was asked (`online`), else by that of the device: it has let somebody in or turned them away (`let_in`),
    whatever is found out later.
    """

    model_config = ConfigDict(frozen=True)

    gate_id: str
    gate: str
    device: str
    seq: int
    at: datetime
    online: bool = True
    let_in: bool = True
    list_at: datetime | None = None
    """The time of the list that the device judged by."""

    def is_same(self, other: "Scan") -> bool:
        """Whether both are one scan that came twice."""
        return (self.gate_id, self.device, self.seq) == (other.gate_id, other.device, other.seq)


class Stray(Scan):
    """Somebody was let in, at a gate that could not ask, with a code of a `generation` that was worth nothing.

    `void_since` is when it came to nothing, if that is known.
    """

    generation: int
    why: Extra
    void_since: datetime | None = None


class Offer(BaseModel):
    """A ticket on its way to somebody, who has a link with a token of this request. `giver` is the holder's name."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    email: str
    at: datetime
    giver: str | None = None
    recipient_id: str | None = None
    """Whose address it was when the ticket was offered."""

    @property
    def lapses_at(self) -> datetime:
        """When it is over, if nobody has accepted it."""
        return self.at + OFFER_LIFETIME


class Transfer(BaseModel):
    """A ticket got another holder, and a generation with a `check` in its number. `at` is None where it was lost."""

    model_config = ConfigDict(frozen=True)

    check: str
    at: datetime | None = None


class Ticket(BaseModel):
    """One ticket of an order. `unit` counts from 1; a code or number of another `generation` is no longer valid."""

    unit: int
    holder_id: str
    generation: int = 1
    offer: Offer | None = None
    offers: int = 0
    accepted: str | None = None
    """The request by which the holder got it."""
    transfers: tuple[Transfer, ...] = ()
    """One for each generation after the first."""
    admissions: tuple[Scan, ...] = ()
    """The first is the one that counts. The others were made at gates that could not ask."""
    refusals: tuple[Scan, ...] = ()
    """Those who were turned away at gates that could not ask, up to `MOST_REFUSALS`."""

    strays: tuple[Stray, ...] = ()
    """Who was let in though the code was worth nothing. They do not use up the ticket, which is somebody else's."""

    @model_validator(mode="after")
    def _know_transfers(self) -> Self:
        """A ticket that was given away before numbers had a check gets one of what only its link had."""
        if missing := self.generation - 1 - len(self.transfers):
            old = (check_of(f"{self.accepted}-{number}") for number in range(missing))
            self.transfers = (*(Transfer(check=check) for check in old), *self.transfers)
        return self

    def generation_of(self, check: str) -> int | None:
        """The generation that has this check in its number; the first has none. None: no generation has it."""
        checks = ["", *(transfer.check for transfer in self.transfers)]
        return len(checks) - checks[::-1].index(check) if check in checks else None


class Sale(BaseModel):
    """What was paid."""

    model_config = ConfigDict(frozen=True)

    buyer_id: str
    seller_id: str
    item_id: str
    item_title: str
    quantity: int
    payment_id: str

    @classmethod
    def of(cls, paid: OrderPaid) -> Self:
        """What an order's event says."""
        return cls.model_validate(paid, from_attributes=True)


class Booking(Aggregate):
    """The tickets of one order, whose id it has. They are one document, so that each change of them is one write.

    `returned` are payments that go back to the buyer. News of that may come before the sale, so `sale` may be unknown.
    An offer that is over is forgotten with its address; `lapses_at` is when the next one is over by itself.
    """

    sale: Sale | None = None
    number: str | None = None
    """What people read out: the number of a ticket is this, its unit, and the check of its generation."""
    tickets: tuple[Ticket, ...] = ()
    returned: tuple[str, ...] = ()
    revoked_at: datetime | None = None
    lapses_at: datetime | None = None

    def issue(self, sale: Sale) -> None:
        """The order is paid: one ticket a unit. A second time changes nothing."""
        if self.sale is not None:
            return
        self.sale = sale
        self.number = readable_number(self.id)
        self.tickets = tuple(Ticket(unit=unit, holder_id=sale.buyer_id) for unit in range(1, sale.quantity + 1))
        self.record(self._as_event())

    def give_back(self, payment_id: str, now: datetime) -> None:
        """The money of a payment goes back: if it paid this order, its tickets are revoked for good."""
        if payment_id in self.returned:
            return
        self.returned = (*self.returned, payment_id)
        if self.revoked:
            self.revoked_at = now
            self._end_offers(self.tickets)
            self.record(self._as_event())

    @property
    def revoked(self) -> bool:
        """Whether the money that paid the tickets goes back."""
        return self.sale is not None and self.sale.payment_id in self.returned

    def status_of(self, ticket: Ticket) -> TicketStatus:
        """The status of one of the tickets."""
        if self.revoked:
            return TicketStatus.REVOKED
        return TicketStatus.USED if ticket.admissions else TicketStatus.VALID

    def ticket(self, unit: int) -> Ticket:
        """One of the tickets. Raises `TicketNotFound`."""
        if 1 <= unit <= len(self.tickets):
            return self.tickets[unit - 1]
        raise TicketNotFound("there is no such ticket")

    def number_of(self, ticket: Ticket, generation: int | None = None) -> str:
        """The number of a ticket, as a generation has it, the live one unless told otherwise."""
        generation = ticket.generation if generation is None else generation
        number = f"{self.number}-{ticket.unit}"
        return f"{number}-{ticket.transfers[generation - 2].check}" if 1 < generation <= ticket.generation else number

    def generation_of(self, unit: int, check: str) -> int | None:
        """The generation that a ticket's number with this check belongs to. None: none of a ticket of this order."""
        return self.tickets[unit - 1].generation_of(check) if 1 <= unit <= len(self.tickets) else None

    def seen_by(self, user_id: str) -> list[Ticket]:
        """The tickets that a user may see: all for the buyer, to a holder their own."""
        buyer = self.sale is not None and self.sale.buyer_id == user_id
        return [ticket for ticket in self.tickets if buyer or ticket.holder_id == user_id]

    def offer(self, unit: int, caller_id: str, offer: Offer) -> None:
        """The holder offers a ticket to somebody, who gets a mail. An earlier offer of it is over.

        Raises `TicketNotFound`, `TicketNotValid`, `TooManyOffers`.
        """
        ticket = self._held(unit, caller_id)
        if self.status_of(ticket) is not TicketStatus.VALID:
            raise TicketNotValid("this ticket was used or revoked")
        if ticket.offers >= MOST_OFFERS:
            raise TooManyOffers(f"a ticket can be offered {MOST_OFFERS} times")
        ticket.offer = offer
        ticket.offers += 1
        self._plan_lapse()
        title = self.sale.item_title if self.sale else ""
        more = {"request_id": offer.request_id, "item_title": title}
        self.record(TicketTransferOffered(**self._state_of(ticket), **more))

    def take_back(self, unit: int, caller_id: str) -> None:
        """The offer of a ticket is over, unless it was accepted. Raises `TicketNotFound`."""
        self._end_offers([self._held(unit, caller_id)])

    def end_offers_of(self, user_id: str) -> None:
        """Nobody can accept any longer what this user has offered, or was offered."""
        self._end_offers(
            ticket
            for ticket in self.tickets
            if ticket.offer and user_id in (ticket.holder_id, ticket.offer.recipient_id)
        )

    def lapse(self, now: datetime) -> None:
        """Forget the offers that nobody has accepted in time."""
        self._end_offers(ticket for ticket in self.tickets if ticket.offer and ticket.offer.lapses_at <= now)

    def recipient(self, request_id: str) -> str | None:
        """The address of an offer that is open."""
        offers = (ticket.offer for ticket in self.tickets if ticket.offer)
        return next((offer.email for offer in offers if offer.request_id == request_id), None)

    def open_offer(self, unit: int, request_id: str, now: datetime) -> Offer:
        """An offer that can be accepted. Raises `TicketNotFound`, `TicketNotValid`, `OfferIsOver`."""
        ticket = self.ticket(unit)
        if self.status_of(ticket) is not TicketStatus.VALID:
            raise TicketNotValid("this ticket was used or revoked")
        if ticket.offer is None or ticket.offer.request_id != request_id or now > ticket.offer.lapses_at:
            raise OfferIsOver("this ticket was taken back or accepted already, or the offer is too old")
        return ticket.offer

    def accept(self, unit: int, request_id: str, caller_id: str, now: datetime) -> None:
        """Somebody accepts an offer: they hold the ticket, and every code and number of it so far is dead.

        Accepting twice is accepting once. Raises `TicketNotFound`, `TicketNotValid`, `OfferIsOver`.
        """
        ticket = self.ticket(unit)
        if ticket.accepted == request_id and ticket.holder_id == caller_id:
            return
        self.open_offer(unit, request_id, now)
        previous, ticket.holder_id = ticket.holder_id, caller_id
        ticket.generation += 1
        ticket.transfers = (*ticket.transfers, Transfer(check=new_check(), at=now))
        ticket.accepted = request_id
        self._end_offers([ticket])
        self.record(TicketTransferred(**self._state_of(ticket), previous_holder_id=previous))

    def admit(self, unit: int, generation: int, scan: Scan) -> ScanResult:
        """Somebody stands at a gate with a code or number of this generation.

        One scan that comes twice gets the same answer. A gate that could not ask has let them in: that is stored even
        where the ticket was used already, or the code is worth nothing any more, so that it can be told who else was
        let in with it, and where. Or it has turned them away, which changes nothing.
        """
        if not 1 <= unit <= len(self.tickets):
            return ScanResult.UNKNOWN
        ticket = self.tickets[unit - 1]
        known = next((made for made in ticket.admissions if made.is_same(scan)), None)
        if known is not None:
            return ScanResult.ADMITTED if known is ticket.admissions[0] else ScanResult.ALREADY_USED
        if self.revoked or generation != ticket.generation:
            self._note_stray(ticket, generation, scan)
            return ScanResult.REVOKED
        first = not ticket.admissions
        if not scan.let_in:
            if len(ticket.refusals) < MOST_REFUSALS and not any(made.is_same(scan) for made in ticket.refusals):
                ticket.refusals = (*ticket.refusals, scan)
            return ScanResult.UNKNOWN if first else ScanResult.ALREADY_USED
        if first or not scan.online:
            ticket.admissions = (*ticket.admissions, scan)
            self._end_offers([ticket])
            self._record_admission(ticket, scan, generation, again=not first)
        return ScanResult.ADMITTED if first else ScanResult.ALREADY_USED

    def restated(self) -> list[Event]:
        """The tickets as they are now."""
        return [self._as_event(self.version, restated=True)] if self.sale else []

    def _note_stray(self, ticket: Ticket, generation: int, scan: Scan) -> None:
        if scan.online or not scan.let_in or any(made.is_same(scan) for made in ticket.strays):
            return
        given_away = generation < ticket.generation
        stray = Stray(
            **scan.model_dump(),
            generation=generation,
            why=Extra.GIVEN_AWAY if given_away else Extra.REVOKED,
            void_since=ticket.transfers[generation - 1].at if given_away else self.revoked_at,
        )
        ticket.strays = (*ticket.strays, stray)
        self._record_admission(ticket, scan, generation, again=True)

    def _record_admission(self, ticket: Ticket, scan: Scan, generation: int, *, again: bool) -> None:
        where = {"gate_id": scan.gate_id, "gate": scan.gate, "at": scan.at, "again": again, "generation": generation}
        self.record(TicketAdmitted(**self._state_of(ticket) | where))

    def _end_offers(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            ticket.offer = None
        self._plan_lapse()

    def _plan_lapse(self) -> None:
        self.lapses_at = min((ticket.offer.lapses_at for ticket in self.tickets if ticket.offer), default=None)

    def _held(self, unit: int, caller_id: str) -> Ticket:
        ticket = self.ticket(unit)
        if ticket.holder_id != caller_id:
            raise TicketNotFound("there is no such ticket")
        return ticket

    def _as_event(self, version: int | None = None, restated: bool = False) -> Event:
        kind: Callable[..., Event] = TicketsRevoked if self.revoked else TicketsIssued
        sale = self.sale.model_dump(include={"buyer_id", "seller_id", "item_id", "quantity"}) if self.sale else {}
        return kind(order_id=self.id, tickets_version=version or self.next_version, restated=restated, **sale)

    def _state_of(self, ticket: Ticket) -> dict[str, Any]:
        return {
            "ticket_id": ticket_id(self.id, ticket.unit),
            "order_id": self.id,
            "tickets_version": self.next_version,
            "item_id": self.sale.item_id if self.sale else "",
            "generation": ticket.generation,
            "holder_id": ticket.holder_id,
        }


def ticket_id(order_id: str, unit: int) -> str:
    """The id of a ticket."""
    return f"{order_id}-{unit}"


def parsed_ticket_id(text: str) -> tuple[str, int]:
    """Order and unit of a ticket's id. Raises `TicketNotFound` for what is none."""
    order_id, _, unit = text.partition("-")
    if order_id and unit.isascii() and unit.isdecimal() and len(unit) <= 6:
        return order_id, int(unit)
    raise TicketNotFound("there is no such ticket")
