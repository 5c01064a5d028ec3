"""What is wanted, as SQLite is asked for it. No I/O, and no value is part of a query's text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from common.events import ItemStatus
from items.search import FACETS, MOST_FACETS, SHOWN, Sort, Wanted, key_of

SCHEMA = """
PRAGMA cache_size = -1000000;
CREATE TABLE facts (
    slot INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, version INT, stock INT, status TEXT, seller_id TEXT,
    seller_name TEXT, category TEXT, city TEXT, city_key TEXT, kind TEXT, currency TEXT, price INT, available INT,
    starts_at INT, ends_at INT, over_at INT, names TEXT
);
CREATE INDEX counted_in_city ON facts (city_key, status, over_at, category, kind, city);
CREATE INDEX counted_in_category ON facts (category, status, over_at, city_key, kind, city);
CREATE INDEX of_seller ON facts (seller_id);
CREATE VIRTUAL TABLE texts USING fts5 (words, detail = none, columnsize = 0, prefix = '1 2', tokenize = 'ascii');
INSERT INTO texts (texts, rank) VALUES ('hashsize', 8000000);
"""

BUYABLE = f"(status = '{ItemStatus.LISTED}' AND available > 0)"

ORDERS: Mapping[Sort, str] = {
    Sort.SOONEST: "starts_at, id DESC",
    Sort.PRICE: "currency, price, id DESC",
    Sort.PRICE_DOWN: "currency, price DESC, id DESC",
    Sort.RELEVANCE: "relevance DESC, id DESC",
}

LATER: Mapping[Sort, str] = {
    Sort.NEWEST: "id < :id",
    Sort.SOONEST: "(starts_at, :id) > (:starts_at, id)",
    Sort.PRICE: "(currency, price, :id) > (:currency, :price, id)",
    Sort.PRICE_DOWN: "(currency, :price, :id) > (:currency, price, id)",
    Sort.RELEVANCE: "(:relevance, :id) > (relevance, id)",
}
"""What comes after a place in a list. Equal ones come newest first: hence each id on the other side."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that all have to hold, and the values of their names."""

    texts: tuple[str, ...] = ()
    values: Mapping[str, Any] | None = None
    words: bool = False
    """Whether they look at words."""

    def and_(self, other: "Conditions") -> Self:
        """Both."""
        values = {**(self.values or {}), **(other.values or {})}
        return type(self)((*self.texts, *other.texts), values, self.words or other.words)

    @property
    def newest(self) -> str:
        """The order by which SQLite reads only as far as it has to."""
        return "texts.rowid DESC" if self.words else "slot DESC"

    @property
    def where(self) -> str:
        """The part of a query from FROM on."""
        # CROSS: the words first. SQLite would begin with a city, and look into the words for each item of it.
        source = "texts CROSS JOIN facts ON slot = texts.rowid" if self.words else "facts"
        return f"FROM {source} WHERE {' AND '.join(self.texts)}"


def matching(words: Sequence[Sequence[str]]) -> Conditions:
    """For each word that was typed, one of those that stand for it; `jaz*` is what begins with jaz."""
    each = (" OR ".join(f'"{word.rstrip("*")}" {"*" * word.endswith("*")}' for word in either) for either in words)
    return Conditions(("texts MATCH :match",), {"match": " AND ".join(f"({one})" for one in each)}, words=True)


def meeting(wanted: Wanted, but: str = "") -> Conditions:
    """All but the words, and but the field `but`."""
    texts = [f"status IN ({', '.join(f'{chr(39)}{status}{chr(39)}' for status in SHOWN)})"]
    values: dict[str, Any] = {}
    for name in ("seller_id", "category", "kind", "currency"):
        if name != but and (value := getattr(wanted, name)) is not None:
            texts.append(f"{name} = :{name}")
            values[name] = str(value)
    if wanted.city and but != "city":
        texts.append("city_key = :city_key")
        values["city_key"] = key_of(wanted.city)
    bounds = {
        "price_min": ("price >= :price_min", wanted.price_min),
        "price_max": ("price <= :price_max", wanted.price_max),
        "starts_from": ("starts_at >= :starts_from", wanted.starts_from),
        "starts_before": ("starts_at < :starts_before", wanted.starts_before),
        "runs_from": ("(starts_at >= :runs_from OR ends_at > :runs_from)", wanted.runs_from),
        "not_over_by": ("(over_at IS NULL OR over_at > :not_over_by)", wanted.not_over_by),
    }
    for name, (text, bound) in bounds.items():
        if bound is not None:
            texts.append(text)
            values[name] = bound.timestamp() * 1000 if isinstance(bound, datetime) else bound
    if wanted.available:
        texts.append(BUYABLE)
    if wanted.sold_out:
        texts.append(f"NOT {BUYABLE}")
    return Conditions(tuple(texts), values)


def beyond(sort: Sort, after: Mapping[str, Any]) -> Conditions:
    """What comes after an item in a list of this order."""
    place = {name: value for name, value in after.items() if name != "_id"} | {"id": after["_id"]}
    if sort is Sort.SOONEST:
        place["starts_at"] = round(after["starts_at"].timestamp() * 1000)
    return Conditions((LATER[sort],), place)


def finding(
    sort: Sort, wanted: Conditions, place: Conditions, names: Sequence[str], most_ranked: int, limit: int
) -> tuple[str, dict[str, Any]]:
    """The query for the items of a page. Those are ranked that are newest; a name that is whole counts twice more."""
    values = {**(wanted.values or {}), **(place.values or {}), "limit": limit}
    if sort is not Sort.RELEVANCE:
        order = ORDERS.get(sort, wanted.newest)
        return f"SELECT id, 0 {wanted.and_(place).where} ORDER BY {order} LIMIT :limit", values
    points = [f"{1 if number % 2 else 2} * (instr(names, :name{number}) > 0)" for number in range(len(names))]
    values |= {f"name{number}": name for number, name in enumerate(names)} | {"most_ranked": most_ranked}
    newest = f"SELECT id, names {wanted.where} ORDER BY {wanted.newest} LIMIT :most_ranked"
    ranked = f"SELECT id, {' + '.join(points) or 0} AS relevance FROM ({newest})"  # noqa: S608 - constants  # nosec B608
    later = f"WHERE {' AND '.join(place.texts)}" if place.texts else ""
    query = f"SELECT id, relevance FROM ({ranked}) {later} ORDER BY {ORDERS[sort]} LIMIT :limit"  # noqa: S608 - constants  # nosec B608
    return query, values


_GROUP = (
    "SELECT * FROM (SELECT '{name}', min({name}), count(*) AS items FROM found WHERE {field} IS NOT NULL "
    "GROUP BY {field} ORDER BY items DESC, {field} LIMIT {most})"
)


def counting(wanted: Conditions, most: int, facets: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The query for rows of a facet, its value and the number of items; no facet is how many there are in all."""
    groups = [_GROUP.format(name=name, field=FACETS[name], most=MOST_FACETS) for name in facets]
    found = f"WITH found AS MATERIALIZED (SELECT category, city_key, city, kind {wanted.where} LIMIT :most) "
    counts = " UNION ALL ".join(["SELECT NULL, NULL, count(*) FROM found", *groups])
    return found + counts, {**(wanted.values or {}), "most": most}
