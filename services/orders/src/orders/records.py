"""The records of orders that reconciliation reads."""

from common.records import Record, Records, RecordsQuery
from orders.store import OrderStore

records = Records("orders")


@records.on("orders")
async def show_orders(query: RecordsQuery, store: OrderStore) -> list[Record]:
    """Orders, as they are stored."""
    return await store.order_records(query)


@records.on("stock")
async def show_stock(query: RecordsQuery, store: OrderStore) -> list[Record]:
    """Stock, each with the units that its orders hold and have bought."""
    return await store.stock_records(query)


@records.on("changes")
async def show_changes(query: RecordsQuery, store: OrderStore) -> list[Record]:
    """Which orders and stock were written since a mark."""
    return await store.changes(query)
