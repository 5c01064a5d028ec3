"""What items shows of its state to who checks it."""

from common.records import Books, Page, Rows
from items.store import ItemStore

books = Books("items")


@books.on("items")
async def show_items(page: Page, store: ItemStore) -> Rows:
    """Items, as they are kept, with their copies of what is left."""
    return await store.item_rows(page)
