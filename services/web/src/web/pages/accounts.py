"""Sign up, sign in, sign out, see one's sessions, and choose a language and colours."""

import re
from collections.abc import Container
from urllib.parse import quote

from fastapi import APIRouter, Response

from common.http.paging import KnownId
from common.http.sessions import DEVICE_COOKIE, cookie_name
from common.languages import LANGUAGES
from web.clients.api import Refused
from web.pages.forms import Fields, Form, errors_of
from web.pages.purchase import go_on
from web.pages.visitor import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, CurrentVisitor, Visitor, local, refresh_token_of

router = APIRouter()

_DEVICE = re.compile("[0-9a-f]{1,64}[.][0-9a-f]{1,128}")

YEAR = 365 * 24 * 3600
"""Seconds for which the cookies of the language and the colours live."""


@router.get("/signup")
async def sign_up_page(visitor: CurrentVisitor, next: str = "/") -> Response:  # noqa: A002 - a parameter of the address
    """The form for a new account."""
    return visitor.redirect(local(next)) if visitor.user else _form_page(visitor, "signup.html", next)


@router.post("/signup")
async def sign_up(visitor: CurrentVisitor, form: Form) -> Response:
    """Create an account."""
    after = form.text("next")
    try:
        cookies = await visitor.api.sign_up(
            form.text("email"), form.text("password"), form.text("name"), visitor.i18n.language
        )
    except Refused as refused:
        errors = _sign_up_errors(refused, visitor)
        return _form_page(visitor, "signup.html", after, refused.status, form.texts("email", "name"), errors)
    if not cookies:
        return visitor.redirect(
            f"/signin?note=check_mail&next={quote(local(after), safe='')}"
        )  # The rest is in the mail.
    return await go_on(visitor, after, cookies)


@router.get("/signin")
async def sign_in_page(visitor: CurrentVisitor, next: str = "/") -> Response:  # noqa: A002 - a parameter of the address
    """The form to sign in. A signed-in visitor gets it too: a service may have rejected their session."""
    return _form_page(visitor, "signin.html", next)


@router.post("/signin")
async def sign_in(visitor: CurrentVisitor, form: Form) -> Response:
    """Start a session."""
    after = form.text("next")
    try:
        cookies = await visitor.api.sign_in(form.text("email"), form.text("password"), device_of(visitor))
    except Refused as refused:
        errors = _sign_in_errors(refused, visitor)
        return _form_page(visitor, "signin.html", after, refused.status, form.texts("email"), errors)
    return await go_on(visitor, after, cookies)


def device_of(visitor: Visitor) -> dict[str, str]:
    """The cookie that says that somebody has signed in here before; auth checks whose it is."""
    name = cookie_name(DEVICE_COOKIE, secure=visitor.settings.cookie_secure)
    value = visitor.request.cookies.get(name, "")
    return {name: value} if _DEVICE.fullmatch(value) else {}


@router.post("/signout")
async def sign_out(visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """End the session."""
    said = await visitor.api.sign_out(refresh_token_of(visitor.request))
    answer = visitor.redirect("/", said.get_list("set-cookie"))
    answer.headers["Clear-Site-Data"] = said["clear-site-data"]
    return answer


@router.get("/my/sessions")
async def my_sessions(visitor: CurrentVisitor) -> Response:
    """Where the visitor is signed in."""
    visitor.require_user()
    return visitor.render("my_sessions.html", sessions=await visitor.api.sessions())


@router.post("/my/sessions/end-others")
async def end_other_sessions(visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """End all sessions of the visitor but this one."""
    visitor.require_user()
    await visitor.api.end_other_sessions()
    return visitor.redirect("/my/sessions?note=sessions_ended")


@router.post("/my/sessions/{session_id}/end")
async def end_session(session_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """End one of the visitor's sessions."""
    visitor.require_user()
    await visitor.api.end_session(session_id)
    return visitor.redirect("/my/sessions?note=session_ended")


@router.post("/language")
async def choose_language(visitor: CurrentVisitor, form: Form) -> Response:
    """Show pages in another language from now on."""
    return _chosen(visitor, form, LANGUAGE_COOKIE, LANGUAGES)


@router.post("/theme")
async def choose_theme(visitor: CurrentVisitor, form: Form) -> Response:
    """Show pages in light or dark colours from now on, or in those of the visitor's system."""
    return _chosen(visitor, form, THEME_COOKIE, THEMES)


def _chosen(visitor: Visitor, form: Fields, name: str, choices: Container[str]) -> Response:
    """Keep what the field `name` chose, if it is one of the choices, and go back."""
    answer = visitor.redirect(local(form.text("back")))
    if (chosen := form.text(name)) in choices:
        visitor.keep(answer, name, chosen, YEAR)
    return answer


def _form_page(
    visitor: Visitor,
    template: str,
    after: str,
    status: int = 200,
    typed: object = None,
    errors: dict[str, str] | None = None,
) -> Response:
    return visitor.render(template, status, next=local(after), typed=typed or {}, errors=errors or {})


def _sign_up_errors(refused: Refused, visitor: Visitor) -> dict[str, str]:
    _ = visitor.i18n.gettext
    if refused.reason == "email_taken":
        text = _("There is already an account with this address. If it is yours, sign in.")
        return {"email": text, "taken": _("Then sign in")}
    if refused.reason == "password_too_weak":
        text = _("This password is too easy to guess, made of your name or address, or in a list of stolen ones.")
        return {"password": text}
    if refused.reason == "too_many_requests":
        return {"form": _("Too many new accounts from your network. Please wait a minute and try again.")}
    if refused.reason == "too_many_signups":
        return {"form": _("Very many people are signing up at the moment. Please try again in a minute.")}
    texts = {
        "email": _("This is not an e-mail address that we can use."),
        "password": _("Use 10 to 128 characters."),
        "name": _("Enter a name of 1 to 100 characters. It has no invisible signs and is not Souk's own."),
    }
    return errors_of(refused, texts)


def _sign_in_errors(refused: Refused, visitor: Visitor) -> dict[str, str]:
    _ = visitor.i18n.gettext
    match refused.reason:
        case "bad_credentials":
            return {"form": _("No account has this address and this password.")}
        case "too_many_requests":
            return {"form": _("Too many attempts. Please wait a minute.")}
    texts = {"email": _("This is not an e-mail address."), "password": _("This cannot be a password here.")}
    return errors_of(refused, texts)
