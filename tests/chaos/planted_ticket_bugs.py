"""The bugs of tickets that `planted_bugs` plants."""

import asyncio
import struct
from base64 import b32decode
from binascii import Error
from collections.abc import Callable

from tickets.codes import LENGTH, SIGNATURE, Claim, TicketCodes
from tickets.domain import Booking, Scan, ScanResult
from tickets.store import BookingStore

right_admit = Booking.admit


def admit_any_generation(booking: Booking, unit: int, _: int, scan: Scan) -> ScanResult:
    """Admit with a code of before the ticket was given away."""
    return right_admit(booking, unit, booking.ticket(unit).generation, scan)


def admit_without_extras(booking: Booking, unit: int, generation: int, scan: Scan) -> ScanResult:
    """Forget whom a phone has let in with a ticket that was used or worth nothing, as if it had asked."""
    return right_admit(booking, unit, generation, scan.model_copy(update={"online": True}))


right_change = BookingStore.change
writing: set[asyncio.Task[Booking]] = set()


async def change_later(
    store: BookingStore,
    order_id: str,
    decide: Callable[[Booking], None],
    *,
    loaded: Booking | None = None,
    command: bool = True,
) -> Booking:
    """Answer a scan by what is stored now, and write it afterwards."""
    if command:
        return await right_change(store, order_id, decide, loaded=loaded)
    booking = await store.get(order_id)
    decide(booking)
    writing.add(task := asyncio.create_task(right_change(store, order_id, decide, command=False)))
    task.add_done_callback(writing.discard)
    return booking


def read_unsigned(_: TicketCodes, code: str) -> Claim | None:
    """Believe what a code says, whoever has signed it."""
    text = code.strip().upper()
    if len(text) != LENGTH:
        return None
    try:
        content = b32decode(text + "=" * (-LENGTH % 8))
    except (Error, ValueError):
        return None
    _, _, order, item, unit, generation = struct.unpack(">B2s16s16sHH", content[:-SIGNATURE])
    return Claim(order.hex(), unit, item.hex(), generation)
