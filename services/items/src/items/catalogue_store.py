"""The lists of items: which there are, in each order, and how many."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import ceil, inf, prod

from bson.regex import Regex
from cachetools import TTLCache
from pymongo import DESCENDING

from common.batching import Batcher
from common.mongo.client import AWAY, WITHOUT_PENDING, Database, Document
from items.index.feed import IndexFeed
from items.search import (
    BUYABLE,
    FACETS,
    MOST_FACETS,
    SAMPLED,
    SHOWN,
    Counts,
    Sample,
    Sort,
    Wanted,
    begins,
    near,
    relevance,
)

Fields = list[tuple[str, int]]


def _counted(*list_of: tuple[str, int]) -> Fields:
    """An index of a list, newest first, with all that facets need: counting opens no item."""
    order = [("status", 1), *list_of, ("_id", DESCENDING)]
    facts = ("category", "city_key", "city", "kind", "over_at")
    return order + [(name, 1) for name in facts if (name, 1) not in list_of]


INDEXES: dict[str, Fields] = {
    "price_in_currency": [("status", 1), ("currency", 1), ("price", 1), ("_id", DESCENDING)],
    "price_down_in_currency": [("status", 1), ("currency", 1), ("price", DESCENDING), ("_id", DESCENDING)],
    "soonest": [("status", 1), ("starts_at", 1), ("_id", DESCENDING)],
    "soonest_in_city": [("status", 1), ("city_key", 1), ("starts_at", 1), ("_id", DESCENDING)],
    # The revision before counted by `category` and `city`, which have none of that.
    "counted": _counted(),
    "counted_in_category": _counted(("category", 1)),
    "counted_in_city": _counted(("city_key", 1)),
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

BY_CURRENCY = (Sort.PRICE, Sort.PRICE_DOWN)
"""Orders in which each currency is a list of its own, one after the other: 45 EUR are not less than 5,000 JPY.

A city has no index of its own in them: along it the items of other cities are passed by.
"""

MOST_COUNTED = 10_000
MOST_FOUND = 1_000
"""Items that are counted at most, in all and for each facet: of all, and of those that a search finds."""

MOST_RANKED = 1_000
FEWEST_RANKED = 200
"""Items that are sorted by relevance at most, the newest; and at least, of words that so many have."""

MOST_LOOKED_AT = 4_000
"""Items of a list that are looked at for frequent words, before those that have the rarest word are."""

AMPLE = 2
"""How many times as many items of a list are looked at as a sample says that are enough for a page."""

FREQUENT = 0.2
"""The share of items from which on words are frequent."""

MOST_SAMPLED = 500
"""Items, the newest, that tell which words are frequent."""

APART: Document = {"$limit": 2**31 - 1}
"""A stage that leaves nothing out. MongoDB chooses an index for what is before it, never for what is behind."""

FACETS_AGE = 5.0
"""Seconds for which a process gives the same counts for the same list."""

KNOWN_AGE = 30.0
"""Seconds after which a process reads again which words there are, and which are frequent."""

UNSEEN = ("words", "names", "seller_words", "city_key")
"""Fields that only searches look at."""

SEEN = {**WITHOUT_PENDING, **dict.fromkeys(UNSEEN, 0)}


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a search: the query for items that have it, and about which share of all items does."""

    query: Document
    share: float


class CatalogueStore:
    """Finds items: by the index of this process if that has all news, else MongoDB does the whole work."""

    def __init__(self, db: Database, index: IndexFeed | None = None) -> None:
        self._items = db.items
        self._index = index
        self._counts: Batcher[Wanted, Counts] = Batcher(self._count, shared=AWAY)
        self._counted: TTLCache[Wanted, Counts] = TTLCache(maxsize=1_000, ttl=FACETS_AGE)
        self._known: Sequence[str] = ()
        self._sellers: Sequence[str] = ()
        self._sample, self._size = Sample(), 0
        self._known_until = 0.0
        self._learning = asyncio.Lock()

    async def prepare(self) -> None:
        """Create the indexes."""
        for name, fields in INDEXES.items():
            await self._items.create_index(fields, name=name)
        # Where nearly all is sold out, the list that begins with the rest looks at few. An order changes no key of it.
        newest = [("status", 1), ("_id", DESCENDING)]
        await self._items.create_index(newest, name="buyable", partialFilterExpression=BUYABLE)

    async def page_with_sold_out_last(
        self, wanted: Wanted, limit: int, after: Document | None, in_sold_out: bool
    ) -> list[Document]:
        """Like `page`, but all that can be bought comes before all that cannot; `in_sold_out` says where `after` is."""
        first: list[Document] = []
        if not in_sold_out:
            first = await self.page(replace(wanted, available=True), limit, after)
        if wanted.available or len(first) == limit:
            return first
        rest = await self.page(replace(wanted, sold_out=True), limit - len(first), after if in_sold_out else None)
        shown = {item["_id"] for item in first}  # One may have sold out since.
        return [*first, *(item for item in rest if item["_id"] not in shown)]

    async def page(self, wanted: Wanted, limit: int, after: Document | None = None) -> list[Document]:
        """The first wanted items after that one, of which `_id` and the sort's field count."""
        if wanted.nobody:
            return []
        if wanted.words and (found := await self._by_index(wanted, limit, after)) is not None:
            return found
        field, direction = LISTED_IN[wanted.sort]
        by_currency = wanted.sort in BY_CURRENCY
        later = _later(field, direction, after) if after else {}
        if after and by_currency:
            later = {"$or": [{"currency": {"$gt": after["currency"]}}, {"currency": after["currency"], **later}]}
        words = await self._words(wanted)
        if wanted.sort is Sort.RELEVANCE:
            ranked: list[Document] = [
                {"$limit": MOST_RANKED},
                {"$set": {"relevance": relevance(wanted.words)}},
                {"$match": later},
                {"$sort": {"relevance": DESCENDING, "_id": DESCENDING}},
                {"$limit": limit},
            ]
            return await self._found(wanted, words, wanted.facts(), {"_id": DESCENDING}, limit, ranked)
        order = {**({"currency": 1} if by_currency else {}), field: direction, "_id": DESCENDING}
        facts = {"$and": [wanted.facts(), later]}
        if words:
            return await self._found(wanted, words, facts, order, limit, [{"$limit": limit}])
        return await self._items.find(facts, SEEN).sort(list(order.items())).limit(limit).to_list()

    async def _index_for(self, wanted: Wanted) -> IndexFeed | None:
        """The index, if it can tell what is wanted: sellers' own lists have more than it."""
        return self._index if self._index and not wanted.hidden_too and await self._index.up_to_date() else None

    async def _by_index(self, wanted: Wanted, limit: int, after: Document | None) -> list[Document] | None:
        """What the index says, as MongoDB has it. None if it can't tell, or lacks what has changed since."""
        if not (index := await self._index_for(wanted)):
            return None
        hits = await index.ask(lambda engine: engine.find(wanted, limit, MOST_RANKED, after))
        query = {"_id": {"$in": [hit.item_id for hit in hits]}, **wanted.facts()}
        found = {item["_id"]: item for item in await self._items.find(query, SEEN).to_list()}
        if len(found) < len(hits) == limit:
            return None
        order = {"relevance": 0} if wanted.sort is Sort.RELEVANCE else {}
        return [found[id_] | dict.fromkeys(order, fits) for id_, fits in hits if id_ in found]

    async def _found(
        self,
        wanted: Wanted,
        words: Sequence[Word],
        facts: Document,
        order: Document,
        limit: int,
        rest: Sequence[Document],
    ) -> list[Document]:
        """Items with these words, in an order, after the stages of the `rest`, which leave `limit` of them.

        MongoDB would use for all words what was good for the first ones. So it chooses only among indexes that are
        good: those of the list for words that many items have, and the index of words for others.
        """
        both = {"$match": _both(facts, words)}
        ends = [*rest, {"$unset": ["pending", *UNSEEN]}]
        share, narrowed = _share(words), self._sample.share_of(wanted.facts())
        if _frequent(words, narrowed):
            return await self._read([both, {"$sort": order}, *ends])
        fewest = FEWEST_RANKED if wanted.sort is Sort.RELEVANCE else limit
        within = self._sample.share_of(wanted.facts(but="" if wanted.sort in BY_CURRENCY else "city"))
        if fewest / share / within <= min(MOST_LOOKED_AT, self._size * words[0].share):
            # MongoDB reads ahead as far as it may. A ranking is of all that it finds, other orders need a page.
            enough = inf if wanted.sort is Sort.RELEVANCE else AMPLE * fewest / share
            looked_at = {"$limit": ceil(min(MOST_LOOKED_AT * within, enough))}
            along: list[Document] = [{"$match": facts}, {"$sort": order}, looked_at, both, *ends]
            if len(found := await self._read(along)) >= limit:
                return found
        return await self._read([{"$match": words[0].query}, APART, both, {"$sort": order}, *ends])

    async def _read(self, stages: Sequence[Document]) -> list[Document]:
        return await (await self._items.aggregate(stages)).to_list()

    async def facets(self, wanted: Wanted) -> Counts:
        """How many items are wanted, and how many there would be for each other value of a facet.

        Up to `MOST_COUNTED` or `MOST_FOUND`, and up to `FACETS_AGE` seconds old. Concurrent calls share the work.
        """
        return await self._counts(_of_any_order(wanted))

    async def _count(self, each: Sequence[Wanted]) -> list[Counts | BaseException]:
        wanted = list(dict.fromkeys(each))
        counts = await asyncio.gather(*map(self._counts_of, wanted), return_exceptions=True)
        known = dict(zip(wanted, counts, strict=True))
        return [known[one] for one in each]

    async def _counts_of(self, wanted: Wanted) -> Counts:
        if wanted.nobody:
            return Counts(0, False, {name: {} for name in FACETS})
        if (known := self._counted.get(wanted)) is None:
            # A facet that is chosen is of a longer list: of what there would be without that choice.
            chosen = [name for name in FACETS if getattr(wanted, name) is not None]
            lists = [("", [name for name in FACETS if name not in chosen]), *((name, [name]) for name in chosen)]
            whole, *others = await self._counts_but(wanted, MOST_FOUND if wanted.words else MOST_COUNTED, lists)
            facets = whole.facets | {name: other.facets[name] for name, other in zip(chosen, others, strict=True)}
            known = self._counted[wanted] = Counts(whole.total, whole.is_bound, {name: facets[name] for name in FACETS})
        return known

    async def _counts_but(self, wanted: Wanted, most: int, lists: Sequence[tuple[str, Sequence[str]]]) -> list[Counts]:
        """For each list: how many are wanted whatever the one field is, and of which values of the other ones."""
        if index := await self._index_for(wanted):
            return await index.ask(lambda engine: [engine.count(wanted, most, names, but) for but, names in lists])
        words = await self._words(wanted)
        each = (self._grouped(words, wanted.facts(but=but), most, names) for but, names in lists)
        return await asyncio.gather(*each)

    async def _grouped(self, words: Sequence[Word], facts: Document, most: int, names: Sequence[str]) -> Counts:
        """How many match, and of each of these facets, read in one go."""
        narrow = [] if _frequent(words, self._sample.share_of(facts)) else [{"$match": words[0].query}, APART]
        groups: dict[str, list[Document]] = {
            name: [
                {"$group": {"_id": f"${FACETS[name]}", "name": {"$min": f"${name}"}, "items": {"$sum": 1}}},
                {"$match": {"_id": {"$ne": None}}},
                {"$sort": {"items": DESCENDING, "_id": 1}},
                {"$limit": MOST_FACETS},
            ]
            for name in names
        }
        counted: Document = {"total": [{"$count": "items"}], **groups}
        stages: list[Document] = [*narrow, {"$match": _both(facts, words)}, {"$limit": most}, {"$facet": counted}]
        [found] = await self._read(stages)
        total = found["total"][0]["items"] if found["total"] else 0
        facets = {name: {group["name"]: group["items"] for group in found[name]} for name in names}
        return Counts(total, total >= most, facets)

    async def _words(self, wanted: Wanted) -> list[Word]:
        """The words that are wanted, the rarest one first."""
        if wanted.words:
            await self._learn_words()
        return sorted(map(self._word, wanted.words), key=lambda word: word.share)

    def _word(self, word: str) -> Word:
        """What stands for a word: what begins so, and what it may be meant to be. Sellers' names count as well."""
        others = near(word, self._known)
        wanted = {"$in": [Regex(f"^{word}"), *others]}  # Python's own has a flag that keeps it from the index.
        either: Document = {"$or": [{"words": wanted}, {"seller_words": wanted}]}
        query = either if any(begins(one, self._sellers) for one in (word, *others)) else {"words": wanted}
        return Word(query, min(1.0, sum(map(self._sample.share_with, (word, *others)))))

    async def _learn_words(self) -> None:
        """Read which words there are in titles and places, and in sellers' names, at most every `KNOWN_AGE` seconds."""
        async with self._learning:  # A page and its counts are of the same words.
            if time.monotonic() < self._known_until:
                return
            self._known_until = time.monotonic() + KNOWN_AGE  # Before: while the server hangs, one call waits for it.
            self._sellers = sorted(filter(None, await self._items.distinct("seller_words")))
            self._known = sorted({*filter(None, await self._items.distinct("names")), *self._sellers})
            shown = {"_id": 0, **dict.fromkeys(("words", "seller_words", *SAMPLED), 1)}
            newest = self._items.find({"status": {"$in": SHOWN}}, shown).sort("_id", DESCENDING)
            self._sample = Sample(await newest.limit(MOST_SAMPLED).to_list())
            self._size = await self._items.estimated_document_count()


def _of_any_order(wanted: Wanted) -> Wanted:
    """What is counted for a list. Its times are rounded: else what is not over would be counted for each request."""
    starts_from, not_over_by = _rounded(wanted.starts_from), _rounded(wanted.not_over_by)
    return replace(wanted, sort=Sort.NEWEST, starts_from=starts_from, not_over_by=not_over_by)


def _rounded(moment: datetime | None) -> datetime | None:
    """Down to `FACETS_AGE`."""
    return moment and moment - timedelta(seconds=moment.timestamp() % FACETS_AGE)


def _share(words: Sequence[Word]) -> float:
    return prod(word.share for word in words)


def _frequent(words: Sequence[Word], narrowed: float) -> bool:
    """Whether the words' own index is of no use, since so many items have them, or less than that of the facts.

    `narrowed` is the share of items that the facts leave.
    """
    return _share(words) >= FREQUENT or words[0].share >= narrowed


def _both(facts: Document, words: Sequence[Word]) -> Document:
    return {"$and": [facts, *(word.query for word in words)]}


def _later(field: str, direction: int, after: Document) -> Document:
    """The query for what comes after a document in a list by this field, and newest first where that is equal."""
    older = {"_id": {"$lt": after["_id"]}}
    if field == "_id":
        return older
    beyond = "$gt" if direction == 1 else "$lt"
    return {"$or": [{field: {beyond: after[field]}}, {field: after[field], **older}]}
