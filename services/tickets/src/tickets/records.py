"""The records of tickets that reconciliation reads."""

from common.records import Record, Records, RecordsQuery
from tickets.store import BookingStore

records = Records("tickets")


@records.on("bookings")
async def show_bookings(query: RecordsQuery, bookings: BookingStore) -> list[Record]:
    """The tickets of each order, as they are stored."""
    return await bookings.records(query)


@records.on("changes")
async def show_changes(query: RecordsQuery, bookings: BookingStore) -> list[Record]:
    """Which orders' tickets were written since a mark."""
    return await bookings.changes(query)
