"""What a visitor looks for, as the address of a page says it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from common.events import Category, Currency, ItemKind
from web.pages.event_fields import usual_time_zone
from web.rendering import money
from web.rendering.i18n import N_, I18n

T = TypeVar("T")

DAYS = 14
"""Days of the calendar strip."""

FRIDAY, SUNDAY = 4, 6

YEARS = range(2001, 2099)
"""Of days that can be asked for."""

HIGHEST_PRICE = 10**9
"""In minor units: items takes no higher bound."""


class Sort(StrEnum):
    """The order of a list."""

    RELEVANCE = "relevance"
    NEWEST = "newest"
    SOONEST = "soonest"
    PRICE = "price"
    PRICE_DOWN = "-price"


SORTS: Mapping[Sort, str] = {
    Sort.RELEVANCE: N_("Best match"),
    Sort.NEWEST: N_("Newest"),
    Sort.SOONEST: N_("Soonest"),
    Sort.PRICE: N_("Lowest price"),
    Sort.PRICE_DOWN: N_("Highest price"),
}
KINDS: Mapping[ItemKind, str] = {ItemKind.EVENT: N_("Events"), ItemKind.THING: N_("Things")}


@dataclass(frozen=True, kw_only=True)
class Search:
    """Words, filters and an order. `since` and `until` are days, both included; prices are as they were typed."""

    q: str = ""
    category: Category | None = None
    city: str = ""
    kind: ItemKind | None = None
    since: date | None = None
    until: date | None = None
    price_min: str = ""
    price_max: str = ""
    currency: Currency | None = None
    available: bool = False
    chosen_sort: Sort | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Self:
        """What a query string says. What it can't mean counts as nothing."""
        text = {name: query.get(name, "").strip() for name in NAMES.values()}
        return cls(
            q=text["q"][:200],
            category=or_none(Category, text["category"]),
            city=text["city"][:200],
            kind=or_none(ItemKind, text["kind"]),
            since=or_none(_day, text["from"]),
            until=or_none(_day, text["to"]),
            price_min=text["price_min"][:20],
            price_max=text["price_max"][:20],
            currency=or_none(Currency, text["currency"]),
            available=text["available"] == "true",
            chosen_sort=or_none(Sort, text["sort"]),
        )

    @property
    def sort(self) -> Sort:
        """The order: what fits best comes first in a search for words, else the newest."""
        if self.chosen_sort is None or (self.chosen_sort is Sort.RELEVANCE and not self.q):
            return Sort.RELEVANCE if self.q else Sort.NEWEST
        return self.chosen_sort

    @property
    def sold_out_last(self) -> bool:
        """Whether what is sold out comes after the rest: not in an order in which that would be a surprise."""
        return self.sort in (Sort.NEWEST, Sort.RELEVANCE)

    @property
    def sorts(self) -> list[Sort]:
        """The orders to choose from."""
        return [sort for sort in SORTS if self.q or sort is not Sort.RELEVANCE]

    @property
    def parameters(self) -> dict[str, str]:
        """The query string that says this, without what is empty."""
        values = {name: getattr(self, field) for field, name in NAMES.items()}
        return {name: "true" if value is True else str(value) for name, value in values.items() if value}

    @property
    def details(self) -> bool:
        """Whether something is set that only the form with more filters shows."""
        return bool(self.price_min or self.price_max or self.currency)

    @property
    def words(self) -> Self:
        """The search for the same words, in the same order, without any filter."""
        return type(self)(q=self.q, chosen_sort=self.chosen_sort)

    def but(self, **changes: Any) -> Self:
        """The same search with some fields changed."""
        return replace(self, **changes)

    def address(self, cursor: str = "") -> str:
        """The page of this search, or the next one of it. A category and a city have a page of their own."""
        query = self.parameters
        path = "/"
        if len(query) == 1 and self.category:
            path = f"/categories/{query.pop('category')}"
        elif len(query) == 1 and self.city:
            path = f"/cities/{quote(query.pop('city'), safe='')}"
        if cursor:
            query["cursor"] = cursor
        return f"{path}?{urlencode(query)}" if query else path

    def asks(self, i18n: I18n) -> tuple[dict[str, object], dict[str, str]]:
        """What items is asked, and which prices are wrong. They are in the visitor's currency if none is chosen."""
        zone = ZoneInfo(usual_time_zone(i18n))
        filters: dict[str, object] = {
            "q": self.q or None,
            "category": self.category,
            "city": self.city or None,
            "kind": self.kind,
            "from": _midnight(self.since, zone) if self.since else None,
            "to": _midnight(self.until + timedelta(days=1), zone) if self.until else None,
            "available": "true" if self.available else None,
            "sold_out_last": "true" if self.sold_out_last else None,
            "currency": self.currency,
            "sort": self.sort,
        }
        errors = {}
        currency = self.currency or Currency(i18n.usual_currency)
        for name in ("price_min", "price_max"):
            if typed := getattr(self, name):
                try:
                    filters[name] = min(money.parse(typed, currency, i18n.locale), HIGHEST_PRICE)
                    filters["currency"] = currency
                except (money.NotAnAmount, money.TooPrecise):
                    example = money.typed(1250, currency, i18n.locale)
                    errors[name] = i18n.gettext("Enter an amount like %(example)s.") % {"example": example}
        return filters, errors


NAMES: Mapping[str, str] = {
    "q": "q",
    "category": "category",
    "city": "city",
    "kind": "kind",
    "since": "from",
    "until": "to",
    "price_min": "price_min",
    "price_max": "price_max",
    "currency": "currency",
    "available": "available",
    "chosen_sort": "sort",
}
"""The fields of a search, and what they are called in addresses."""


def today(now: datetime, i18n: I18n) -> date:
    """The day that it probably is for a visitor."""
    return now.astimezone(ZoneInfo(usual_time_zone(i18n))).date()


def weekend(day: date) -> tuple[date, date]:
    """The first and last day of the next weekend, from Friday on, or of what is left of the one that `day` is in."""
    friday = day + timedelta(days=FRIDAY - day.weekday())
    return max(day, friday), friday + timedelta(days=SUNDAY - FRIDAY)


def strip(day: date) -> list[date]:
    """The days to choose from."""
    return [day + timedelta(days=number) for number in range(DAYS)]


def _midnight(day: date, zone: ZoneInfo) -> str:
    return datetime.combine(day, time(), zone).isoformat()


def _day(text: str) -> date:
    day = date.fromisoformat(text)
    if day.year not in YEARS:
        raise ValueError("too far away")
    return day


def or_none(read: Callable[[str], T], text: str) -> T | None:
    """What `read` makes of the text; None if it can't (`ValueError`)."""
    try:
        return read(text)
    except ValueError:
        return None
