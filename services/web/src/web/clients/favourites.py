"""Calls to items about what a visitor keeps, on their behalf. Each raises as `Api.send` does."""

from collections.abc import Sequence

from common.http.paging import Page
from web.clients.api import PAGE_SIZE, Api
from web.clients.models import Item


async def favourites(api: Api, cursor: str | None = None) -> Page[Item]:
    """What the visitor keeps, the one kept last first."""
    answer = await api.get("items", "favourites", cursor=cursor, limit=PAGE_SIZE)
    return Page[Item].model_validate_json(answer.content)


async def kept(api: Api, item_ids: Sequence[str]) -> set[str]:
    """Which of these items the visitor keeps."""
    answer = await api.send("GET", "items", "favourites", params={"item_id": list(item_ids), "limit": len(item_ids)})
    return {item.id for item in Page[Item].model_validate_json(answer.content).items}


async def keep(api: Api, item_id: str) -> None:
    """Keep an item."""
    await api.send("PUT", "items", item_id, "favourite")


async def let_go(api: Api, item_id: str) -> None:
    """Keep an item no longer."""
    await api.send("DELETE", "items", item_id, "favourite")
