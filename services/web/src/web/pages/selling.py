"""Sell, edit and withdraw items, and their pictures."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response, UploadFile

from common.errors import Forbidden
from common.events import Currency
from web.clients.api import Item, Refused
from web.rendering import money
from web.rendering.forms import MAX_PICTURE, MAX_PICTURES, Form, Typed
from web.rendering.i18n import N_
from web.security.visitor import Here, Visitor

router = APIRouter()

FIELDS = ("title", "description", "price", "currency", "quantity")
PICTURE_ERRORS = {
    "unsupported_picture": N_("This is no JPEG, PNG or WebP picture."),
    "bad_picture": N_("This picture can't be read. Save it again as JPEG or PNG and try once more."),
    "too_large": N_("A picture may have up to 5 MB."),
    "too_many_pictures": N_("An item may have up to six pictures."),
}


@router.get("/sell")
async def sell_page(visitor: Here) -> Response:
    """The form for a new item."""
    visitor.known()
    return _form_page(visitor, "sell.html", {"quantity": "1", "currency": _usual_currency(visitor)})


@router.post("/sell")
async def sell(visitor: Here, form: Form) -> Response:
    """Put something up for sale, with its pictures."""
    visitor.known()
    fields, errors = _read(form, visitor)
    try:
        if errors:
            return _form_page(visitor, "sell.html", form.texts(*FIELDS), errors, 422)
        item = await visitor.api.offer(fields)
    except Refused as refused:
        errors = _refused_fields(refused, visitor)
        return _form_page(visitor, "sell.html", form.texts(*FIELDS), errors, refused.status)
    if refused_picture := await _add_pictures(visitor, item.id, form.files("pictures")):
        return visitor.go(f"/items/{item.id}/edit?note=listed&picture={refused_picture}#pictures")
    return visitor.go(f"/items/{item.id}?note=listed")


@router.get("/items/{item_id}/edit")
async def edit_page(item_id: str, visitor: Here, picture: str = "") -> Response:
    """The form for an item of one's own."""
    item = await _own(item_id, visitor)
    return _edit_page(visitor, item, picture=picture)


@router.post("/items/{item_id}/edit")
async def edit(item_id: str, visitor: Here, form: Form) -> Response:
    """Change an item."""
    item = await _own(item_id, visitor)
    fields, errors = _read(form, visitor)
    try:
        if errors:
            return _edit_page(visitor, item, form.texts(*FIELDS), errors, 422)
        await visitor.api.edit(item_id, fields)
    except Refused as refused:
        return _edit_page(visitor, item, form.texts(*FIELDS), _refused_fields(refused, visitor), refused.status)
    return visitor.go(f"/items/{item_id}/edit?note=saved")


@router.post("/items/{item_id}/withdraw")
async def withdraw(item_id: str, visitor: Here, form: Form) -> Response:  # noqa: ARG001 - checks that our page sent it
    """Take an item off sale."""
    visitor.known()
    await visitor.api.withdraw(item_id)
    return visitor.go("/my/items?note=withdrawn")


@router.post("/items/{item_id}/pictures")
async def add_pictures(item_id: str, visitor: Here, form: Form) -> Response:
    """Add pictures to an item."""
    visitor.known()
    if refused := await _add_pictures(visitor, item_id, form.files("pictures")):
        return visitor.go(f"/items/{item_id}/edit?picture={refused}#pictures")
    return visitor.go(f"/items/{item_id}/edit?note=pictures#pictures")


@router.post("/items/{item_id}/pictures/{picture_id}/remove")
async def remove_picture(item_id: str, picture_id: str, visitor: Here, form: Form) -> Response:  # noqa: ARG001
    """Remove a picture of an item."""
    visitor.known()
    await visitor.api.remove_picture(item_id, picture_id)
    return visitor.go(f"/items/{item_id}/edit?note=pictures#pictures")


@router.get("/my/items")
async def my_items(visitor: Here, cursor: str | None = None) -> Response:
    """What the visitor sells, withdrawn items too."""
    user = visitor.known()
    found = await visitor.api.items(seller_id=user.id, cursor=cursor or None)
    return visitor.page("my_items.html", found=found)


async def _own(item_id: str, visitor: Visitor) -> Item:
    user, item = visitor.known(), await visitor.api.item(item_id)
    if item.seller_id != user.id:
        raise Forbidden("this is somebody else's item")
    return item


async def _add_pictures(visitor: Visitor, item_id: str, files: list[UploadFile]) -> str | None:
    """Hand pictures on, one by one; returns the code of the first refusal."""
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


def _read(form: Typed, visitor: Visitor) -> tuple[dict[str, object], dict[str, str]]:
    """The fields for items, and what is wrong with those that web itself has to understand."""
    _ = visitor.words.gettext
    errors = {}
    fields: dict[str, object] = {"title": form.text("title"), "description": form.text("description")}
    currency = form.text("currency")
    if currency in list(Currency):
        fields["currency"] = currency
        try:
            fields["price"] = money.parse(form.text("price"), currency, visitor.words.locale)
        except money.NotAnAmount:
            errors["price"] = _("Write an amount like %(example)s.") % {"example": _example(visitor, currency)}
        except money.TooPrecise as error:
            errors["price"] = (
                visitor.words.ngettext(
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
        errors["quantity"] = _quantity_words(visitor)
    if not form.text("title").strip():
        errors["title"] = _title_words(visitor)
    return fields, errors


def _refused_fields(refused: Refused, visitor: Visitor) -> dict[str, str]:
    _ = visitor.words.gettext
    if refused.reason == "item_withdrawn":
        return {"form": _("This item is withdrawn. List it again to sell it.")}
    words = {
        "title": _title_words(visitor),
        "description": _("Use up to 10,000 characters."),
        "price": _("Choose a price above zero. This one is too low or too high."),
        "currency": _("Choose a currency."),
        "quantity": _quantity_words(visitor),
    }
    errors = {name: text for name, text in words.items() if name in refused.fields}
    if not errors:
        raise refused
    return errors


def _title_words(visitor: Visitor) -> str:
    return visitor.words.gettext("Give it a title of 1 to 200 characters.")


def _quantity_words(visitor: Visitor) -> str:
    return visitor.words.gettext("Choose a whole number from 1 to 100,000.")


def _example(visitor: Visitor, currency: str) -> str:
    return money.typed(1250, currency, visitor.words.locale)


def _usual_currency(visitor: Visitor) -> str:
    usual = {"US": "USD", "GB": "GBP", "CH": "CHF", "AU": "AUD", "CA": "CAD", "JP": "JPY"}
    return usual.get(visitor.words.locale.territory or "", "EUR")


def _form_page(
    visitor: Visitor,
    template: str,
    typed: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    status: int = 200,
    **context: Any,
) -> Response:
    blank = dict.fromkeys(FIELDS, "")
    currencies = sorted(Currency)
    return visitor.page(
        template, status, typed={**blank, **typed}, errors=errors or {}, currencies=currencies, **context
    )


def _edit_page(
    visitor: Visitor,
    item: Item,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    status: int = 200,
    picture: str = "",
) -> Response:
    words = visitor.words
    if typed is None:
        price = money.typed(item.price, item.currency, words.locale)
        typed = {"title": item.title, "description": item.description, "price": price, "currency": item.currency}
        typed |= {"quantity": str(item.quantity)}
    refused = words.gettext(PICTURE_ERRORS[picture]) if picture in PICTURE_ERRORS else ""
    return _form_page(visitor, "edit.html", typed, errors, status, item=item, picture_error=refused)
