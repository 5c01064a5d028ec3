"""Browse, look at an item, and buy it."""

from fastapi import APIRouter, Response

from web.clients.api import Item, Refused
from web.rendering.forms import Form
from web.rendering.i18n import Words
from web.security.visitor import Here, Visitor

router = APIRouter()

MOST_AT_ONCE = 10
"""What the quantity field offers at most; orders has the last word."""


@router.get("/")
async def front(visitor: Here, q: str = "", cursor: str | None = None) -> Response:
    """The newest items, or those that a search finds."""
    search = q.strip()[:200]
    found = await visitor.api.items(q=search or None, cursor=cursor or None)
    return visitor.page("front.html", q=search, found=found, first=not cursor)


@router.get("/items/{item_id}")
async def show_item(item_id: str, visitor: Here) -> Response:
    """One item."""
    return item_page(visitor, await visitor.api.item(item_id))


@router.post("/items/{item_id}/order")
async def order_item(item_id: str, visitor: Here, form: Form) -> Response:
    """Hold some of it."""
    if not visitor.user:
        return visitor.go(f"/signin?next=/items/{item_id}")
    quantity = form.number("quantity")
    if not quantity:
        error = visitor.words.gettext("Choose a whole number, 1 or more.")
        return item_page(visitor, await visitor.api.item(item_id), 422, form.text("quantity"), error)
    try:
        order = await visitor.api.place_order(item_id, quantity, form.text("key"))
    except Refused as refused:
        item = await visitor.api.item(item_id)
        error = refusal(refused, item, visitor.words)
        return item_page(visitor, item, refused.status, form.text("quantity"), error)
    return visitor.go(f"/orders/{order.id}")


def item_page(visitor: Visitor, item: Item, status: int = 200, quantity: str = "1", error: str = "") -> Response:
    """The page of an item, with what was typed and why it can't be ordered."""
    return visitor.page("item.html", status, item=item, quantity=quantity, error=error, most=MOST_AT_ONCE)


def refusal(refused: Refused, item: Item, words: Words) -> str:
    """Why an order was not taken, in words. Raises what concerns nobody's order."""
    match refused.reason:
        case "sold_out" if item.left:
            left = words.ngettext("Only %(number)s is left by now.", "Only %(number)s are left by now.", item.left)
            return left % {"number": words.number(item.left)}
        case "sold_out":
            return words.gettext("Somebody was faster: it is sold out. If a hold runs out, it comes back here.")
        case "hold_limit":
            return words.gettext("That is more than one person may hold of an item. Pay what you hold first.")
        case "own_item":
            return words.gettext("This is your own item.")
        case "item_withdrawn":
            return words.gettext("The seller takes no more orders for this.")
        case "idempotency_key_reused":
            return words.gettext("You have ordered from this page already. Press once more to order again.")
        case "validation_failed":
            return words.gettext("Choose a whole number, 1 or more.")
        case _:
            raise refused
