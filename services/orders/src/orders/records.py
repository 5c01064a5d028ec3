"""What orders shows of its state to who checks it."""

from common.records import Books, Page, Rows
from orders.store import OrderStore

books = Books("orders")


@books.on("orders")
async def show_orders(page: Page, store: OrderStore) -> Rows:
    """Orders, as they are kept."""
    return await store.order_rows(page)


@books.on("stock")
async def show_stock(page: Page, store: OrderStore) -> Rows:
    """Stock, each with what its orders have of it."""
    return await store.stock_rows(page)
