"""Sell, edit and withdraw items, and their pictures."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter, Response, UploadFile

from common.errors import Forbidden
from common.events import Currency
from common.http.paging import KnownId
from web.clients.api import Refused
from web.clients.models import Item
from web.pages import event_fields, sale_fields
from web.pages.forms import MAX_PICTURE, MAX_PICTURES, Fields, Form, FormWithPictures, errors_of
from web.pages.visitor import CurrentVisitor, Visitor
from web.rendering import money
from web.rendering.categories import CATEGORIES
from web.rendering.i18n import N_

router = APIRouter()

OFFER = ("title", "description", "price", "currency", "quantity", "limit_per_buyer", "category", "tags", "draft")
FIELDS = (*OFFER, *sale_fields.FIELDS, *event_fields.FIELDS)
Turn = Literal["publish", "pause", "resume"]
TURNED: Mapping[Turn, str] = {"publish": "listed", "pause": "paused", "resume": "resumed"}
PICTURE_ERRORS = {
    "unsupported_picture": N_("This is not a JPEG, PNG or WebP picture."),
    "bad_picture": N_("This picture can't be read. Save it again as JPEG or PNG and try once more."),
    "too_large": N_("A picture may have up to 5 MB."),
    "too_many_pictures": N_("An item may have up to six pictures."),
}


@router.get("/sell")
async def sell_page(visitor: CurrentVisitor) -> Response:
    """The form for a new item."""
    visitor.require_user()
    return _form_page(visitor, "sell.html", {"quantity": "1", "currency": visitor.i18n.usual_currency})


@router.post("/sell")
async def sell(visitor: CurrentVisitor, form: FormWithPictures) -> Response:
    """List an item, with its pictures. The same form sent twice lists one, with the pictures that are still missing."""
    visitor.require_user()
    fields, errors = _read(form, visitor)
    typed = form.texts(*FIELDS)
    try:
        if errors:
            return _form_page(visitor, "sell.html", typed, errors, 422)
        fields["draft"] = bool(form.text("draft"))
        item = await visitor.api.offer(fields, form.text("key"))
    except Refused as refused:
        errors = _refusal_errors(refused, visitor)
        return _form_page(visitor, "sell.html", typed, errors, refused.status)
    pictures = form.files("pictures")
    missing = pictures[len((await visitor.api.item(item.id)).pictures) :] if pictures else []
    if refused_picture := await _add_pictures(visitor, item.id, missing):
        return visitor.redirect(f"/items/{item.id}/edit?note=listed&picture={refused_picture}#pictures")
    return visitor.redirect(f"/items/{item.id}?note={'drafted' if fields['draft'] else 'listed'}")


@router.get("/items/{item_id}/edit")
async def edit_page(item_id: KnownId, visitor: CurrentVisitor, picture: str = "") -> Response:
    """The form to edit one of the visitor's own items."""
    item = await _own(item_id, visitor)
    return _edit_page(visitor, item, picture=picture)


@router.post("/items/{item_id}/edit")
async def edit(item_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Change an item."""
    item = await _own(item_id, visitor)
    fields, errors = _read(form, visitor)
    try:
        if errors:
            return _edit_page(visitor, item, form.texts(*FIELDS), errors, 422)
        item = await visitor.api.edit(item_id, fields)
    except Refused as refused:
        return _edit_page(visitor, item, form.texts(*FIELDS), _refusal_errors(refused, visitor), refused.status)
    return visitor.redirect(f"/items/{item_id}/edit?note={'saved' if item.in_effect else 'accepted'}")


@router.post("/items/{item_id}/turn/{what}")
async def turn(item_id: KnownId, what: Turn, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Publish, pause or resume an item."""
    visitor.require_user()
    item = await visitor.api.turn(item_id, what)
    return visitor.redirect(f"/items/{item_id}?note={TURNED[what] if item.in_effect else 'accepted'}")


@router.post("/items/{item_id}/withdraw")
async def withdraw(item_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Take an item off sale."""
    visitor.require_user()
    item = await visitor.api.withdraw(item_id)
    return visitor.redirect(f"/my/items?note={'withdrawn' if item.in_effect else 'accepted'}")


@router.post("/items/{item_id}/pictures")
async def add_pictures(item_id: KnownId, visitor: CurrentVisitor, form: FormWithPictures) -> Response:
    """Add pictures to an item."""
    visitor.require_user()
    if refused := await _add_pictures(visitor, item_id, form.files("pictures")):
        return visitor.redirect(f"/items/{item_id}/edit?picture={refused}#pictures")
    return visitor.redirect(f"/items/{item_id}/edit?note=pictures#pictures")


@router.post("/items/{item_id}/pictures/{picture_id}/focal-point")
async def focus_picture(item_id: KnownId, picture_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Choose what of a picture stays visible where it is cropped. What is no percentage counts as the nearest one."""
    visitor.require_user()
    x, y = (min(form.number(name) or 0, 100) for name in ("x", "y"))
    await visitor.api.focus_picture(item_id, picture_id, x, y)
    return visitor.redirect(f"/items/{item_id}/edit?note=pictures#pictures")


@router.post("/items/{item_id}/pictures/{picture_id}/remove")
async def remove_picture(item_id: KnownId, picture_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001
    """Remove a picture of an item."""
    visitor.require_user()
    await visitor.api.remove_picture(item_id, picture_id)
    return visitor.redirect(f"/items/{item_id}/edit?note=pictures#pictures")


@router.get("/my/items")
async def my_items(visitor: CurrentVisitor, cursor: str | None = None) -> Response:
    """The visitor's items, including withdrawn ones."""
    user = visitor.require_user()
    found = await visitor.api.items(seller_id=user.id, cursor=cursor or None)
    items = await visitor.api.with_units(found.items)
    return visitor.render("my_items.html", found=found.model_copy(update={"items": items}), first=not cursor)


async def _own(item_id: str, visitor: Visitor) -> Item:
    user, item = visitor.require_user(), await visitor.api.item(item_id)
    if item.seller_id != user.id:
        raise Forbidden("only the seller can edit an item")
    return item


async def _add_pictures(visitor: Visitor, item_id: str, files: list[UploadFile]) -> str | None:
    """Upload pictures one by one. Returns the code of the first refusal."""
    for file in files[: MAX_PICTURES + 1]:
        if (file.size or 0) > MAX_PICTURE:
            return "too_large"
        try:
            await visitor.api.add_picture(item_id, await file.read(), file.content_type or "")
        except Refused as refused:
            if refused.reason not in PICTURE_ERRORS:
                raise
            return refused.reason
    return None


def _read(form: Fields, visitor: Visitor) -> tuple[dict[str, object], dict[str, str]]:
    """The fields for the items service, and the errors in those that web itself must parse."""
    _ = visitor.i18n.gettext
    errors = {}
    fields: dict[str, object] = {"title": form.text("title"), "description": form.text("description")}
    currency = form.text("currency")
    if currency in list(Currency):
        fields["currency"] = currency
        try:
            fields["price"] = money.parse(form.text("price"), currency, visitor.i18n.locale)
        except money.NotAnAmount:
            errors["price"] = _("Enter an amount like %(example)s.") % {"example": _example(visitor, currency)}
        except money.TooPrecise as error:
            errors["price"] = (
                visitor.i18n.ngettext(
                    "%(currency)s has %(number)s decimal.", "%(currency)s has %(number)s decimals.", error.decimals
                )
                % {"currency": currency, "number": error.decimals}
                if error.decimals
                else _("%(currency)s has no decimals.") % {"currency": currency}
            )
    else:
        errors["currency"] = _("Choose a currency.")
    fields["quantity"] = form.number("quantity")
    if not fields["quantity"]:
        errors["quantity"] = _quantity_error(visitor)
    fields["limit_per_buyer"] = form.number("limit_per_buyer")
    if form.text("limit_per_buyer").strip() and not fields["limit_per_buyer"]:
        errors["limit_per_buyer"] = _quantity_error(visitor)
    fields["category"] = form.text("category") or None
    fields["tags"] = [tag.strip() for tag in form.text("tags").split(",") if tag.strip()]
    if not form.text("title").strip():
        errors["title"] = _title_error(visitor)
    details, wrong = event_fields.read(form, visitor.i18n)
    times, wrong_times = sale_fields.read(form, visitor.i18n)
    return fields | details | times, errors | wrong | wrong_times


def _refusal_errors(refused: Refused, visitor: Visitor) -> dict[str, str]:
    _ = visitor.i18n.gettext
    if refused.reason == "item_withdrawn":
        return {"form": _("This item is withdrawn. List it again to sell it.")}
    if refused.reason == "idempotency_key_reused":
        return {"form": _("You have already put this on sale. Press the button once more to sell another.")}
    texts = {
        "title": _title_error(visitor),
        "description": _("Use up to 10,000 characters."),
        "price": _("Enter a price above zero. This one is too low or too high."),
        "currency": _("Choose a currency."),
        "quantity": _quantity_error(visitor),
        "limit_per_buyer": _quantity_error(visitor),
        "category": _("Choose a category."),
        "tags": _("Use up to five tags of up to 30 characters, with commas between them."),
        **sale_fields.refusals(visitor.i18n),
        **event_fields.refusals(visitor.i18n),
    }
    return errors_of(refused, texts)


def _title_error(visitor: Visitor) -> str:
    return visitor.i18n.gettext("Enter a title of 1 to 200 characters.")


def _quantity_error(visitor: Visitor) -> str:
    return visitor.i18n.gettext("Enter a whole number from 1 to 100,000.")


def _example(visitor: Visitor, currency: str) -> str:
    return money.typed(1250, currency, visitor.i18n.locale)


def _form_page(
    visitor: Visitor,
    template: str,
    typed: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    status: int = 200,
    **context: Any,
) -> Response:
    blank = {**dict.fromkeys(FIELDS, ""), **event_fields.blank(visitor.i18n)}
    choices = {"currencies": sorted(Currency), "time_zones": event_fields.time_zones(), "categories": CATEGORIES}
    choices["usual_time_zone"] = event_fields.usual_time_zone(visitor.i18n)
    return visitor.render(template, status, typed={**blank, **typed}, errors=errors or {}, **choices, **context)


def _edit_page(
    visitor: Visitor,
    item: Item,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    status: int = 200,
    picture: str = "",
) -> Response:
    i18n = visitor.i18n
    if typed is None:
        price = money.typed(item.price, item.currency, i18n.locale)
        typed = {"title": item.title, "description": item.description, "price": price, "currency": item.currency}
        typed |= {"quantity": str(item.quantity), "limit_per_buyer": str(item.limit_per_buyer or "")}
        typed |= {"category": item.category or "", "tags": ", ".join(item.tags)}
        typed |= event_fields.typed(item, i18n) | sale_fields.typed(item, i18n)
    refused = i18n.gettext(PICTURE_ERRORS[picture]) if picture in PICTURE_ERRORS else ""
    return _form_page(visitor, "edit.html", typed, errors, status, item=item, picture_error=refused)
