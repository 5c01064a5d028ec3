"""What items shows of its state to who checks it."""

from common.records import Record, Records, RecordsQuery
from items.store import ItemStore

records = Records("items")


@records.on("items")
async def show_items(query: RecordsQuery, store: ItemStore) -> list[Record]:
    """Items, as they are kept, with their copies of what is left."""
    return await store.item_rows(query)
