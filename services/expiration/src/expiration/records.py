"""What expiration shows of its state to who checks it."""

from common.records import Books, Page, Rows
from expiration.deadlines import Deadlines

books = Books("expiration")


@books.on("deadlines")
async def show_deadlines(page: Page, deadlines: Deadlines) -> Rows:
    """The deadlines of the orders that are asked for: `due` is in milliseconds since 1970."""
    orders = sorted(order for order in page.ids or () if order > page.after)
    return [{"id": order, "due": due} for order, due in (await deadlines.due(orders)).items()]
