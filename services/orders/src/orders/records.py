"""What orders shows of its state to who checks it."""

from common.records import Record, Records, RecordsQuery
from orders.store import OrderStore

records = Records("orders")


@records.on("orders")
async def show_orders(query: RecordsQuery, store: OrderStore) -> list[Record]:
    """Orders, as they are kept."""
    return await store.order_rows(query)


@records.on("stock")
async def show_stock(query: RecordsQuery, store: OrderStore) -> list[Record]:
    """Stock, each with what its orders have of it."""
    return await store.stock_rows(query)
