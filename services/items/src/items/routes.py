"""Browse, offer, edit, pause and withdraw items, and their pictures."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Request, Response, status
from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    computed_field,
    field_validator,
    with_config,
)

from common.errors import IdempotencyKeyReused, StaleWrite, TooLarge, TooMany, Unauthenticated, Unavailable
from common.events import Category, Currency, ItemKind, ItemStatus
from common.http.dependencies import IdempotencyKey, Now, Provided
from common.http.paging import EXAMPLE_ID, Body, Page, page_of
from common.http.problems import problems
from common.http.sessions import CurrentUser, EmailNotVerified, OptionalUser, VerifiedUser
from common.mongo.client import Document
from items.browsing import Browse
from items.catalogue_store import CatalogueStore
from items.domain import (
    Changes,
    Item,
    ItemIsDraft,
    ItemIsWithdrawn,
    ItemNotFound,
    KindIsFixed,
    LimitPerBuyer,
    Moment,
    NewDescription,
    NewPlace,
    NewTags,
    NewTitle,
    NotOwner,
    Percent,
    PictureNotFound,
    Price,
    Quantity,
    TimeZone,
    TooManyPictures,
    WrongEvent,
    WrongSale,
)
from items.memory import ItemMemory
from items.pictures import KINDS, BadPicture, PictureConverter, UnsupportedPicture
from items.store import ItemStore

router = APIRouter(prefix="/api/items", tags=["items"])

Items = Annotated[ItemStore, Provided(ItemStore)]
Memory = Annotated[ItemMemory, Provided(ItemMemory)]
Lists = Annotated[CatalogueStore, Provided(CatalogueStore)]
ItemInPath = Annotated[str, Path(description="The item's id.", examples=[EXAMPLE_ID])]
PictureInPath = Annotated[str, Path(description="The picture's id.", examples=[EXAMPLE_ID])]
Converter = Annotated[PictureConverter, Provided(PictureConverter)]


class NewItem(Body):
    """What a seller offers; `price` is of one unit, in the currency's smallest unit.

    One person may hold and have paid for `limit_per_buyer` units, if that is given. Orders are taken from
    `sale_starts_at` until just before `sale_ends_at`. An event has to have `starts_at`; only an event has the fields
    from there to `timezone`. A `draft` is there for its seller alone, until it is published.
    """

    title: NewTitle
    description: NewDescription = ""
    price: Price
    currency: Currency
    quantity: Quantity
    limit_per_buyer: LimitPerBuyer | None = None
    sale_starts_at: Moment | None = None
    sale_ends_at: Moment | None = None
    kind: ItemKind = ItemKind.THING
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    doors_at: Moment | None = None
    venue: NewPlace | None = None
    city: NewPlace | None = None
    timezone: TimeZone | None = None
    category: Category | None = None
    tags: NewTags = ()
    draft: bool = False

    @property
    def fingerprint(self) -> str:
        """Equal for equal offers. A field that is left out or has its default does not change it."""
        return sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()


@with_config(ConfigDict(**Body.model_config, json_schema_extra={"minProperties": 1}))
class Edit(Changes, total=False):
    """At least one field of `NewItem`."""


def _something(edit: Edit) -> Edit:
    if edit:
        return edit
    raise ValueError("name at least one field to change")


class FocalPoint(Body):
    """The point of a picture that stays visible where it is cropped, in percent from the left and from the top."""

    x: Percent
    y: Percent


class PictureView(BaseModel):
    """A picture of an item: the paths of its sizes, and its focal point, the middle unless the seller chose one."""

    id: str
    small: str
    medium: str
    large: str
    x: int = 50
    y: int = 50

    @classmethod
    def of(cls, item_id: str, picture_id: str, focal_point: tuple[int, int] = (50, 50)) -> Self:
        """The paths never change, and neither do the files."""
        path = f"{router.prefix}/{item_id}/pictures/{picture_id}"
        x, y = focal_point
        sizes = {size: f"{path}/{size}" for size in ("small", "medium", "large")}
        return cls(id=picture_id, **sizes, x=x, y=y)


class ItemView(BaseModel):
    """An item as everybody sees it, made from an `Item` or straight from a document."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(validation_alias=AliasChoices("_id", "id"))
    seller_id: str
    seller_name: str | None = None
    title: str
    description: str
    price: int
    currency: Currency
    quantity: int
    available: int
    status: ItemStatus
    version: int
    created_at: AwareDatetime
    focal_points: dict[str, tuple[int, int]] = Field(default={}, exclude=True)
    pictures: list[PictureView] = []
    limit_per_buyer: int | None = None
    sale_starts_at: AwareDatetime | None = None
    sale_ends_at: AwareDatetime | None = None
    kind: ItemKind = ItemKind.THING
    starts_at: AwareDatetime | None = None
    ends_at: AwareDatetime | None = None
    doors_at: AwareDatetime | None = None
    venue: str | None = None
    city: str | None = None
    timezone: str | None = None
    over_at: Annotated[
        AwareDatetime | None,
        Field(description="From when on an event is over: at its end, or six hours after its start if it has none."),
    ] = None
    category: Category | None = None
    tags: list[str] = []
    awaited_version: int = Field(default=0, exclude=True)
    followed_version: int = Field(default=0, exclude=True)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def in_effect(self) -> bool:
        """Whether orders sells by this version. If not, it will within moments, and until then by an earlier one."""
        return self.followed_version >= self.awaited_version

    @field_validator("available")
    @classmethod
    def _of_what_is_offered(cls, available: int, info: ValidationInfo) -> int:
        """A smaller offer shows at once, even before orders publishes the new stock."""
        quantity: int = info.data["quantity"]
        return min(available, quantity)

    @field_validator("pictures", mode="before")
    @classmethod
    def _paths(cls, picture_ids: Sequence[str], info: ValidationInfo) -> list[PictureView]:
        points = info.data["focal_points"]
        return [PictureView.of(info.data["id"], one, points.get(one, (50, 50))) for one in picture_ids]

    @classmethod
    def of(cls, item: Item | Document) -> Self:
        """The public side of an item."""
        return cls.model_validate(item)


# First: routes are tried in order, and this one is hot.
@router.get("/{item_id}", response_model=ItemView, responses=problems(ItemNotFound))
async def get_item(item_id: ItemInPath, store: Items, memory: Memory, user: OptionalUser) -> Response:
    """One item, also if it is paused or withdrawn. A draft is there for its seller alone.

    Others than the seller may get it as it was moments ago, five seconds at most.
    """
    viewer_id = user.id if user else None
    body = memory.answer(item_id, viewer_id)
    if body is None:
        asked_at = time.monotonic()
        item = await store.look_at_as(item_id, viewer_id)
        body = ItemView.of(item).model_dump_json().encode()
        memory.keep(item, body, asked_at)
    return Response(body, media_type="application/json")


class ItemPage(Page[ItemView]):
    """A page of items. `total` and `facets` are of the whole list, up to 10,000 (1,000 of a search), and may be
    ten seconds old.

    A facet has the number of items for each of its values, if that were the only one that is wanted of it.
    """

    total: int
    total_is_bound: Annotated[bool, Field(description="Whether counting stopped at `total`: there may be more.")]
    facets: Mapping[str, Mapping[str, int]] = Field(examples=[{"category": {"music": 3}, "city": {"Berlin": 2}}])


@router.get("", response_model=ItemPage)
async def list_items(
    browse: Annotated[Browse, Query()], catalogue: Lists, memory: Memory, user: OptionalUser, now: Now
) -> Response:
    """Items on sale, and paused ones, but no events that are over: those are over at `over_at`.

    Sellers see in the list of their own (`seller_id`) also these, their drafts and what they have withdrawn.

    `q` finds beginnings of words, in titles, places, tags, descriptions and sellers' names, with small mistakes.

    Who is not signed in may get a first page as it was moments ago, five seconds at most.
    """
    from_memory = user is None and browse.may_be_remembered
    body = memory.page(browse) if from_memory else None
    if body is None:
        asked_at = time.monotonic()
        found, body = await _read_page(browse, catalogue, user.id if user else None, now)
        if from_memory:
            memory.keep_page(browse, found, body, asked_at)
    return Response(body, media_type="application/json")


async def _read_page(
    browse: Browse, catalogue: CatalogueStore, viewer_id: str | None, now: datetime
) -> tuple[list[Document], bytes]:
    """A page from the database: what was found for it, and its JSON."""
    found: list[Document] = []
    wanted = browse.wanted(viewer_id, now)

    async def find(most: int) -> list[Document]:
        if browse.in_two_parts:
            found.extend(await catalogue.page_with_sold_out_last(wanted, most, browse.after, browse.in_sold_out))
        else:
            found.extend(await catalogue.page(wanted, most, browse.after))
        return found

    page, counts = await asyncio.gather(
        page_of(find, browse.limit, ItemView.of, browse.place_of), catalogue.facets(wanted)
    )
    answer = ItemPage(
        items=page.items, next=page.next, total=counts.total, total_is_bound=counts.is_bound, facets=counts.facets
    )
    return found, answer.model_dump_json().encode()


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    responses=problems(EmailNotVerified, Unauthenticated, WrongEvent, WrongSale, IdempotencyKeyReused, Unavailable),
)
async def offer_item(
    body: NewItem, user: VerifiedUser, store: Items, now: Now, idempotency_key: IdempotencyKey = None
) -> ItemView:
    """Put something up for sale. The same key and body again is the same item, with the answer that it got first."""
    offered = body.model_dump()
    if idempotency_key:
        offered |= {"request_key": idempotency_key, "fingerprint": body.fingerprint}
    return ItemView.of(await store.add(Item.offer(seller_id=user.id, now=now, **offered)))


@router.patch(
    "/{item_id}",
    responses=problems(
        Unauthenticated, NotOwner, ItemNotFound, ItemIsWithdrawn, KindIsFixed, WrongEvent, WrongSale, StaleWrite
    ),
)
async def edit_item(
    item_id: ItemInPath, body: Annotated[Edit, AfterValidator(_something)], user: CurrentUser, store: Items
) -> ItemView:
    """Change some fields; of two changes at once, both count. An open order keeps the price it was placed at.

    The answer waits up to two seconds until the change is in effect. If it is not by then, `in_effect` is false.
    """
    item = await store.change(item_id, lambda item: item.edit(user.id, body))
    return ItemView.of(await store.once_in_effect(item))


@router.post(
    "/{item_id}/publish", responses=problems(Unauthenticated, NotOwner, ItemNotFound, ItemIsWithdrawn, StaleWrite)
)
async def publish_item(item_id: ItemInPath, user: CurrentUser, store: Items) -> ItemView:
    """Put a draft on sale, for everybody to see. What is published already stays as it is.

    The answer waits until this is in effect, as that of an edit does.
    """
    return ItemView.of(await store.once_in_effect(await store.change(item_id, lambda item: item.publish(user.id))))


TURNED = problems(Unauthenticated, NotOwner, ItemNotFound, ItemIsWithdrawn, ItemIsDraft, StaleWrite)


@router.post("/{item_id}/pause", responses=TURNED)
async def pause_item(item_id: ItemInPath, user: CurrentUser, store: Items) -> ItemView:
    """Take no orders until it is resumed. Everybody still sees it, and open orders live on.

    The answer waits until this is in effect, as that of an edit does.
    """
    item = await store.change(item_id, lambda item: item.pause(user.id), command=False)
    return ItemView.of(await store.once_in_effect(item))


@router.post("/{item_id}/resume", responses=TURNED)
async def resume_item(item_id: ItemInPath, user: CurrentUser, store: Items) -> ItemView:
    """Take orders again for what was paused. The answer waits until this is in effect, as that of an edit does."""
    return ItemView.of(await store.once_in_effect(await store.change(item_id, lambda item: item.resume(user.id))))


@router.delete("/{item_id}", responses=problems(Unauthenticated, NotOwner, ItemNotFound, StaleWrite))
async def withdraw_item(item_id: ItemInPath, user: CurrentUser, store: Items) -> ItemView:
    """Take an item off sale for good. Open orders live on; there will be no new ones once this is in effect.

    The answer waits for that as that of an edit does.
    """
    item = await store.change(item_id, lambda item: item.withdraw(user.id), command=False)
    return ItemView.of(await store.once_in_effect(item))


UPLOAD = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in KINDS}
Size = Annotated[str, Path(description="`small` (480 pixels), `medium` (960) or `large` (1600).", examples=["small"])]
FOR_EVER = "public, max-age=31536000, immutable"


@router.post(
    "/{item_id}/pictures",
    status_code=status.HTTP_201_CREATED,
    openapi_extra={"requestBody": {"required": True, "content": UPLOAD}},
    responses=problems(
        Unauthenticated,
        NotOwner,
        ItemNotFound,
        ItemIsWithdrawn,
        TooManyPictures,
        StaleWrite,
        TooLarge,
        UnsupportedPicture,
        BadPicture,
        TooMany,
        Unavailable,
    ),
)
async def add_picture(
    item_id: ItemInPath, request: Request, user: CurrentUser, store: Items, converter: Converter
) -> ItemView:
    """Add a JPEG, PNG or WebP of up to 5 MB, after the other pictures. It is converted, without any of its metadata."""
    (await store.get(item_id)).check_room_for_picture(user.id)  # Before the upload is read.
    sizes = await converter.convert(user.id, request.headers.get("content-type", ""), request.stream())
    return ItemView.of(await store.add_picture(item_id, user.id, sizes))


@router.delete(
    "/{item_id}/pictures/{picture_id}",
    responses=problems(Unauthenticated, NotOwner, ItemNotFound, PictureNotFound, ItemIsWithdrawn, StaleWrite),
)
async def remove_picture(item_id: ItemInPath, picture_id: PictureInPath, user: CurrentUser, store: Items) -> ItemView:
    """Remove a picture."""
    return ItemView.of(await store.remove_picture(item_id, user.id, picture_id))


@router.put(
    "/{item_id}/pictures/{picture_id}/focal-point",
    responses=problems(Unauthenticated, NotOwner, ItemNotFound, PictureNotFound, ItemIsWithdrawn, StaleWrite),
)
async def focus_picture(
    item_id: ItemInPath, picture_id: PictureInPath, body: FocalPoint, user: CurrentUser, store: Items
) -> ItemView:
    """Choose the point of a picture that stays visible where it is cropped."""
    at = (body.x, body.y)
    return ItemView.of(await store.change(item_id, lambda item: item.focus(user.id, picture_id, at)))


@router.get(
    "/{item_id}/pictures/{picture_id}/{size}",
    response_class=Response,
    responses=problems(PictureNotFound) | {200: {"content": {"image/webp": {}}}, 304: {"description": "as it was"}},
)
async def get_picture(
    item_id: ItemInPath, picture_id: PictureInPath, size: Size, request: Request, store: Items
) -> Response:
    """A picture, `small` (480 pixels), `medium` (960) or `large` (1600). It may be kept for ever."""
    headers = {"Cache-Control": FOR_EVER, "ETag": f'"{picture_id}-{size}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        await store.check_picture(item_id, picture_id, size)
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    content = await store.picture(item_id, picture_id, size)
    return Response(content, media_type="image/webp", headers=headers)
