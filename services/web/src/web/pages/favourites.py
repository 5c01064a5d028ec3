"""What a visitor keeps, to find it again."""

from urllib.parse import quote

from fastapi import APIRouter, Response

from common.http.paging import KnownId
from web.clients import favourites
from web.pages.catalogue import counted
from web.pages.forms import Form
from web.pages.keeping import keep, wish
from web.pages.visitor import CurrentVisitor, local

router = APIRouter()


@router.get("/my/favourites")
async def my_favourites(visitor: CurrentVisitor, cursor: str | None = None) -> Response:
    """The items that the visitor keeps."""
    visitor.require_user()
    found = await favourites.favourites(visitor.api, cursor or None)
    items = await counted(visitor, found.items)
    return visitor.render("my_favourites.html", items=items, found=found)


@router.post("/items/{item_id}/favourite")
async def turn_favourite(item_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Keep an item, or let it go, and lead back to it. Who is not signed in keeps it once they are."""
    here = f"/items/{item_id}"
    if not visitor.user:
        visitor.require_known()
        return visitor.redirect(f"/signin?next={quote(wish(visitor, item_id), safe='')}")
    page = local(form.text("back"), here)
    back = here if page == here else f"{page}#item-{item_id}"
    if form.text("keep") != "yes":
        await favourites.let_go(visitor.api, item_id)
        return visitor.redirect(back)
    return await keep(visitor, item_id, back)
