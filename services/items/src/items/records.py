"""The records of items that reconciliation reads."""

from common.records import Record, Records, RecordsQuery
from items.store import ItemStore

records = Records("items")


@records.on("items")
async def show_items(query: RecordsQuery, store: ItemStore) -> list[Record]:
    """Items, as they are stored, with their copies of the available units."""
    return await store.item_records(query)


@records.on("changes")
async def show_changes(query: RecordsQuery, store: ItemStore) -> list[Record]:
    """Which items were written since a mark."""
    return await store.changes(query)
