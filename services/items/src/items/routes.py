"""Browse, offer, edit and withdraw items."""

from typing import Annotated, Self

from fastapi import APIRouter, Query, status
from pydantic import AfterValidator, AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field, with_config

from common.auth import CurrentUser, OptionalUser
from common.errors import StaleWrite, Unauthenticated, Unavailable
from common.events import Currency, ItemStatus
from common.http import Body, Cursor, Limit, Now, Page, Provided, problems
from common.mongo import Document
from items.domain import (
    Changes,
    Description,
    Item,
    ItemIsWithdrawn,
    ItemNotFound,
    NotOwner,
    Price,
    Quantity,
    Title,
)
from items.store import ItemStore

router = APIRouter(prefix="/api/items", tags=["items"])

Items = Annotated[ItemStore, Provided(ItemStore)]


class NewItem(Body):
    """What a seller offers; `price` is of one unit, in the currency's smallest unit."""

    title: Title
    description: Description = ""
    price: Price
    currency: Currency
    quantity: Quantity


@with_config(Body.model_config)
class Edit(Changes, total=False):
    """At least one field of `NewItem`."""


def _something(edit: Edit) -> Edit:
    if edit:
        return edit
    raise ValueError("name at least one field to change")


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

    @classmethod
    def of(cls, item: Item | Document) -> Self:
        """The public side of an item."""
        return cls.model_validate(item)


@router.get("/{item_id}", responses=problems(ItemNotFound))  # First: routes are tried in order, and this one is hot.
async def get_item(item_id: str, store: Items) -> ItemView:
    """One item, listed or withdrawn."""
    return ItemView.of(await store.look_at(item_id))


@router.get("")
async def list_items(
    store: Items,
    user: OptionalUser,
    q: Annotated[str | None, Query(max_length=200)] = None,
    seller_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Page[ItemView]:
    """Items on sale, newest first; `q` wants every word in title or description. Sellers see their withdrawn ones."""
    own = user is not None and user.id == seller_id
    search = q.strip() if q else None
    items, following = await store.page(
        search=search, seller_id=seller_id, withdrawn_too=own, limit=limit, before=cursor
    )
    return Page(items=[ItemView.of(item) for item in items], next=following)


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems(Unauthenticated, Unavailable))
async def offer_item(body: NewItem, user: CurrentUser, store: Items, now: Now) -> ItemView:
    """Put something up for sale."""
    item = Item.offer(seller_id=user.id, now=now, **body.model_dump())
    await store.add(item)
    return ItemView.of(item)


@router.patch("/{item_id}", responses=problems(Unauthenticated, NotOwner, ItemNotFound, ItemIsWithdrawn, StaleWrite))
async def edit_item(
    item_id: str, body: Annotated[Edit, AfterValidator(_something)], user: CurrentUser, store: Items
) -> ItemView:
    """Change some fields; of two changes at once, both count. An open order keeps the price it was placed at."""
    return ItemView.of(await store.change(item_id, lambda item: item.edit(user.id, body)))


@router.delete("/{item_id}", responses=problems(Unauthenticated, NotOwner, ItemNotFound, StaleWrite))
async def withdraw_item(item_id: str, user: CurrentUser, store: Items) -> ItemView:
    """Take an item off sale for good. Open orders live on; there will be no new ones."""
    return ItemView.of(await store.change(item_id, lambda item: item.withdraw(user.id)))
