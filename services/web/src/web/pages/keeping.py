"""Keep an item: at once, or once one has signed in."""

from collections.abc import Sequence
from contextlib import suppress

from fastapi import Response

from common.errors import Unavailable
from web.clients import favourites
from web.clients.api import Refused
from web.pages.visitor import Visitor


async def keep(visitor: Visitor, item_id: str, back: str) -> Response:
    """Keep an item for a signed-in visitor, and lead back; to the item if they keep too many."""
    try:
        await favourites.keep(visitor.api, item_id)
    except Refused as refused:
        if refused.reason != "too_many_favourites":
            raise
        return visitor.redirect(f"/items/{item_id}?note=too_many_favourites")
    return visitor.redirect(back)


async def kept_among(visitor: Visitor, item_ids: Sequence[str]) -> set[str]:
    """Which of these items the visitor keeps: one call, none for a stranger. No page fails for want of that."""
    if visitor.user and item_ids:
        with suppress(Refused, Unavailable):
            return await favourites.kept(visitor.api, item_ids)
    return set()


def wish(visitor: Visitor, item_id: str) -> str:
    """The page of an item, with the wish to keep it in its address: no link of somebody else's can make one."""
    return f"/items/{item_id}?wish={visitor.seal('wish', [item_id])}"


def is_wish(visitor: Visitor, item_id: str, sealed: str) -> bool:
    """Whether this visitor wanted to keep this item, as `wish` says it."""
    return visitor.unseal("wish", sealed) == [item_id]
