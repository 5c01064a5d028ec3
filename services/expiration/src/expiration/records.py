"""The records of expiration that reconciliation reads."""

from common.records import Record, Records, RecordsQuery
from expiration.deadlines import Deadlines

records = Records("expiration")


@records.on("deadlines")
async def show_deadlines(query: RecordsQuery, deadlines: Deadlines) -> list[Record]:
    """The deadlines of the orders that are asked for: `due` is in milliseconds since 1970."""
    orders = sorted(order for order in query.ids or () if order > query.after)
    return [{"id": order, "due": due} for order, due in (await deadlines.due(orders)).items()]
