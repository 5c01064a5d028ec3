"""Keep items, and list what one keeps; all routes of items. Nobody sees what somebody else keeps."""

from collections.abc import Awaitable
from typing import Annotated

from fastapi import APIRouter, Query, status
from pydantic import AwareDatetime

from common.errors import Unauthenticated
from common.http.dependencies import Now, Provided
from common.http.paging import EXAMPLE_ID, Cursor, Limit, Page, page_of
from common.http.problems import problems
from common.http.sessions import CurrentUser
from common.mongo.client import Document
from items.domain import ItemNotFound
from items.favourites.store import FavouriteStore, TooManyFavourites
from items.routes import ItemInPath, Items, ItemView
from items.routes import router as items

own = APIRouter(prefix="/api/items", tags=["items"])

Favourites = Annotated[FavouriteStore, Provided(FavouriteStore)]


class FavouriteView(ItemView):
    """An item that the caller keeps, as it is now."""

    kept_at: AwareDatetime


@own.get("/favourites", responses=problems(Unauthenticated))
async def list_favourites(
    user: CurrentUser,
    favourites: Favourites,
    limit: Limit = 20,
    cursor: Cursor = None,
    item_id: Annotated[
        list[str], Query(max_length=100, description="Only these items, if they are kept.", examples=[[EXAMPLE_ID]])
    ] = [],  # noqa: B006 - FastAPI copies it
) -> Page[FavouriteView]:
    """What the caller keeps, the one kept last first: also what is sold out, paused or withdrawn by now."""

    def find(most: int) -> Awaitable[list[Document]]:
        return favourites.page(user.id, most, cursor, item_id)

    return await page_of(find, limit, FavouriteView.model_validate, lambda item: str(item["place"]))


@own.put(
    "/{item_id}/favourite",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems(Unauthenticated, ItemNotFound, TooManyFavourites),
)
async def keep_item(item_id: ItemInPath, user: CurrentUser, store: Items, favourites: Favourites, now: Now) -> None:
    """Keep an item, to find it again. What is kept already stays as it is. One person keeps at most 500."""
    await store.look_at_as(item_id, user.id)
    await favourites.keep(user.id, item_id, now)


@own.delete("/{item_id}/favourite", status_code=status.HTTP_204_NO_CONTENT, responses=problems(Unauthenticated))
async def let_item_go(item_id: ItemInPath, user: CurrentUser, favourites: Favourites) -> None:
    """Keep an item no longer. What is not kept stays as it is."""
    await favourites.let_go(user.id, item_id)


router = APIRouter()
router.include_router(own)  # First: /api/items/favourites is not the id of an item.
router.include_router(items)
