"""Items and the names of their sellers in MongoDB. The files of pictures are in `picture_store.py`."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import DESCENDING, UpdateOne
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from common.batching import Batcher
from common.errors import StaleWrite, Unauthenticated, Unavailable
from common.events import ItemKind, ItemStatus, StockChanged
from common.ids import new_id
from common.mongo.client import (
    AWAY,
    WITHOUT_PENDING,
    Database,
    Document,
    look_up,
    newest,
    write_all,
    write_unless_there,
)
from common.mongo_records import changes_in, records_in
from common.outbox import Outbox, Relay
from common.polling import found_within
from common.records import Record, RecordsQuery
from common.repeated import repeated
from items.domain import Item, ItemNotFound, PictureNotFound
from items.memory import ItemMemory, Versions
from items.picture_store import PictureStore
from items.pictures import Sizes
from items.search import words_of

log = logging.getLogger(__name__)

ORPHAN_AGE = timedelta(hours=1)
"""Pictures that are older than this and that no item names are orphans."""

SWEEP_SECONDS = 3600.0
"""Seconds between two sweeps."""

SWEEP_PAGE = 500
"""Pictures that a sweep reads at a time."""

WITHDRAWN_AT_ONCE = 100
"""Items of an erased seller that are withdrawn together."""

LIVING = {"erased": {"$exists": False}}
"""Sellers that have not deleted their account."""

UNNAMED = {"$unset": {"seller_name": "", "seller_words": ""}}

EFFECT_TIMEOUT = 2.0
"""Seconds that the answer to an edit waits at most until the edit is in effect."""


class ItemStore:
    """Stores items.

    The collection `sellers` is a projection of the registered users: {_id: user, name}, or {_id: user, erased: true}.
    """

    def __init__(self, db: Database, relay: Relay, memory: ItemMemory | None = None) -> None:
        """What it changes is dropped from the `memory`."""
        self._items = db.items
        self._sellers = db.sellers
        self._files = PictureStore(db)
        self._outbox = Outbox(db.items, relay)
        self._memory = memory or ItemMemory()
        self._find_item = look_up(db.items)
        self._find_seller = look_up(db.sellers)
        self._newest_item = newest(db.items, "stock_version")
        self._show_stock: Batcher[StockChanged, None] = Batcher(self._write_stock, shared=AWAY)

    async def prepare(self) -> None:
        """Create an index for each query."""
        await self._items.create_index([("status", 1), ("_id", DESCENDING)], name="newest")
        await self._items.create_index([("seller_id", 1), ("_id", DESCENDING)], name="newest_of_seller")
        with_key = {"request_key": {"$exists": True}}
        await self._items.create_index(
            [("seller_id", 1), ("request_key", 1)], name="key_of_seller", unique=True, partialFilterExpression=with_key
        )

    async def look_at(self, item_id: str) -> Document:
        """The document of an item, listed or withdrawn. Do not change it: concurrent callers may get the same one.

        Concurrent calls share one query. Raises `ItemNotFound`.
        """
        if document := await self._find_item(item_id):
            return document
        raise ItemNotFound("there is no such item")

    async def look_at_as(self, item_id: str, viewer_id: str | None) -> Document:
        """As `look_at`; what is not published is there for its seller alone."""
        document = await self.look_at(item_id)
        if document.get("published", True) or document["seller_id"] == viewer_id:
            return document
        raise ItemNotFound("there is no such item")

    async def get(self, item_id: str) -> Item:
        """The item. Raises `ItemNotFound`."""
        return Item.from_document(await self.look_at(item_id))

    async def fill_in_words(self) -> None:
        """Give items of older versions by what they are found, and when they are over."""
        old_ones = {"$or": [{"words": {"$exists": False}}, {"kind": ItemKind.EVENT, "over_at": {"$exists": False}}]}
        while old := await self._items.find(old_ones, WITHOUT_PENDING).limit(SWEEP_PAGE).to_list():
            await write_all(self._items, [_found_by(item) for item in map(Item.from_document, old)])
        named = {"seller_name": {"$ne": None}, "seller_words": {"$exists": False}}
        for name in await self._items.distinct("seller_name", named):
            await self._items.update_many({**named, "seller_name": name}, {"$set": _named(name)})

    async def item_records(self, query: RecordsQuery) -> list[Record]:
        """Items, for reconciliation."""
        return await records_in(self._items, query, "quantity", "status", "version", "available", "stock_version")

    async def changes(self, query: RecordsQuery) -> list[Record]:
        """What was written, for reconciliation."""
        return await changes_in(query, items=self._items)

    async def add(self, item: Item) -> Item:
        """Save a new item, with its seller's name if that has arrived. Returns it as its seller is to see it.

        Under an Idempotency-Key that was used before, nothing is saved, and it is the item as it was listed then.
        Raises `IdempotencyKeyReused`, and `Unauthenticated` for a seller whose account is deleted.
        """
        self._outbox.relay.check_room()
        if name := await self._seller_name(item.seller_id):
            item.seller_name, item.seller_words = name, tuple(words_of(name))
        try:
            await self._outbox.save(item)
        except DuplicateKeyError:
            return item.as_listed_first(await self._under_key(item))
        self._memory.changed(item.id, Versions(item=item.version))
        if item.seller_name is None and (name := await self._seller_name(item.seller_id)):
            # It arrived between the two steps: either we or `name_seller` saw the other's write.
            await self._fill_in(item.seller_id, name)
        return item

    async def change(self, item_id: str, decide: Callable[[Item], None], *, command: bool = True) -> Item:
        """Let `decide` change the item and save it, as `Outbox.update` does. Raises `ItemNotFound`, too."""
        item = await self._outbox.update(lambda: self.get(item_id), decide, command=command)
        self._memory.changed(item_id, Versions(item=item.version))
        return item

    async def once_in_effect(self, item: Item) -> Item:
        """The item once orders sells by it. After `EFFECT_TIMEOUT`, the item although it is not yet in effect."""

        async def followed() -> int | None:
            version = (await self.look_at(item.id)).get("followed_version", 0)
            return version if version >= item.awaited_version else None

        item.followed_version = await found_within(EFFECT_TIMEOUT, followed) or item.followed_version
        return item

    async def picture(self, item_id: str, picture_id: str, size: str) -> bytes:
        """A WebP file. Raises `PictureNotFound`."""
        if content := await self._files.read((picture_id, item_id), size):
            return content
        raise PictureNotFound("there is no such picture")

    async def check_picture(self, item_id: str, picture_id: str, size: str) -> None:
        """Raise `PictureNotFound` if there is no such file. Does not read it."""
        if not await self._files.exists((picture_id, item_id), size):
            raise PictureNotFound("there is no such picture")

    async def add_picture(self, item_id: str, caller_id: str, sizes: Sizes) -> Item:
        """Store the files of a new picture, then add it to its item. If that fails, the sweep deletes the files."""
        picture_id = new_id()
        await self._files.write((picture_id, item_id), sizes)
        return await self.change(item_id, lambda item: item.add_picture(caller_id, picture_id))

    async def remove_picture(self, item_id: str, caller_id: str, picture_id: str) -> Item:
        """Take a picture from its item, then delete its files."""
        item = await self.change(item_id, lambda item: item.remove_picture(caller_id, picture_id))
        with suppress(*AWAY):  # The sweep will do it.
            await self._files.delete((picture_id, item_id))
        return item

    def sweeping(self) -> AbstractAsyncContextManager[None]:
        """Sweep in the background, now and every `SWEEP_SECONDS`."""
        return repeated(self._sweep_once, SWEEP_SECONDS)

    async def _sweep_once(self, over: asyncio.Event) -> None:
        try:
            await self.fill_in_words()
            await self.sweep(over)
        except AWAY as error:
            log.warning("could not sweep; it goes on in %s s: %s", SWEEP_SECONDS, error)
        except Exception:
            log.exception("sweeping failed; it goes on in %s s", SWEEP_SECONDS)

    async def sweep(self, over: asyncio.Event | None = None, grace: timedelta = ORPHAN_AGE) -> int:
        """Delete the files of pictures older than `grace` that no item names, until `over`; return how many."""
        before, last, swept = datetime.now(UTC) - grace, None, 0
        while pictures := await self._files.page(after=last, before=before, limit=SWEEP_PAGE):
            if over and over.is_set():
                break
            last = pictures[-1]
            items = {"_id": {"$in": list({item_id for _, item_id in pictures})}}
            named = {
                name async for item in self._items.find(items, {"pictures": 1}) for name in item.get("pictures", ())
            }
            for picture in pictures:
                if picture[0] not in named:
                    await self._files.delete(picture)
                    swept += 1
        return swept

    async def name_seller(self, seller_id: str, name: str) -> None:
        """Store the name for new items, and fill it in on items that lack it; nothing for an erased seller."""
        named = UpdateOne({"_id": seller_id, **LIVING}, {"$set": {"name": name}}, upsert=True)
        if await write_unless_there(self._sellers, named):
            await self._fill_in(seller_id, name)

    async def forget_seller(self, seller_id: str) -> None:
        """Remember only that they are erased, take their name from their items, and withdraw these."""
        await self._sellers.replace_one({"_id": seller_id}, {"erased": True}, upsert=True)
        if (await self._items.update_many({"seller_id": seller_id}, UNNAMED)).modified_count:
            self._memory.forget_seller(seller_id)
        left = {"seller_id": seller_id, "status": {"$ne": ItemStatus.WITHDRAWN}}
        while found := await self._items.find(left, {"_id": 1}).limit(WITHDRAWN_AT_ONCE).to_list():
            await asyncio.gather(*(self._withdraw(item["_id"], seller_id) for item in found))

    async def show_stock(self, event: StockChanged) -> None:
        """Show the available units, unless newer ones are shown already. Concurrent calls share one write."""
        await self._show_stock(event)
        self._memory.receive(event)

    async def _under_key(self, item: Item) -> Item:
        """The item that is listed under the key of this one, once the majority has it."""
        linearizable = self._items.with_options(read_concern=ReadConcern("linearizable"))
        wanted = {"seller_id": item.seller_id, "request_key": item.request_key}
        if document := await linearizable.find_one(wanted, WITHOUT_PENDING):
            return Item.from_document(document)
        raise Unavailable("this item is just being listed; try again in a moment")

    async def _withdraw(self, item_id: str, seller_id: str) -> None:
        await self.change(item_id, lambda item: item.withdraw(seller_id), command=False)

    async def _seller_name(self, seller_id: str) -> str | None:
        seller = await self._find_seller(seller_id)
        if seller and seller.get("erased"):
            raise Unauthenticated("this account is not there any more")
        return seller["name"] if seller else None

    async def _fill_in(self, seller_id: str, name: str) -> None:
        unnamed = {"seller_id": seller_id, "seller_name": None}
        if (await self._items.update_many(unnamed, {"$set": _named(name)})).modified_count:
            self._memory.forget_seller(seller_id)

    async def _write_stock(self, events: Sequence[StockChanged]) -> list[StaleWrite | None]:
        latest = {event.item_id: event for event in sorted(events, key=lambda event: event.stock_version)}
        written = await write_all(self._items, [_copy_of(event) for event in latest.values()])
        if written.matched_count == len(latest):
            return [None] * len(events)
        return await asyncio.gather(*(self._not_shown(event) for event in events))

    async def _not_shown(self, event: StockChanged) -> StaleWrite | None:
        """An error if the item does not show this event or a newer one: a deposed primary did not have the item."""
        item = await self._newest_item(event.item_id)
        if item is None or item["stock_version"] >= event.stock_version:
            return None
        return StaleWrite("the item was not there yet; try again")


class ProjectionStore:
    """The copies of other services' facts, as the projections' command reads and repairs them."""

    def __init__(self, db: Database) -> None:
        self._items = db.items
        self._sellers = db.sellers

    async def seller_names(self) -> dict[str, str | None]:
        """The stored name of each seller; None for an erased one."""
        return {d["_id"]: d.get("name") async for d in self._sellers.find({})}

    async def remove_seller(self, seller_id: str, found: Mapping[str, Any]) -> None:
        """Remove a seller, unless it is no longer as it was `found`."""
        await self._sellers.delete_one({"_id": seller_id, **found})

    async def name_seller(self, seller_id: str, name: str, found: Mapping[str, Any] | None) -> None:
        """Set a seller's name, here and on the items, unless it is no longer as it was `found`."""
        guard = {"_id": seller_id, **LIVING, **(found or {"name": name})}
        with suppress(DuplicateKeyError):  # A consumer stored it meanwhile.
            await self._sellers.update_one(guard, {"$set": {"name": name}}, upsert=found is None)
        await self._items.update_many({"seller_id": seller_id}, {"$set": _named(name)})

    async def forget_seller(self, seller_id: str) -> None:
        """As `ItemStore.forget_seller`, without withdrawing anything."""
        await self._sellers.replace_one({"_id": seller_id}, {"erased": True}, upsert=True)
        await self._items.update_many({"seller_id": seller_id}, UNNAMED)

    async def available(self) -> dict[str, Document]:
        """The copied stock of each item for which a stock event has arrived."""
        copies = {"available": 1, "stock_version": 1, "followed_version": 1}
        known = self._items.find({"stock_version": {"$ne": 0}}, copies)
        return {d.pop("_id"): {"followed_version": 0, **d} async for d in known}

    async def show_available(self, item_id: str, found: Mapping[str, Any] | None, expected: Mapping[str, Any]) -> None:
        """Set the copied stock of an item, unless another event was copied since it was `found`."""
        guard = {"_id": item_id, "stock_version": found["stock_version"] if found else 0}
        await self._items.update_one(guard, {"$set": dict(expected)})


def _copy_of(event: StockChanged) -> UpdateOne:
    change: dict[str, Any] = {"$set": {"available": event.available, "stock_version": event.stock_version}}
    if event.item_version is not None:
        change["$max"] = {"followed_version": event.item_version}
    return UpdateOne({"_id": event.item_id, "stock_version": {"$lt": event.stock_version}}, change)


def _found_by(item: Item) -> UpdateOne:
    found = {name: value for name, value in item.found_by().items() if value is not None}
    return UpdateOne({"_id": item.id, "version": item.version}, {"$set": found})


def _named(seller: str) -> Document:
    return {"seller_name": seller, "seller_words": words_of(seller)}
