"""The lists of items: which there are, in each order, and how many."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bson.regex import Regex
from cachetools import TTLCache
from pymongo import DESCENDING

from common.batching import Batcher
from common.mongo.client import AWAY, WITHOUT_PENDING, Database, Document
from items.search import Sort, Wanted, begins, near, relevance

INDEXES = {
    "price": [("status", 1), ("price", 1), ("_id", DESCENDING)],
    "soonest": [("status", 1), ("starts_at", 1), ("_id", DESCENDING)],
    "category": [("status", 1), ("category", 1), ("_id", DESCENDING)],
    "city": [("status", 1), ("city_key", 1), ("_id", DESCENDING)],
    "found_by": [("words", 1)],
    "found_by_name": [("names", 1)],
    "found_by_seller": [("seller_words", 1)],
}
"""Those of the lists that are not simply newest first, and of words."""

LISTED_IN = {
    Sort.NEWEST: ("_id", DESCENDING),
    Sort.SOONEST: ("starts_at", 1),
    Sort.PRICE: ("price", 1),
    Sort.PRICE_DOWN: ("price", DESCENDING),
    Sort.RELEVANCE: ("relevance", DESCENDING),
}
"""The field that each order is by, and its direction."""

MOST_COUNTED = 10_000
MOST_FOUND = 1_000
"""Items that are counted at most, in all and for each facet: of all, and of those that a search finds."""

MOST_RANKED = 1_000
"""Items that are sorted by relevance at most: the newest."""

MOST_FACETS = 20

FACETS_AGE = 5.0
"""Seconds for which a process gives the same counts for the same list."""

KNOWN_AGE = 30.0
"""Seconds after which a process reads again which words there are, for words with mistakes."""


FACETS = {"category": "category", "city": "city_key", "kind": "kind"}
"""Facets, and by which field each groups items."""

UNSEEN = ("words", "names", "seller_words", "city_key")
"""Fields that only searches look at."""

SEEN = {**WITHOUT_PENDING, **dict.fromkeys(UNSEEN, 0)}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items a list has, and how many there would be for each value of a facet, most first."""

    total: int
    facets: Mapping[str, Mapping[str, int]]


class CatalogueStore:
    """Finds items. It reads what `ItemStore` has written, so it is never behind."""

    def __init__(self, db: Database) -> None:
        self._items = db.items
        self._counts: Batcher[Wanted, Counts] = Batcher(self._count, shared=AWAY)
        self._counted: TTLCache[Wanted, Counts] = TTLCache(maxsize=1_000, ttl=FACETS_AGE)
        self._names: Sequence[str] = ()
        self._sellers: Sequence[str] = ()
        self._known_until = 0.0

    async def prepare(self) -> None:
        """Create the indexes."""
        for name, fields in INDEXES.items():
            await self._items.create_index(fields, name=name)

    async def page(self, wanted: Wanted, limit: int, after: Document | None = None) -> list[Document]:
        """The first wanted items after that one, of which `_id` and the sort's field count."""
        if wanted.nobody:
            return []
        field, direction = LISTED_IN[wanted.sort]
        query = await self._matching(wanted)
        later = _later(field, direction, after) if after else {}
        if wanted.sort is Sort.RELEVANCE:
            ranked: list[Document] = [
                {"$match": query},
                {"$sort": {"_id": DESCENDING}},
                {"$limit": MOST_RANKED},
                {"$set": {"relevance": relevance(wanted.words)}},
                {"$match": later},
                {"$sort": {"relevance": DESCENDING, "_id": DESCENDING}},
                {"$limit": limit},
                {"$unset": ["pending", *UNSEEN]},
            ]
            return [document async for document in await self._items.aggregate(ranked)]
        order = [("_id", DESCENDING)] if field == "_id" else [(field, direction), ("_id", DESCENDING)]
        return await self._items.find({"$and": [query, later]}, SEEN).sort(order).limit(limit).to_list()

    async def facets(self, wanted: Wanted) -> Counts:
        """How many items are wanted, and how many there would be for each other value of a facet.

        Up to `MOST_COUNTED` or `MOST_FOUND`, and up to `FACETS_AGE` seconds old. Concurrent calls share the work.
        """
        return await self._counts(replace(wanted, sort=Sort.NEWEST))

    async def _count(self, each: Sequence[Wanted]) -> list[Counts | BaseException]:
        wanted = list(dict.fromkeys(each))
        counts = await asyncio.gather(*map(self._counts_of, wanted), return_exceptions=True)
        known = dict(zip(wanted, counts, strict=True))
        return [known[one] for one in each]

    async def _counts_of(self, wanted: Wanted) -> Counts:
        if (known := self._counted.get(wanted)) is None:
            total, facets = await asyncio.gather(
                self._total(wanted), asyncio.gather(*(self._facet(wanted, name) for name in FACETS))
            )
            known = self._counted[wanted] = Counts(total, dict(zip(FACETS, facets, strict=True)))
        return known

    async def _total(self, wanted: Wanted) -> int:
        if wanted.nobody:
            return 0
        return await self._items.count_documents(await self._matching(wanted), limit=_most(wanted))

    async def _facet(self, wanted: Wanted, name: str) -> dict[str, int]:
        if wanted.nobody:
            return {}
        field = FACETS[name]
        stages: list[Document] = [
            {"$match": await self._matching(wanted, but=name)},
            {"$limit": _most(wanted)},
            {"$group": {"_id": f"${field}", "name": {"$min": f"${name}"}, "items": {"$sum": 1}}},
            {"$match": {"_id": {"$ne": None}}},
            {"$sort": {"items": DESCENDING, "_id": 1}},
            {"$limit": MOST_FACETS},
        ]
        return {group["name"]: group["items"] async for group in await self._items.aggregate(stages)}

    async def _matching(self, wanted: Wanted, *, but: str = "") -> Document:
        """The query for what is wanted, but the facet `but`."""
        facts = wanted.facts(but=but)
        if not wanted.words:
            return facts
        await self._learn_words()
        words = [
            _matching(word, near(word, self._names), of_seller=begins(word, self._sellers)) for word in wanted.words
        ]
        return {"$and": [facts, *words]}

    async def _learn_words(self) -> None:
        """Read which words there are in titles and places, and in sellers' names, at most every `KNOWN_AGE` seconds."""
        if time.monotonic() < self._known_until:
            return
        self._known_until = time.monotonic() + KNOWN_AGE  # Others go on with the old ones meanwhile.
        self._names = sorted(filter(None, await self._items.distinct("names")))
        self._sellers = sorted(filter(None, await self._items.distinct("seller_words")))


def _matching(word: str, others: Iterable[str], *, of_seller: bool) -> Document:
    """The query for items that have a word which begins with `word`, or one of the `others`.

    With `of_seller`, the seller's name counts, too.
    """
    wanted = {"$in": [Regex(f"^{word}"), *others]}  # Python's own would come with a flag that keeps it from the index.
    return {"$or": [{"words": wanted}, {"seller_words": wanted}]} if of_seller else {"words": wanted}


def _most(wanted: Wanted) -> int:
    return MOST_FOUND if wanted.words else MOST_COUNTED


def _later(field: str, direction: int, after: Document) -> Document:
    """The query for what comes after a document in a list by this field, and newest first where that is equal."""
    older = {"_id": {"$lt": after["_id"]}}
    if field == "_id":
        return older
    beyond = "$gt" if direction == 1 else "$lt"
    return {"$or": [{field: {beyond: after[field]}}, {field: after[field], **older}]}
