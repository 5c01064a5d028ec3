"""What the parameters of GET /api/items mean."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from common.events import Category, Currency, ItemKind
from common.http.paging import EXAMPLE_ID, ID
from common.mongo.client import Document
from common.text import CALENDAR
from items.catalogue_store import BY_CURRENCY, LISTED_IN
from items.search import Sort, Wanted, buyable, searched

DAY = "2027-05-01"
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def _in_utc(moment: datetime) -> datetime:
    """The moment in UTC, which does not reach as far as some time zones do."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return EARLIEST if moment.year == 1 else LATEST


When = Annotated[Annotated[AwareDatetime, AfterValidator(_in_utc)] | date, CALENDAR]
PRICE_BOUND = Field(ge=0, le=10**9, examples=[4500])
SOLD_OUT = "END~"
"""Begins the cursor of a place among what is sold out, where other lists have a currency."""

PLACE = rf"^(([A-Z]{{3}}~)?\d{{1,16}}~)?{ID}$"
"""Where a list goes on: after which item, and after which value of what it is sorted by."""


class Browse(BaseModel):
    """Which items are wanted, and in which order."""

    model_config = ConfigDict(str_strip_whitespace=True, frozen=True)

    q: Annotated[
        str | None,
        Field(
            max_length=200,
            description="Words to look for: an item has each, or one that begins so, or one that is nearly the same.",
            examples=["jazz munchen"],
        ),
    ] = None
    category: Annotated[Category | None, Field(description="Only of this category.", examples=["music"])] = None
    city: Annotated[str | None, Field(max_length=200, description="Only in this city.", examples=["Berlin"])] = None
    kind: Annotated[ItemKind | None, Field(description="Only events, or only things.", examples=["event"])] = None
    from_: Annotated[
        When | None,
        Field(
            alias="from",
            description="Only what starts at or after this time, or this day in UTC, or ends later.",
            examples=[DAY],
        ),
    ] = None
    to: Annotated[
        When | None,
        Field(description="Only what starts before this time, or not after this day in UTC.", examples=[DAY]),
    ] = None
    price_min: Annotated[int | None, PRICE_BOUND, Field(description="The least price of a unit.")] = None
    price_max: Annotated[int | None, PRICE_BOUND, Field(description="The highest price of a unit.")] = None
    currency: Annotated[Currency | None, Field(description="Only at prices in this currency.", examples=["EUR"])] = None
    available: Annotated[bool, Field(description="Only what has units left, and is not paused.")] = False
    sold_out_last: Annotated[
        bool,
        Field(
            description="List all that has units left, and is not paused, before all that has none; of no effect on "
            "an order by price. What sells out between two pages may be on both; what comes back on sale may be on "
            "neither."
        ),
    ] = False
    seller_id: Annotated[
        str | None, Field(max_length=64, description="Only what this user sells.", examples=[EXAMPLE_ID])
    ] = None
    sort: Annotated[
        Sort,
        Field(
            description="`soonest` lists what is still to come. `relevance` is of up to 1,000 items, the newest. "
            "Prices are compared in one currency: without `currency`, those in one follow those in another."
        ),
    ] = Sort.NEWEST
    limit: Annotated[int, Field(ge=1, le=100, description="The most that a page may have.")] = 20
    cursor: Annotated[
        str | None,
        Field(
            pattern=PLACE, description="The `next` of the page before; nothing for the first.", examples=[EXAMPLE_ID]
        ),
    ] = None

    @field_validator("cursor")
    @classmethod
    def _continues(cls, cursor: str | None, info: ValidationInfo) -> str | None:
        if cursor is None or "sort" not in info.data:  # The sort is wrong itself.
            return cursor
        place = cls.model_construct(**info.data, cursor=cursor)
        parts = 3 if place.in_sold_out else 1 + (place.sort is not Sort.NEWEST) + (place.sort in BY_CURRENCY)
        if len(cursor.split("~")) != parts or (place.in_sold_out and not place.in_two_parts):
            raise ValueError("the cursor is of a list in another order")
        _ = place.after  # Raises `ValueError` for a time that no calendar has.
        return cursor

    def wanted(self, user_id: str | None, now: datetime) -> Wanted:
        """What that means for this user, now."""
        words = searched(self.q or "")
        soonest = now if self.sort is Sort.SOONEST else None
        own = user_id is not None and user_id == self.seller_id
        return Wanted(
            words=words,
            nobody=bool(self.q) and not words,
            seller_id=self.seller_id,
            hidden_too=own,
            not_over_by=None if own else now,
            category=self.category,
            city=self.city,
            kind=self.kind,
            currency=self.currency,
            price_min=self.price_min,
            price_max=self.price_max,
            starts_from=None if self.from_ else soonest,
            runs_from=_begin_of(self.from_),
            starts_before=_end_of(self.to),
            available=self.available,
            sort=self.sort,
        )

    @property
    def may_be_remembered(self) -> bool:
        """Whether it is a first page, and not of what is available alone."""
        return self.cursor is None and not self.available

    @property
    def in_two_parts(self) -> bool:
        """Whether what is sold out is a list of its own, behind the other."""
        return self.sold_out_last and self.sort not in BY_CURRENCY

    @property
    def in_sold_out(self) -> bool:
        """Whether the page before has ended among what is sold out."""
        return bool(self.cursor and self.cursor.startswith(SOLD_OUT))

    @property
    def after(self) -> Document | None:
        """The last item of the page before."""
        if self.cursor is None:
            return None
        values, _, item_id = self.cursor.removeprefix(SOLD_OUT).rpartition("~")
        currency, _, value = values.rpartition("~")
        field, _ = LISTED_IN[self.sort]
        if self.sort is Sort.NEWEST:
            return {"_id": item_id}
        if self.sort is Sort.SOONEST:
            return {"_id": item_id, field: datetime.fromtimestamp(int(value) / 1000, UTC)}
        return {
            "_id": item_id,
            field: int(value),
            **({"currency": currency} if currency else {}),
        }

    def place_of(self, item: Document) -> str:
        """The cursor of what comes after this item."""
        field, _ = LISTED_IN[self.sort]
        sold_out = SOLD_OUT if self.in_two_parts and not buyable(item) else ""
        if field == "_id":
            return f"{sold_out}0~{item['_id']}" if sold_out else str(item["_id"])
        value = round(item[field].timestamp() * 1000) if self.sort is Sort.SOONEST else item[field]
        currency = f"{item['currency']}~" if self.sort in BY_CURRENCY else sold_out
        return f"{currency}{value}~{item['_id']}"


def _begin_of(when: datetime | date | None) -> datetime | None:
    return when if isinstance(when, datetime | None) else datetime(when.year, when.month, when.day, tzinfo=UTC)


def _end_of(when: datetime | date | None) -> datetime | None:
    """A day counts to its end; after the last day there is nothing."""
    if when is None or when == date.max:
        return None
    return _begin_of(when if isinstance(when, datetime) else when + timedelta(days=1))
