"""Prove an address, get a lost password back, change password and address."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from web.clients.api import Refused
from web.pages.forms import Form, errors_of
from web.pages.visitor import CurrentVisitor, Visitor, local

router = APIRouter()

LinkToken = Annotated[str, Query(max_length=128)]


@router.get("/forgot-password")
async def forgot_password_page(visitor: CurrentVisitor, next: str = "/") -> Response:  # noqa: A002 - a parameter of the address
    """The form for a link to a new password."""
    return _page(visitor, "forgot_password.html", next=local(next))


@router.post("/forgot-password")
async def forgot_password(visitor: CurrentVisitor, form: Form) -> Response:
    """Have the link mailed. Nobody learns whether there is such an account."""
    after = local(form.text("next"))
    try:
        await visitor.api.ask_to_reset(form.text("email"))
    except Refused as refused:
        errors, typed = _errors(refused, visitor), form.texts("email")
        return _page(visitor, "forgot_password.html", refused.status, errors, typed, next=after)
    return visitor.redirect(f"/signin?note=check_mail&next={quote(after, safe='')}")


@router.get("/reset-password")
async def reset_password_page(visitor: CurrentVisitor, token: LinkToken = "") -> Response:
    """The form for a new password, which the link in a mail leads to."""
    return _page(visitor, "reset_password.html", link_token=token)


@router.post("/reset-password")
async def reset_password(visitor: CurrentVisitor, form: Form) -> Response:
    """Set the new password."""
    token = form.text("token")
    try:
        await visitor.api.reset_password(token, form.text("new_password"))
    except Refused as refused:
        return _page(visitor, "reset_password.html", refused.status, _errors(refused, visitor), link_token=token)
    return visitor.redirect("/signin?note=password_changed")


@router.get("/verify-email")
async def verify_email_page(visitor: CurrentVisitor, token: LinkToken = "") -> Response:
    """One button, so that a program which opens the links in mails does not use them up."""
    return _page(visitor, "confirm.html", link_token=token, action="/verify-email")


@router.post("/verify-email")
async def verify_email(visitor: CurrentVisitor, form: Form) -> Response:
    """The address is proved."""
    return await _confirm(visitor, visitor.api.verify_email, form.text("token"), "/verify-email", "verified")


@router.get("/account/email/confirm")
async def confirm_email_page(visitor: CurrentVisitor, token: LinkToken = "") -> Response:
    """The same for a new address."""
    return _page(visitor, "confirm.html", link_token=token, action="/account/email/confirm")


@router.post("/account/email/confirm")
async def confirm_email(visitor: CurrentVisitor, form: Form) -> Response:
    """From now on the new address counts."""
    confirm = visitor.api.confirm_email
    return await _confirm(visitor, confirm, form.text("token"), "/account/email/confirm", "email_changed")


@router.get("/account/email/undo")
async def undo_email_page(visitor: CurrentVisitor, token: LinkToken = "") -> Response:
    """One button, by which the old address takes a change back."""
    return _page(visitor, "undo_email.html", link_token=token)


@router.post("/account/email/undo")
async def undo_email(visitor: CurrentVisitor, form: Form) -> Response:
    """The old address counts again, and gets a link to a new password."""
    token = form.text("token")
    try:
        await visitor.api.undo_email(token)
    except Refused as refused:
        return _page(visitor, "undo_email.html", refused.status, _errors(refused, visitor), link_token=token)
    return visitor.redirect("/signin?note=email_restored")


@router.get("/account")
async def account_page(visitor: CurrentVisitor) -> Response:
    """Address and password of the visitor."""
    visitor.require_user()
    return _page(visitor, "account.html")


@router.post("/account/verify")
async def send_verification(visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Have another link mailed."""
    visitor.require_user()
    try:
        await visitor.api.send_verification()
    except Refused as refused:
        return _page(visitor, "account.html", refused.status, _errors(refused, visitor))
    return visitor.redirect("/account?note=check_mail")


@router.post("/account/password")
async def change_password(visitor: CurrentVisitor, form: Form) -> Response:
    """Set a new password."""
    visitor.require_user()
    try:
        await visitor.api.change_password(form.text("current_password"), form.text("new_password"))
    except Refused as refused:
        return _page(visitor, "account.html", refused.status, _errors(refused, visitor, "current_password"))
    return visitor.redirect("/account?note=password_changed")


@router.post("/account/email")
async def change_email(visitor: CurrentVisitor, form: Form) -> Response:
    """Have a link mailed to the new address."""
    visitor.require_user()
    try:
        await visitor.api.change_email(form.text("password"), form.text("new_email"))
    except Refused as refused:
        errors, typed = _errors(refused, visitor, "password"), form.texts("new_email")
        return _page(visitor, "account.html", refused.status, errors, typed)
    return visitor.redirect("/account?note=check_mail")


async def _confirm(
    visitor: Visitor, confirm: Callable[[str], Awaitable[None]], token: str, path: str, note: str
) -> Response:
    try:
        await confirm(token)
    except Refused as refused:
        return _page(visitor, "confirm.html", refused.status, _errors(refused, visitor), link_token=token, action=path)
    return visitor.redirect(f"{'/account' if visitor.user else '/signin'}?note={note}")


def _page(
    visitor: Visitor,
    template: str,
    status: int = 200,
    errors: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
    **context: str,
) -> Response:
    return visitor.render(template, status, typed=typed or {}, errors=errors or {}, **context)


def _errors(refused: Refused, visitor: Visitor, password: str = "form") -> dict[str, str]:  # noqa: S107 - a field
    _ = visitor.i18n.gettext
    match refused.reason:
        case "token_invalid":
            return {"form": _("This link was used before, or has expired. Ask for a new one.")}
        case "bad_credentials":
            return {password: _("This is not your password.")}
        case "email_taken":
            return {"form": _("Another account has this address.")}
        case "too_many_requests":
            return {"form": _("Too many attempts. Please wait a while.")}
        case "password_too_weak":
            text = _("This password is too easy to guess, made of your name or address, or in a list of stolen ones.")
            return {"new_password": text}
    texts = {
        "email": _("This is not an e-mail address."),
        "new_email": _("This is not an e-mail address."),
        "new_password": _("Use 10 to 128 characters."),
        "token": _("This link is incomplete."),
    }
    return errors_of(refused, texts)
