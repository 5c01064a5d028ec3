"""Words and facts of items in SQLite, in the memory of this process: what is wanted, in which order, and how many."""

import re
import sqlite3
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from cachetools import LRUCache

from common.events import ItemStatus, StockChanged
from items.index.sql import SCHEMA, Conditions, beyond, counting, finding, matching, meeting
from items.search import Counts, Sort, Wanted, near

Document = Mapping[str, Any]

_NO_LETTER = re.compile(r"[\x00-\x09\x0b-\x2f\x3a-\x60\x7b-\x7f]+")
"""What ends a word for SQLite, but a new line. A few letters become that, written plainly: ⑴ is (1)."""

FIELDS = (
    *("version", "stock_version", "status", "seller_id", "seller_name", "category", "city", "city_key", "kind"),
    *("currency", "price", "available", "starts_at", "ends_at", "over_at", "names", "words", "seller_words"),
)
"""The fields of an item that the index looks at."""


MOST_MEANT = 1_000
"""Words of searches of which it is kept what they may be meant to be."""


MOST_BEGUN = 60
"""Words that are looked for one by one in place of a beginning of them."""


class Hit(NamedTuple):
    """An item that was found, and how well it fits, if the order is by that."""

    item_id: str
    relevance: int


class Known(NamedTuple):
    """Which state of an item the index has."""

    version: int
    stock_version: int
    seller_name: str | None


class SearchEngine:
    """All items but withdrawn ones. Its calls block, and it is for one thread at a time."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.executescript(SCHEMA)
        self._known: dict[str, None] = {}
        self._sorted: list[str] = []
        self._words: set[str] = set()
        self._terms: list[str] = []
        self._meant: LRUCache[str, list[str]] = LRUCache(MOST_MEANT)

    def put(self, documents: Iterable[Document], *, more: bool = False) -> None:
        """Take new items and changed ones as they are now, and drop withdrawn ones.

        `more` says that more come at once: that is cheaper than to be ready for questions after each time.
        """
        for document in documents:
            if document["status"] == ItemStatus.WITHDRAWN:
                self._drop(document["_id"])
            else:
                self._put(document)
        if not more:
            self._db.commit()

    def show_stock(self, events: Iterable[StockChanged]) -> None:
        """Take the available units, unless newer ones are known."""
        changes = [(event.available, event.stock_version, event.item_id, event.stock_version) for event in events]
        with self._db:
            self._db.executemany("UPDATE facts SET available = ?, stock = ? WHERE id = ? AND stock < ?", changes)

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Which of these items the index has, and in which state."""
        query = f"SELECT id, version, stock, seller_name FROM facts WHERE id IN ({_marks(ids)})"  # noqa: S608 - question marks  # nosec B608
        rows = self._db.execute(query, ids)
        return {item_id: Known(*state) for item_id, *state in rows}

    def find(self, wanted: Wanted, limit: int, most_ranked: int, after: Document | None = None) -> list[Hit]:
        """The first wanted items after that one, of which `_id` and the sort's field count."""
        conditions = self._conditions(wanted)
        place = beyond(wanted.sort, after) if after else Conditions()
        ranked = wanted.words if wanted.sort is Sort.RELEVANCE else ()
        names = [name for word in map(_letters, ranked) for name in (f"\n{word}\n", f"\n{word}")]
        query, values = finding(wanted.sort, conditions, place, names, most_ranked, limit)
        return [Hit(*row) for row in self._db.execute(query, values)]

    def count(self, wanted: Wanted, most: int, facets: Sequence[str], but: str = "") -> Counts:
        """How many are wanted, and of each value of these facets, whatever the field `but` is; up to `most`."""
        query, values = counting(self._conditions(wanted, but), most, facets)
        total, found = 0, {name: dict[str, int]() for name in facets}
        for facet, value, number in self._db.execute(query, values):
            if facet:
                found[facet][value] = number
            else:
                total = number
        return Counts(total, total >= most, found)

    def _conditions(self, wanted: Wanted, but: str = "") -> Conditions:
        if not wanted.words:
            return meeting(wanted, but)
        either = [[*self._begun(_letters(word)), *map(_letters, self._near(word))] for word in wanted.words]
        return matching(either).and_(meeting(wanted, but))

    def _begun(self, word: str) -> list[str]:
        """All words that begin so, if they are few: SQLite reads as far as it has to in those, but never in `word*`."""
        if len(self._terms) != len(self._words):
            self._terms = sorted(self._words)
        first, end = (bisect_left(self._terms, text) for text in (word, f"{word}\U0010ffff"))
        return self._terms[first:end] if 0 < end - first <= MOST_BEGUN else [f"{word}*"]

    def _near(self, word: str) -> list[str]:
        """What a word may be meant to be. A page and its counts ask for the same."""
        if len(self._sorted) != len(self._known):
            self._sorted = sorted(self._known)
            self._meant.clear()
        if (meant := self._meant.get(word)) is None:
            meant = self._meant[word] = near(word, self._sorted)
        return meant

    def _drop(self, item_id: str) -> None:
        for (slot,) in self._db.execute("DELETE FROM facts WHERE id = ? RETURNING slot", (item_id,)).fetchall():
            self._db.execute("DELETE FROM texts WHERE rowid = ?", (slot,))

    def _put(self, item: Document) -> None:
        names, sellers = item.get("names") or (), item.get("seller_words") or ()
        self._known.update(dict.fromkeys((*names, *sellers)))
        facts = (
            *(item["_id"], item["version"], item.get("stock_version", 0), item["status"], item["seller_id"]),
            *(item.get("seller_name"), item.get("category"), item.get("city"), item.get("city_key"), item.get("kind")),
            *(item["currency"], item["price"], item["available"]),
            *(_milliseconds(item.get(name)) for name in ("starts_at", "ends_at", "over_at")),
            f"\n{_letters(*names)}\n",
        )
        [slot] = self._db.execute(_PUT, facts).fetchone()
        words = _letters(*(item.get("words") or ()), *sellers)
        self._words.update(words.split("\n"))
        before = self._db.execute("SELECT words FROM texts WHERE rowid = ?", (slot,)).fetchone()
        if before is None:
            self._db.execute("INSERT INTO texts (rowid, words) VALUES (?, ?)", (slot, words))
        elif before[0] != words:
            self._db.execute("UPDATE texts SET words = ? WHERE rowid = ?", (words, slot))


def _letters(*words: str) -> str:
    """Words as SQLite takes them, each in a line."""
    return _NO_LETTER.sub("", "\n".join(words))


def _milliseconds(moment: datetime | None) -> int | None:
    return round(moment.timestamp() * 1000) if moment else None


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


_COLUMNS = (
    *("id", "version", "stock", "status", "seller_id", "seller_name", "category", "city", "city_key", "kind"),
    *("currency", "price", "available", "starts_at", "ends_at", "over_at", "names"),
)
_PUT = (
    f"INSERT INTO facts ({', '.join(_COLUMNS)}) VALUES ({_marks(_COLUMNS)}) "  # noqa: S608 - names of columns  # nosec B608
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)} RETURNING slot"
)
