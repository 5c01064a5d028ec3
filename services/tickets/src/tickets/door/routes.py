"""HTTP routes of the door: gates for sellers, scans for who has the link of a gate. No rules, no queries."""

import asyncio
import secrets
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, status
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints

from common.errors import TooMany
from common.http.dependencies import Now, Provided
from common.http.paging import EXAMPLE_ID, Body, Limit, Page, page_of
from common.http.problems import problems
from common.http.sessions import CurrentUser
from common.http.write_limit import WriteLimit
from common.text import LINE
from tickets.codes import TicketCodes
from tickets.domain import EventNotFound, Extra, Scan, ScanResult
from tickets.door.devices import Arrival
from tickets.door.domain import Gate, GateClosed, GateNotFound, NotSeller, TooManyGates
from tickets.door.scanning import Answer, ExtraAdmission, ScanDesk, extras_of, guest_list, offline_scan
from tickets.door.store import DeviceStore, GateStore
from tickets.store import BookingStore, EventStore

router = APIRouter(tags=["door"])

Gates = Annotated[GateStore, Provided(GateStore)]
Devices = Annotated[DeviceStore, Provided(DeviceStore)]
Events = Annotated[EventStore, Provided(EventStore)]
Bookings = Annotated[BookingStore, Provided(BookingStore)]
Codes = Annotated[TicketCodes, Provided(TicketCodes)]
Scans = Annotated[WriteLimit, Provided(WriteLimit)]
Desk = Annotated[ScanDesk, Provided(ScanDesk)]

Token = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, strip_whitespace=False),
    Field(examples=["b3JkZXJzLW9mLXRoZS1kYXktMTIz"]),
]
ItemInQuery = Annotated[str, Query(description="The event's id, as an item.", examples=[EXAMPLE_ID])]
GateCursor = Annotated[
    str | None,
    Query(
        pattern="^[0-9a-f]{64}$",
        description="The `next` of an earlier page; nothing for the first one.",
        examples=["5e" * 32],
    ),
]
GateInPath = Annotated[str, Path(description="The gate's id.", examples=[EXAMPLE_ID])]
Device = Annotated[str, StringConstraints(min_length=1, max_length=64), LINE, Field(examples=["door-phone-1"])]
Sequence = Annotated[int, Field(strict=True, ge=0, le=2**53)]

SCANS_PER_MINUTE = 3_000
"""Scans of a gate, of one process: many times what people with phones do."""

MOST_SCANS = 500
"""Scans that are sent together."""


class NewGate(Body):
    """A gate of an event."""

    item_id: Annotated[
        str, StringConstraints(min_length=1, max_length=64, strip_whitespace=False), Field(examples=[EXAMPLE_ID])
    ]
    name: Annotated[str, StringConstraints(min_length=1, max_length=80), LINE, Field(examples=["North door"])]


class GateView(BaseModel):
    """A gate as its seller sees it."""

    id: str
    item_id: str
    name: str
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, gate: Gate) -> Self:
        """The view of a gate."""
        return cls.model_validate(gate, from_attributes=True)


class OpenedGate(GateView):
    """A new gate. `link`, on this site, has the token, which is shown only now: who has it can scan."""

    token: str
    link: str


class NewScan(Body):
    """A code that was scanned, or the number of a ticket that somebody has typed. `gate` is the token of the gate."""

    code: Annotated[str, StringConstraints(max_length=500), Field(examples=["7Q4K-M2XD-1"])]
    gate: Token
    device: Device
    seq: Sequence
    at: Annotated[AwareDatetime, Field(examples=["2027-05-01T17:45:00Z"])]


class OfflineScan(NewScan):
    """A scan that a device has answered by itself."""

    admitted: Annotated[bool, Field(description="Whether the device let somebody in.")] = True
    list_at: Annotated[
        AwareDatetime | None,
        Field(description="The time of the list that it judged by.", examples=["2027-05-01T17:40:00Z"]),
    ] = None


class OfflineScans(Body):
    """Whom devices have let in or turned away while they could not ask. Sending some of it again changes nothing."""

    scans: Annotated[list[OfflineScan], Field(max_length=MOST_SCANS)]


class ScanView(BaseModel):
    """The answer to a scan. If the ticket was used, `first_admitted_at` says when and `gate` where."""

    result: ScanResult
    first_admitted_at: datetime | None
    gate: str | None
    number: str | None

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """The view of an answer."""
        return cls(**cls.fields(answer))

    @staticmethod
    def fields(answer: Answer) -> dict[str, object]:
        """What every answer says."""
        first = answer.first
        return {
            "result": answer.result,
            "first_admitted_at": first.at if first else None,
            "gate": first.gate if first else None,
            "number": answer.number,
        }


class OfflineScanView(ScanView):
    """The answer to a scan that was made offline. `extra`: somebody was let in who should not have been; `reason`."""

    device: str
    seq: int
    extra: bool
    reason: Extra | None = None


class ExtraView(BaseModel):
    """An admission that was one too many: with which ticket, why, and both gates and times.

    The first is that of the ticket's holder; if only the wrong one was let in, both are the same. `void_since` is
    when the ticket was given away or refunded; `listed_at` is the time of the list that the second gate had: if it is
    earlier, the gate could not know.
    """

    number: str
    reason: Extra
    first_gate: str
    first_admitted_at: datetime
    second_gate: str
    second_admitted_at: datetime
    listed_at: datetime | None
    void_since: datetime | None

    @classmethod
    def of(cls, extra: ExtraAdmission) -> Self:
        """The view of an extra admission."""
        return cls(
            number=extra.number,
            reason=extra.why,
            first_gate=extra.first.gate,
            first_admitted_at=extra.first.at,
            second_gate=extra.second.gate,
            second_admitted_at=extra.second.at,
            listed_at=extra.second.list_at,
            void_since=extra.void_since,
        )


class MissingView(BaseModel):
    """Scans of a device that have not arrived, though later ones have, at this gate."""

    device: str
    gate: str
    count: int


class DoorView(BaseModel):
    """An event's door: its gates, how many of its tickets were admitted, every admission that was one too many, and
    the scans that are known to be on their way, or lost.
    """

    gates: list[GateView]
    admitted: int
    tickets: int
    extras: list[ExtraView]
    missing: list[MissingView]


class GateToken(Body):
    """The token of a gate."""

    gate: Token


class GuestList(BaseModel):
    """What a gate needs to know to answer by itself.

    `content` is JSON: `{"item_id", "at", "tickets": [{"id", "generation", "status", "checks"}]}`; `checks`
    end the numbers of the generations after the first, and are absent if there is none. `signature` (Ed25519,
    base64url) is that of its UTF-8 by `kid`, one of `keys` (base64url), which also verify the codes of tickets.
    """

    content: str
    kid: str
    signature: str
    keys: dict[str, str]


class GateSign(BaseModel):
    """What stands at a gate, for the people who scan there."""

    id: str
    name: str
    item_id: str
    item_title: str
    starts_at: datetime | None
    timezone: str | None
    admitted: int
    tickets: int


@router.post("/gates", status_code=status.HTTP_201_CREATED, responses=problems(EventNotFound, NotSeller, TooManyGates))
async def open_gate(body: NewGate, user: CurrentUser, gates: Gates, events: Events, now: Now) -> OpenedGate:
    """Make a gate of one of the caller's events. The link in the answer is for the people at the gate."""
    await _own_event(body.item_id, user.id, events)
    token = secrets.token_urlsafe(24)
    gate = Gate(id=_hash(token), item_id=body.item_id, name=body.name, opened_at=now)
    await gates.add(gate)
    # After the #, which no server and no log gets to see.
    return OpenedGate(**GateView.of(gate).model_dump(), token=token, link=f"/gate#{token}")


@router.get("/gates", responses=problems(EventNotFound, NotSeller))
async def show_door(
    item_id: ItemInQuery, user: CurrentUser, gates: Gates, events: Events, bookings: Bookings, devices: Devices
) -> DoorView:
    """The door of one of the caller's events."""
    await _own_event(item_id, user.id, events)
    admitted, tickets = await bookings.counts(item_id)
    return DoorView(
        gates=[GateView.of(gate) for gate in await gates.of_item(item_id)],
        admitted=admitted,
        tickets=tickets,
        extras=[ExtraView.of(extra) for extra in extras_of(await bookings.with_extras(item_id))],
        missing=[
            MissingView(device=device.id, gate=gap.gate, count=gap.size)
            for device in await devices.with_gaps(item_id)
            for gap in device.gaps
            if gap.item_id == item_id
        ],
    )


@router.get("/gates/mine")
async def list_gates(
    user: CurrentUser, gates: Gates, events: Events, limit: Limit = 20, cursor: GateCursor = None
) -> Page[GateView]:
    """The gates of all events of the caller, open and closed, in no order that means something."""
    own = await events.sold_by(user.id)
    return await page_of(lambda most: gates.of_items(own, most, cursor), limit, GateView.of, lambda gate: gate.id)


@router.delete("/gates/{gate_id}", responses=problems(GateNotFound, EventNotFound, NotSeller))
async def close_gate(gate_id: GateInPath, user: CurrentUser, gates: Gates, events: Events, now: Now) -> GateView:
    """Close a gate of one of the caller's events for good: its link works no longer."""
    await _own_event((await gates.get(gate_id)).item_id, user.id, events)
    return GateView.of(await gates.close(gate_id, now))


@router.post("/gates/sign", responses=problems(GateClosed))
async def show_sign(body: GateToken, gates: Gates, events: Events, bookings: Bookings) -> GateSign:
    """What stands at a gate, for who has its token."""
    gate = await gates.open_gate(_hash(body.gate))
    event = await events.find(gate.item_id) or {}
    admitted, tickets = await bookings.counts(gate.item_id)
    return GateSign(
        id=gate.id,
        name=gate.name,
        item_id=gate.item_id,
        item_title=event.get("title", ""),
        starts_at=event.get("starts_at"),
        timezone=event.get("timezone"),
        admitted=admitted,
        tickets=tickets,
    )


@router.post("/gates/list", responses=problems(GateClosed))
async def show_list(body: GateToken, gates: Gates, bookings: Bookings, codes: Codes, now: Now) -> GuestList:
    """The tickets of the event, signed, for who has the token of a gate and may have to answer without a network."""
    gate = await gates.open_gate(_hash(body.gate))
    content = guest_list(gate.item_id, await bookings.of_item(gate.item_id), now)
    return GuestList(content=content, kid=codes.kid, signature=codes.sign(content), keys=codes.known_keys)


@router.post("/scan", responses=problems(GateClosed, TooMany))
async def scan(body: NewScan, gates: Gates, desk: Desk, devices: Devices, limit: Scans, now: Now) -> ScanView:
    """Admit who has the ticket with this code, once. The same `device` and `seq` again get the same answer."""
    with desk.shown(body.code) as shown:
        gate = await gates.known_gate(_hash(body.gate))
        _count(gate, limit)
        if gate.closed_at:
            await devices.note(_arrival(body, gate))
        gate.check_open()
        made = Scan(gate_id=gate.id, gate=gate.name, device=body.device, seq=body.seq, at=now)
        answer, _ = await asyncio.gather(desk.answer(gate, shown, made), devices.note(_arrival(body, gate)))
        return ScanView.of(answer)


@router.post("/scans", responses=problems(GateClosed, TooMany))
async def take_scans(
    body: OfflineScans, gates: Gates, desk: Desk, devices: Devices, limit: Scans, now: Now
) -> list[OfflineScanView]:
    """Store what devices have answered by themselves; the answers are in the order of the list.

    A gate that was closed takes what was scanned before, for a week. One scan that is refused refuses the list, and
    nothing of it is stored: send the others without it.
    """
    known = {token: await gates.known_gate(_hash(token)) for token in {one.gate for one in body.scans}}
    made = []
    for one in body.scans:
        gate = known[one.gate]
        _count(gate, limit)
        gate.check_takes(one.at, now)
        made.append(offline_scan(gate, one.device, one.seq, one.at, now, let_in=one.admitted, list_at=one.list_at))
    answers = []
    for one, offline in zip(body.scans, made, strict=True):  # Not all at once: people at a gate would wait for them.
        with desk.shown(one.code) as shown:
            answer = await desk.answer(known[one.gate], shown, offline)
        more = {"extra": answer.extra is not None, "reason": answer.extra}
        answers.append(OfflineScanView(**ScanView.fields(answer), device=one.device, seq=one.seq, **more))
    await asyncio.gather(*(devices.note(_arrival(one, known[one.gate])) for one in body.scans))
    return answers


def _count(gate: Gate, limit: WriteLimit) -> None:
    if wait := limit.count(gate.id):
        raise TooMany(f"this gate has scanned too much; try again in {wait} s", wait)


def _arrival(scan: NewScan, gate: Gate) -> Arrival:
    return Arrival(device=scan.device, seq=scan.seq, item_id=gate.item_id, gate=gate.name)


async def _own_event(item_id: str, user_id: str, events: EventStore) -> None:
    if (await events.event(item_id))["seller_id"] != user_id:
        raise NotSeller("this is another seller's event")


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()
