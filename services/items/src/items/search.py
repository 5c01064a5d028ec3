"""How items are found: by the beginnings of words as people type them, with small mistakes, and by facts. No I/O.

Words are compared without case and marks. One with an umlaut counts in both of its spellings: munchen and muenchen for
München. docs/decisions/search.md says why MongoDB's own indexes answer, and has the figures.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from rapidfuzz import process
from rapidfuzz.distance import OSA

from common.events import Category, Currency, ItemKind, ItemStatus

Query = dict[str, Any]

MOST_WORDS = 8
"""Words of a search that count."""

MOST_INDEXED = 300
"""Words of an item by which it is found. Those of the description come last."""

LONGEST_WORD = 40

SHOWN = [ItemStatus.LISTED, ItemStatus.PAUSED]
"""What everybody sees."""

BUYABLE: Query = {"status": ItemStatus.LISTED, "available": {"$gt": 0}}
"""What has units left, and is not paused."""

SAMPLED = ("category", "city_key", "kind", "currency")
"""The facts of a sample."""

MOST_NEAR = 8
"""Known words that may stand for one with a mistake."""

MISTAKES = ((4, 1), (8, 2))
"""From how many letters on a word may have how many mistakes: a letter too few, too many, wrong, or two swapped."""

FACETS = {"category": "category", "city": "city_key", "kind": "kind"}
"""Facets, and by which field each groups items."""

MOST_FACETS = 20
"""Values of a facet: those that most items have."""

_WORD = re.compile(r"[^\W_]+")
_PLAIN = str.maketrans({"ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th"})
_IN_TWO_LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})


class Sort(StrEnum):
    """In which order items are listed. Items that are equal in that come newest first."""

    NEWEST = "newest"
    SOONEST = "soonest"
    PRICE = "price"
    PRICE_DOWN = "-price"
    RELEVANCE = "relevance"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which items are wanted. None of a field means any. `starts_from` counts itself, `starts_before` does not.

    Each of `words` stands for itself: an item has for each a word that begins so. `nobody` is a search without words.
    """

    words: tuple[str, ...] = ()
    nobody: bool = False
    seller_id: str | None = None
    hidden_too: bool = False
    category: Category | None = None
    city: str | None = None
    kind: ItemKind | None = None
    currency: Currency | None = None
    price_min: int | None = None
    price_max: int | None = None
    starts_from: datetime | None = None
    runs_from: datetime | None = None
    """Like `starts_from`, but what began earlier and ends later counts, too."""
    starts_before: datetime | None = None
    not_over_by: datetime | None = None
    """Leaves out the events that are over at this time."""
    available: bool = False
    sold_out: bool = False
    """Only what is not `available`."""
    sort: Sort = Sort.NEWEST

    def facts(self, *, but: str = "") -> Query:
        """The query for all but the words, and but the field `but`."""
        query: Query = {} if self.hidden_too else {"status": {"$in": SHOWN}}
        for name in ("seller_id", "category", "kind", "currency"):
            if name != but and (value := getattr(self, name)) is not None:
                query[name] = value
        if self.city and but != "city":
            query["city_key"] = key_of(self.city)
        if price := _between("$gte", self.price_min, "$lte", self.price_max):
            query["price"] = price
        if start := _between("$gte", self.starts_from, "$lt", self.starts_before):
            query["starts_at"] = start
        if self.not_over_by:
            query["over_at"] = {"$not": {"$lte": self.not_over_by}}  # Also what has no such time.
        if self.runs_from:
            query["$or"] = [{"starts_at": {"$gte": self.runs_from}}, {"ends_at": {"$gt": self.runs_from}}]
        if self.available:
            query |= BUYABLE
        if self.sold_out:
            query["$nor"] = [BUYABLE]
        return query


@dataclass(frozen=True, slots=True)
class Counts:
    """How many items a list has, and how many there would be for each value of a facet, most first."""

    total: int
    is_bound: bool
    """Whether counting stopped there: there may be more."""
    facets: dict[str, dict[str, int]]


def _between(least: str, low: object, most: str, high: object) -> Query:
    return {operator: bound for operator, bound in ((least, low), (most, high)) if bound is not None}


def buyable(item: Query) -> bool:
    """Whether an item, as it was read, is `BUYABLE`."""
    return bool(item["status"] == ItemStatus.LISTED and item["available"] > 0)


def words_of(*texts: str | None) -> list[str]:
    """The words of some texts in each spelling, first ones first, each once."""
    found = _WORD.findall(unicodedata.normalize("NFC", " ".join(text for text in texts if text)).casefold())
    return list(dict.fromkeys(spelling for word in found for spelling in _spellings(word)))[:MOST_INDEXED]


def searched(text: str) -> tuple[str, ...]:
    """The words of a search, each in the spelling that it was typed in."""
    found = _WORD.findall(unicodedata.normalize("NFC", text).casefold())
    return tuple(dict.fromkeys(_plain(word) for word in found))[:MOST_WORDS]


def key_of(city: str) -> str:
    """Equal for a city however its name is typed: Köln, Koln and Koeln are one."""
    return re.sub("([aou])e", r"\1", " ".join(searched(city))) or city


def begins(word: str, known: Sequence[str]) -> bool:
    """Whether one of the `known` words, which are in ascending order, begins with `word`."""
    at = bisect_left(known, word)
    return at < len(known) and known[at].startswith(word)


def near(word: str, known: Sequence[str]) -> list[str]:
    """Which of the `known` words, in ascending order, `word` may be meant to be. None if one of them begins with it."""
    if begins(word, known):
        return []
    mistakes = max((most for letters, most in MISTAKES if len(word) >= letters), default=0)
    if not mistakes:
        return []
    found = process.extract(word, known, scorer=OSA.distance, score_cutoff=mistakes, limit=MOST_NEAR)
    return [match for match, _, _ in found]


class Sample:
    """How many items a search has to look at, as some items tell that stand for all."""

    def __init__(self, items: Sequence[Query] = ()) -> None:
        self._items = items
        self._words = sorted(word for item in items for word in {*item.get("words", ()), *item.get("seller_words", ())})

    def share_with(self, word: str) -> float:
        """About which share of all items has a word that begins so: above 0, at most 1."""
        found = bisect_left(self._words, f"{word}\U0010ffff") - bisect_left(self._words, word)
        return min(1.0, (found + 1) / (len(self._items) + 1))

    def share_of(self, facts: Query) -> float:
        """About which share of all items has these values of `SAMPLED`: above 0, at most 1."""
        known = {name: facts[name] for name in SAMPLED if name in facts}
        found = sum(all(item.get(name) == value for name, value in known.items()) for item in self._items)
        return (found + 1) / (len(self._items) + 1)


def relevance(words: Iterable[str]) -> Query:
    """An expression for how well an item fits: words that its title or place has count more than its description's."""
    names = {"$ifNull": ["$names", []]}
    begins = [
        {"$anyElementTrue": {"$map": {"input": names, "in": {"$eq": [{"$indexOfCP": ["$$this", word]}, 0]}}}}
        for word in words
    ]
    whole = [{"$in": [word, names]} for word in words]
    return {"$sum": [*({"$cond": [one, 2, 0]} for one in whole), *({"$cond": [one, 1, 0]} for one in begins)]}


def _spellings(word: str) -> set[str]:
    return {_plain(word), _plain(word.translate(_IN_TWO_LETTERS))}


def _plain(word: str) -> str:
    letters = unicodedata.normalize("NFKD", word.translate(_PLAIN))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))[:LONGEST_WORD]
