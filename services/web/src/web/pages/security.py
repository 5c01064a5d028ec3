"""Passkeys and recovery codes: add, name and remove them, and sign in with them."""

import asyncio

from fastapi import APIRouter, Response

from common.http.paging import KnownId
from common.http.sessions import CEREMONY_COOKIE, cookie_name
from web.clients import passkeys
from web.clients.api import Refused
from web.pages.forms import Form
from web.pages.purchase import go_on
from web.pages.visitor import CurrentVisitor, Visitor, local

router = APIRouter()

LONGEST_NAME = 60


@router.get("/my/security")
async def security(visitor: CurrentVisitor) -> Response:
    """The visitor's passkeys and recovery codes."""
    visitor.require_user()
    return await _security_page(visitor)


@router.post("/my/security/passkeys/new")
async def make_passkey(visitor: CurrentVisitor, form: Form) -> Response:
    """The page on which the browser makes a passkey."""
    visitor.require_user()
    name = form.text("name").strip()[:LONGEST_NAME]
    try:
        options = await passkeys.creation_options(visitor.api)
    except Refused as refused:
        return await _security_page(visitor, _add_error(refused, visitor))
    return visitor.render("add_passkey.html", options=options, name=name, errors={}, typed={})


@router.post("/my/security/passkeys")
async def add_passkey(visitor: CurrentVisitor, form: Form) -> Response:
    """Add the passkey that the browser has made."""
    visitor.require_user()
    name = form.text("name").strip() or visitor.i18n.gettext("My passkey")
    try:
        cookies = await passkeys.add(visitor.api, form.text("credential"), name)
    except Refused as refused:
        return await _security_page(visitor, _add_error(refused, visitor))
    return visitor.redirect("/my/security?note=passkey_added", cookies)


@router.post("/my/security/passkeys/{passkey_id}/rename")
async def rename_passkey(passkey_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Give a passkey another name."""
    visitor.require_user()
    try:
        await passkeys.rename(visitor.api, passkey_id, form.text("name"))
    except Refused as refused:
        if "name" not in refused.fields:
            raise
        return await _security_page(visitor, visitor.i18n.gettext("A name has 1 to 60 characters."))
    return visitor.redirect("/my/security?note=saved")


@router.post("/my/security/passkeys/{passkey_id}/remove")
async def remove_passkey(passkey_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Remove a passkey."""
    visitor.require_user()
    return visitor.redirect("/my/security?note=passkey_removed", await passkeys.remove(visitor.api, passkey_id))


@router.post("/my/security/recovery-codes")
async def make_codes(visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """New recovery codes, on a page that shows them once."""
    visitor.require_user()
    try:
        codes = await passkeys.new_codes(visitor.api)
    except Refused as refused:
        return await _security_page(visitor, _add_error(refused, visitor))
    return visitor.render("recovery_codes.html", codes=codes)


@router.post("/signin/passkey")
async def sign_in_with_passkey(visitor: CurrentVisitor, form: Form) -> Response:
    """Start a session with what a passkey has signed."""
    after, secure = form.text("next"), visitor.settings.cookie_secure
    ceremony = visitor.request.cookies.get(cookie_name(CEREMONY_COOKIE, secure=secure), "")
    try:
        ceremony = ceremony if ceremony.isascii() and ceremony.isprintable() else ""
        cookies = await passkeys.sign_in(visitor.api, form.text("credential"), ceremony, secure=secure)
    except Refused as refused:
        error = {"passkey": _sign_in_error(refused, visitor)}
        return visitor.render("signin.html", refused.status, next=local(after), typed={}, errors=error)
    return await go_on(visitor, after, cookies)


@router.get("/signin/recovery-code")
async def recovery_code_page(visitor: CurrentVisitor, next: str = "/my/security") -> Response:  # noqa: A002 - a parameter of the address
    """The form to sign in with a recovery code."""
    return visitor.render("signin_code.html", next=local(next), typed={}, errors={})


@router.post("/signin/recovery-code")
async def sign_in_with_code(visitor: CurrentVisitor, form: Form) -> Response:
    """Start a session with a recovery code."""
    after = form.text("next")
    try:
        cookies = await passkeys.sign_in_by_code(visitor.api, form.text("email"), form.text("code"))
    except Refused as refused:
        errors = {"form": _code_error(refused, visitor)}
        typed = form.texts("email")
        return visitor.render("signin_code.html", refused.status, next=local(after), typed=typed, errors=errors)
    return await go_on(visitor, after, cookies)


async def _security_page(visitor: Visitor, error: str = "") -> Response:
    owned, left, sessions = await asyncio.gather(
        passkeys.passkeys(visitor.api), passkeys.codes_left(visitor.api), visitor.api.sessions()
    )
    device = next((session.device for session in sessions if session.current), "")
    return visitor.render(
        "security.html",
        422 if error else 200,
        passkeys=owned,
        left=left,
        typed={"name": device if device != "unknown" else ""},
        errors={"form": error} if error else {},
    )


def _add_error(refused: Refused, visitor: Visitor) -> str:
    """The text for what may go wrong. Raises `refused` if it is something else."""
    _ = visitor.i18n.gettext
    match refused.reason:
        case "email_not_verified":
            return _("Confirm your address first: what signs you in is added by its owner alone.")
        case "passkey_limit":
            return _("You have as many passkeys as one may have. Remove one first.")
        case "passkey_known":
            return _("This passkey was added before.")
        case "challenge_invalid":
            return _("That took too long. Please try again.")
        case "passkey_invalid" | "validation_failed":
            return _("This passkey was not accepted. Please try again.")
    raise refused


def _sign_in_error(refused: Refused, visitor: Visitor) -> str:
    _ = visitor.i18n.gettext
    match refused.reason:
        case "too_many_requests":
            return _("Too many attempts. Please wait a minute.")
        case "challenge_invalid":
            return _("That took too long. Please try again.")
        case "passkey_refused" | "passkey_invalid" | "validation_failed":
            return _("This passkey does not sign in here. It may have been removed.")
    raise refused


def _code_error(refused: Refused, visitor: Visitor) -> str:
    _ = visitor.i18n.gettext
    match refused.reason:
        case "too_many_requests":
            return _("Too many attempts. Please wait a minute.")
        case "bad_credentials" | "validation_failed":
            return _("No account has this address and this recovery code. Each code works once.")
    raise refused
