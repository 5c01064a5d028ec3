"""Look at an item, and order it."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from math import ceil
from urllib.parse import quote

from fastapi import APIRouter, Response

from common.events import Currency
from common.http.paging import KnownId
from common.ids import new_id
from web.clients.api import Refused
from web.clients.models import Item, Sale
from web.pages.forms import Form
from web.pages.keeping import is_wish, keep, kept_among
from web.pages.purchase import Purchase
from web.pages.visitor import CurrentVisitor, Visitor
from web.rendering.categories import CATEGORIES
from web.rendering.i18n import I18n
from web.rendering.linked_data import linked_data
from web.rendering.markdown import plain, shortened

router = APIRouter()

MAX_QUANTITY = 10
"""The largest number that the quantity field offers. Orders decides."""


@router.get("/items/{item_id}")
async def show_item(item_id: KnownId, visitor: CurrentVisitor, purchase: str = "", wish: str = "") -> Response:
    """One item, and the `purchase` that was begun here. A `wish` to keep it, from before they signed in, comes true."""
    if visitor.user and is_wish(visitor, item_id, wish):
        return await keep(visitor, item_id, f"/items/{item_id}")
    begun = Purchase.kept(visitor, purchase)
    item, kept = await asyncio.gather(visitor.api.item(item_id), kept_among(visitor, [item_id]))
    [item] = await counted(visitor, [item])
    return item_page(visitor, item, begun=begun, kept=item_id in kept)


@router.post("/items/{item_id}/order")
async def order_item(item_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Place an order."""
    quantity = form.text("quantity")
    if not form.number("quantity"):
        error = visitor.i18n.gettext("Enter a whole number, 1 or more.")
        return item_page(visitor, await visitor.api.item(item_id), 422, quantity, error)
    purchase = Purchase.typed(item_id, form)
    if not visitor.user:
        return visitor.redirect(f"/signin?next={quote(purchase.address(visitor), safe='')}")
    try:
        order = await purchase.place(visitor.api)
    except Refused as refused:
        if refused.status == HTTPStatus.UNAUTHORIZED:  # Their session has ended since they came.
            return visitor.redirect(f"/signin?next={quote(purchase.address(visitor), safe='')}")
        [item] = await counted(visitor, [at_price(await visitor.api.item(item_id), refused)])
        return item_page(visitor, item, refused.status, quantity, refusal(refused, item, visitor.i18n))
    return visitor.redirect(f"/orders/{order.id}")


async def shown(visitor: Visitor, items: Sequence[Item]) -> tuple[list[Item], set[str]]:
    """The items as `counted` has them, and which of them the visitor keeps."""
    return await asyncio.gather(counted(visitor, items), kept_among(visitor, [item.id for item in items]))


async def counted(visitor: Visitor, items: Sequence[Item]) -> list[Item]:
    """The items, with the units of those that have none free: what is only held may come back."""
    gone = [item for item in items if item.listed and not item.available]
    known = {item.id: item for item in await visitor.api.with_units(gone)}
    return [known.get(item.id, item) for item in items]


def at_price(item: Item, refused: Refused) -> Item:
    """The item at the price by which the order was refused: items and orders may differ for a moment."""
    if refused.reason != "price_changed":
        return item
    price, currency = refused.problem["unit_price"], refused.problem["currency"]
    return item.model_copy(update={"price": price, "currency": Currency(currency)})


def item_page(
    visitor: Visitor,
    item: Item,
    status: int = 200,
    quantity: str = "1",
    error: str = "",
    begun: Purchase | None = None,
    kept: bool | None = None,
) -> Response:
    """The page of an item, with the typed quantity and why it can't be ordered, or with a purchase that was begun.

    `kept` is whether the visitor keeps it, None if the page does not say so.
    """
    typed = begun or Purchase(item.id, quantity, new_id(), "")
    summary = shortened(plain(item.description) or item.title)
    return visitor.render(
        "item.html",
        status,
        item=item,
        typed=typed,
        error=error,
        kept=kept,
        most=MAX_QUANTITY,
        categories=CATEGORIES,
        summary=summary,
        linked_data=linked_data(item, summary, visitor.origin),
    )


def refusal(refused: Refused, item: Item, i18n: I18n) -> str:
    """Why an order was refused, in words. Raises `refused` if it has none for it.

    How much is left is what orders has counted (before this release it did not say so): the item may still show what
    was left a moment before.
    """
    match refused.reason:
        case "sold_out" if left := int(refused.problem.get("available", item.left)):
            words = i18n.ngettext("Only %(number)s is left.", "Only %(number)s are left.", left)
            return words % {"number": i18n.number(left)}
        case "sold_out" if item.reserved or item.left:
            return i18n.gettext("Somebody was faster: all of it is reserved. If a hold runs out, it will be back here.")
        case "sold_out":
            return i18n.gettext("Somebody was faster: this is sold out.")
        case "not_on_sale_yet":
            starts_at = datetime.fromisoformat(str(refused.problem["sale_starts_at"]))
            when = i18n.day_and_time(starts_at, item.timezone)
            return i18n.gettext("The sale starts on %(when)s.") % {"when": when}
        case "item_paused":
            return i18n.gettext("The seller is not taking orders for this right now. Look in again later.")
        case "sale_over" if item.sale is Sale.ENDED:
            return i18n.gettext("This event is over.")
        case "sale_over":
            return i18n.gettext("The sale is over.")
        case "price_changed":
            price = i18n.money(item.price, item.currency)
            return i18n.gettext(
                "The seller has just changed the price. One now costs %(price)s. Nothing has been ordered yet: "
                "press the button once more if you still want it."
            ) % {"price": price}
        case "hold_limit":
            number = i18n.number(int(refused.problem.get("limit", MAX_QUANTITY)))
            return i18n.gettext(
                "One person may hold %(number)s of this at a time. Pay for what you hold, then you can hold more."
            ) % {"number": number}
        case "total_hold_limit":
            number = i18n.number(int(refused.problem.get("limit", 0)))
            return i18n.gettext(
                "One person may hold %(number)s units at a time, of everything. Pay for some of them first."
            ) % {"number": number}
        case "buyer_limit":
            number = i18n.number(int(refused.problem["limit"]))
            return i18n.gettext("The seller sells at most %(number)s to one person.") % {"number": number}
        case "too_many_holds":
            minutes = ceil(int(refused.problem["retry_after"]) / 60)
            return i18n.ngettext(
                "You have held this several times without paying. You can hold it again in %(number)s minute.",
                "You have held this several times without paying. You can hold it again in %(number)s minutes.",
                minutes,
            ) % {"number": i18n.number(minutes)}
        case "network_holds":
            return i18n.gettext(
                "Other people on your network are holding a lot of this right now. Try again in a minute: "
                "once they pay or let go, it is your turn."
            )
        case "own_item":
            return i18n.gettext("This is your own item.")
        case "item_withdrawn":
            return i18n.gettext("The seller is not taking any more orders for this.")
        case "idempotency_key_reused":
            return i18n.gettext("You have already ordered from this page. Press the button once more to order again.")
        case "validation_failed":
            return i18n.gettext("Enter a whole number, 1 or more.")
        case _:
            raise refused
