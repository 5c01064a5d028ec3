"""What is for sale, and what its seller may do with it. No I/O."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self, Unpack

from pydantic import AfterValidator, AwareDatetime, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

from common.aggregate import Aggregate
from common.clock import whole_milliseconds
from common.errors import Conflict, Forbidden, IdempotencyKeyReused, Invalid, NotFound
from common.event_times import over_at
from common.events import (
    Category,
    Currency,
    Event,
    ItemChanged,
    ItemKind,
    ItemListed,
    ItemState,
    ItemStatus,
    ItemWithdrawn,
)
from common.ids import new_id
from common.text import LINE, TEXT, TIME_ZONE
from items.search import key_of, words_of

Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Description = Annotated[str, StringConstraints(max_length=10_000)]
NewTitle = Annotated[Title, LINE, Field(examples=["Two seats, row 4"])]
NewDescription = Annotated[Description, TEXT, Field(examples=["Side by side, with a view of the stage."])]
Price = Annotated[int, Field(strict=True, ge=1, le=10**9, examples=[4500])]
"""Of one unit, in the currency's smallest unit."""
Quantity = Annotated[int, Field(strict=True, ge=1, le=100_000)]
LimitPerBuyer = Annotated[int, Field(strict=True, ge=1, le=100_000)]
"""The most units that one person may hold and have paid for."""
Place = Annotated[str, StringConstraints(min_length=1, max_length=200)]
NewPlace = Annotated[Place, LINE, Field(examples=["The opera"])]
Moment = Annotated[
    AwareDatetime,
    Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2100, 1, 1, tzinfo=UTC), examples=["2027-05-01T18:00:00Z"]),
    AfterValidator(lambda moment: whole_milliseconds(moment.astimezone(UTC))),
]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=30)]
NewTag = Annotated[Tag, LINE, Field(examples=["jazz"])]
MOST_TAGS = 5
NewTags = Annotated[
    tuple[NewTag, ...], Field(max_length=MOST_TAGS), AfterValidator(lambda tags: tuple(dict.fromkeys(tags)))
]
TimeZone = Annotated[str, TIME_ZONE, Field(examples=["Europe/Berlin"])]

Percent = Annotated[int, Field(strict=True, ge=0, le=100, examples=[50])]

MOST_PICTURES = 6

COPIES = {"seller_name", "seller_words", "available", "stock_version", "followed_version"}
"""Fields of an item that are copied from other services."""


class ItemNotFound(NotFound):
    """There is no such item."""

    code = "item_not_found"


class NotOwner(Forbidden):
    """Only the seller may do this."""

    code = "not_owner"


class ItemIsWithdrawn(Conflict):
    """The item is off sale for good."""

    code = "item_withdrawn"


class ItemIsDraft(Conflict):
    """The item is not published yet."""

    code = "item_is_draft"


class PictureNotFound(NotFound):
    """The item has no such picture."""

    code = "picture_not_found"


class TooManyPictures(Conflict):
    """The item has the largest allowed number of pictures."""

    code = "too_many_pictures"


class KindIsFixed(Conflict):
    """What was listed as a thing cannot become an event, nor the other way round."""

    code = "kind_is_fixed"


class WrongField(Invalid):
    """A field contradicts another one. The problem has it in `errors`, as it has others."""

    code = "validation_failed"

    def __init__(self, field: str, message: str) -> None:
        super().__init__("some fields are wrong", errors=[{"field": field, "message": message}])


class WrongEvent(WrongField):
    """The fields of an event contradict each other, or its kind."""


class WrongSale(WrongField):
    """The sale would be over before it starts."""


class EventDetails(TypedDict, total=False):
    """When and where an event is. None stands for unknown; only `starts_at` has to be known."""

    starts_at: Moment | None
    ends_at: Moment | None
    doors_at: Moment | None
    venue: NewPlace | None
    city: NewPlace | None
    timezone: TimeZone | None


class SaleTimes(TypedDict, total=False):
    """From when and until when orders are taken. None: as soon as it is listed, and for as long as there is any."""

    sale_starts_at: Moment | None
    sale_ends_at: Moment | None


class Changes(EventDetails, SaleTimes, total=False):
    """What a seller may change: any of these. `kind` may be named, but not changed. No `limit_per_buyer` is None."""

    kind: ItemKind

    title: NewTitle
    description: NewDescription
    price: Price
    currency: Currency
    quantity: Quantity
    limit_per_buyer: LimitPerBuyer | None
    category: Category | None
    tags: NewTags


class Item(Aggregate):
    """An item, with copies of its seller's name (auth) and of its stock (orders). `pictures` are ids.

    As of `stock_version`, `available` is what is left, and orders sells by `followed_version` of the item. The copies
    change without a new version.
    """

    model_config = ConfigDict(validate_assignment=True)

    seller_id: str
    title: Title
    description: Description
    price: Price
    currency: Currency
    quantity: Quantity
    status: ItemStatus = ItemStatus.LISTED
    published: bool = True
    """Whether it is there for others than its seller: once it is, it stays so."""
    pictures: tuple[str, ...] = ()
    focal_points: dict[str, tuple[Percent, Percent]] = Field(default_factory=dict)
    """The point of a picture that stays visible where it is cropped: from the left and from the top."""
    limit_per_buyer: LimitPerBuyer | None = None
    sale_starts_at: Moment | None = None
    sale_ends_at: Moment | None = None
    kind: ItemKind = ItemKind.THING
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    doors_at: Moment | None = None
    venue: Place | None = None
    city: Place | None = None
    timezone: str | None = None
    category: Category | None = None
    tags: tuple[Tag, ...] = ()
    created_at: AwareDatetime
    request_key: str | None = None
    """The seller's Idempotency-Key: unique among the items of the seller."""
    fingerprint: str | None = None
    """Equal for requests to list an item with the same body. Only with `request_key`."""
    awaited_version: int = 0
    """The newest version: once orders follows it, it is in effect. 0 if it was edited before Souk kept count."""
    seller_name: str | None = None
    seller_words: tuple[str, ...] | None = None
    available: int
    stock_version: int = 0
    followed_version: int = 0

    @classmethod
    def offer(
        cls,
        *,
        seller_id: str,
        title: str,
        description: str,
        price: int,
        currency: Currency,
        quantity: int,
        now: datetime,
        limit_per_buyer: int | None = None,
        sale_starts_at: datetime | None = None,
        sale_ends_at: datetime | None = None,
        request_key: str | None = None,
        fingerprint: str | None = None,
        category: Category | None = None,
        tags: tuple[str, ...] = (),
        kind: ItemKind = ItemKind.THING,
        draft: bool = False,
        **details: Unpack[EventDetails],
    ) -> Self:
        """Put something up for sale, all of it available, or draft it. Raises `WrongEvent`, `WrongSale`."""
        item = cls(
            id=new_id(),
            seller_id=seller_id,
            title=title,
            description=description,
            price=price,
            currency=currency,
            quantity=quantity,
            available=quantity,
            limit_per_buyer=limit_per_buyer,
            sale_starts_at=sale_starts_at,
            sale_ends_at=sale_ends_at,
            created_at=whole_milliseconds(now),
            request_key=request_key,
            fingerprint=fingerprint,
            category=category,
            tags=tags,
            kind=kind,
            status=ItemStatus.DRAFT if draft else ItemStatus.LISTED,
            published=not draft,
            **details,
        )
        item._check_event()
        item._check_sale()
        item._record(ItemListed)
        return item

    def as_listed_first(self, first: Self) -> Self:
        """This listing, which is `first` sent again, as it was then. Raises `IdempotencyKeyReused` if it is another."""
        if self.fingerprint != first.fingerprint:
            raise IdempotencyKeyReused("this Idempotency-Key was used for another item")
        return self.model_copy(update={"id": first.id, "created_at": first.created_at, "version": 1})

    def edit(self, caller_id: str, changes: Changes) -> None:
        """Change some fields. Equal values are no change.

        Raises `NotOwner`, `ItemIsWithdrawn`, `KindIsFixed`, `WrongEvent`, `WrongSale`.
        """
        self._check_editable(caller_id)
        if changes.get("kind", self.kind) is not self.kind:
            raise KindIsFixed(f"this was listed as a {self.kind}; list it again")
        before = self.to_document()
        for name, value in changes.items():
            setattr(self, name, value)
        self._check_event()
        self._check_sale()
        if self.to_document() != before:
            self._record(ItemChanged)

    def check_room_for_picture(self, caller_id: str) -> None:
        """Raises `NotOwner`, `ItemIsWithdrawn`, `TooManyPictures`."""
        self._check_editable(caller_id)
        if len(self.pictures) >= MOST_PICTURES:
            raise TooManyPictures(f"an item may have at most {MOST_PICTURES} pictures; remove one first")

    def add_picture(self, caller_id: str, picture_id: str) -> None:
        """Show one more picture, after the others. Raises what `check_room_for_picture` does."""
        self.check_room_for_picture(caller_id)
        self.pictures = (*self.pictures, picture_id)
        self._record(ItemChanged)

    def remove_picture(self, caller_id: str, picture_id: str) -> None:
        """Remove a picture. Raises `NotOwner`, `ItemIsWithdrawn`, `PictureNotFound`."""
        self._check_editable(caller_id)
        if picture_id not in self.pictures:
            raise PictureNotFound("this item has no such picture")
        self.pictures = tuple(kept for kept in self.pictures if kept != picture_id)
        self.focal_points = {kept: at for kept, at in self.focal_points.items() if kept != picture_id}
        self._record(ItemChanged)

    def focus(self, caller_id: str, picture_id: str, at: tuple[int, int]) -> None:
        """Say which point of a picture stays visible. The same again is no change. Raises as `remove_picture` does."""
        self._check_editable(caller_id)
        if picture_id not in self.pictures:
            raise PictureNotFound("this item has no such picture")
        if self.focal_points.get(picture_id) != at:
            self.focal_points = {**self.focal_points, picture_id: at}
            self._record(ItemChanged)

    def withdraw(self, caller_id: str) -> None:
        """Take it off sale for good. Withdrawing twice is withdrawing once. Raises `NotOwner`."""
        self._only_for(caller_id)
        if self.status is not ItemStatus.WITHDRAWN:
            self.status = ItemStatus.WITHDRAWN
            self._record(ItemWithdrawn)

    def publish(self, caller_id: str) -> None:
        """Put a draft on sale, for everybody to see. What is published stays as it is.

        Raises `NotOwner`, `ItemIsWithdrawn`.
        """
        self._check_editable(caller_id)
        if not self.published:
            self.published = True
            self._turn(ItemStatus.LISTED)

    def pause(self, caller_id: str) -> None:
        """Take no orders until it is resumed. Raises `NotOwner`, `ItemIsWithdrawn`, `ItemIsDraft`."""
        self._check_published(caller_id)
        self._turn(ItemStatus.PAUSED)

    def resume(self, caller_id: str) -> None:
        """Take orders again. Raises `NotOwner`, `ItemIsWithdrawn`, `ItemIsDraft`."""
        self._check_published(caller_id)
        self._turn(ItemStatus.LISTED)

    @property
    def over_at(self) -> datetime | None:
        """When the event is over. A thing never is."""
        return over_at(self.starts_at, self.ends_at)

    def to_document(self) -> dict[str, Any]:
        """The state, and by what it is found. The copies are part of a new item only; consumers write them."""
        state = self.model_dump(exclude={"id", "version"} | (COPIES if self.version else set()))
        return {**state, **self.found_by()}

    def found_by(self) -> dict[str, Any]:
        """What lists look at: `words` of the whole item, the `names` among them, its city, and when it is over."""
        named = (self.title, self.venue, self.city, *self.tags)
        return {
            "names": words_of(*named),
            "words": words_of(*named, self.description),
            "city_key": key_of(self.city) if self.city else None,
            "over_at": self.over_at,
        }

    def _check_editable(self, caller_id: str) -> None:
        self._only_for(caller_id)
        if self.status is ItemStatus.WITHDRAWN:
            raise ItemIsWithdrawn("this item is withdrawn; list it again")

    def _check_published(self, caller_id: str) -> None:
        self._check_editable(caller_id)
        if self.status is ItemStatus.DRAFT:
            raise ItemIsDraft("this is a draft; publish it first")

    def _turn(self, status: ItemStatus) -> None:
        if self.status is not status:
            self.status = status
            self._record(ItemChanged)

    def _check_event(self) -> None:
        """Raise `WrongEvent` unless an event has a start, which is between doors and end, and a thing has no time."""
        details = {name: getattr(self, name) for name in EventDetails.__annotations__}
        if self.kind is ItemKind.THING:
            for name in (name for name, value in details.items() if value is not None):
                raise WrongEvent(name, "only an event has this: say that its kind is event")
        elif self.starts_at is None:
            raise WrongEvent("starts_at", "an event starts at some time")
        elif self.ends_at and self.ends_at <= self.starts_at:
            raise WrongEvent("ends_at", "an event ends after it has started")
        elif self.doors_at and self.doors_at > self.starts_at:
            raise WrongEvent("doors_at", "doors open before an event starts")

    def _check_sale(self) -> None:
        if self.sale_starts_at and self.sale_ends_at and self.sale_ends_at <= self.sale_starts_at:
            raise WrongSale("sale_ends_at", "the sale ends after it has started")

    def _only_for(self, caller_id: str) -> None:
        if caller_id != self.seller_id and not self.published:
            raise ItemNotFound("there is no such item")
        if caller_id != self.seller_id:
            raise NotOwner("this is another seller's item")

    def restated(self) -> list[Event]:
        """The whole item."""
        if self.status is ItemStatus.WITHDRAWN:
            kind: type[ItemState] = ItemWithdrawn
        else:
            kind = ItemListed if self.version == 1 else ItemChanged
        return [self._as_event(kind, self.version, restated=True)]

    def _record(self, kind: type[ItemState]) -> None:
        self.awaited_version = self.next_version
        self.record(self._as_event(kind, self.next_version))

    def _as_event(self, kind: type[ItemState], version: int, restated: bool = False) -> ItemState:
        return kind(
            item_id=self.id,
            item_version=version,
            seller_id=self.seller_id,
            title=self.title,
            description=self.description,
            price=self.price,
            currency=self.currency,
            quantity=self.quantity,
            status=self.status,
            pictures=self.pictures,
            focal_points=self.focal_points,
            limit_per_buyer=self.limit_per_buyer,
            category=self.category,
            tags=self.tags,
            sale_starts_at=self.sale_starts_at,
            sale_ends_at=self.sale_ends_at,
            kind=self.kind,
            **{name: getattr(self, name) for name in EventDetails.__annotations__},
            restated=restated,
        )
