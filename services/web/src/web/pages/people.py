"""Sign up, sign in, sign out, and choose a language."""

from fastapi import APIRouter, Response

from web.clients.api import Refused
from web.rendering.forms import Form
from web.rendering.i18n import LANGUAGES
from web.security.visitor import LANGUAGE_COOKIE, YEAR, Here, Visitor, local

router = APIRouter()


@router.get("/signup")
async def sign_up_page(visitor: Here, next: str = "/") -> Response:  # noqa: A002 - a parameter of the address
    """The form for somebody new."""
    return visitor.go(local(next)) if visitor.user else _people_page(visitor, "signup.html", next)


@router.post("/signup")
async def sign_up(visitor: Here, form: Form) -> Response:
    """Open an account."""
    after = form.text("next")
    try:
        cookies = await visitor.api.sign_up(form.text("email"), form.text("password"), form.text("name"))
    except Refused as refused:
        errors = _sign_up_errors(refused, visitor)
        return _people_page(visitor, "signup.html", after, refused.status, form.texts("email", "name"), errors)
    return visitor.go(local(after), cookies)


@router.get("/signin")
async def sign_in_page(visitor: Here, next: str = "/") -> Response:  # noqa: A002 - a parameter of the address
    """The form for somebody we know; also for who is signed in, since a service may think otherwise."""
    return _people_page(visitor, "signin.html", next)


@router.post("/signin")
async def sign_in(visitor: Here, form: Form) -> Response:
    """Open a session."""
    after = form.text("next")
    try:
        cookies = await visitor.api.sign_in(form.text("email"), form.text("password"))
    except Refused as refused:
        errors = _sign_in_errors(refused, visitor)
        return _people_page(visitor, "signin.html", after, refused.status, form.texts("email"), errors)
    return visitor.go(local(after), cookies)


@router.post("/signout")
async def sign_out(visitor: Here, form: Form) -> Response:  # noqa: ARG001 - checks that our page sent it
    """End the session."""
    return visitor.go("/", await visitor.api.sign_out())


@router.post("/language")
async def choose_language(visitor: Here, form: Form) -> Response:
    """Speak another language from now on."""
    answer = visitor.go(local(form.text("back")))
    if (language := form.text("language")) in LANGUAGES:
        answer.set_cookie(LANGUAGE_COOKIE, language, YEAR, httponly=True, samesite="lax", secure=visitor.site.secure)
    return answer


def _people_page(
    visitor: Visitor,
    template: str,
    after: str,
    status: int = 200,
    typed: object = None,
    errors: dict[str, str] | None = None,
) -> Response:
    return visitor.page(template, status, next=local(after), typed=typed or {}, errors=errors or {})


def _sign_up_errors(refused: Refused, visitor: Visitor) -> dict[str, str]:
    _ = visitor.words.gettext
    if refused.reason == "email_taken":
        return {"email": _("Somebody has signed up with this address already. Is it you? Then sign in.")}
    if refused.reason == "too_many_requests":
        return {"form": _("Too many accounts from here. Please wait a minute and try again.")}
    words = {
        "email": _("This is no e-mail address that we can use."),
        "password": _("Use 8 to 128 characters."),
        "name": _("Tell us a name of 1 to 100 characters."),
    }
    return _beside(refused, words)


def _sign_in_errors(refused: Refused, visitor: Visitor) -> dict[str, str]:
    _ = visitor.words.gettext
    match refused.reason:
        case "bad_credentials":
            return {"form": _("No account has this address and this password.")}
        case "too_many_requests":
            return {"form": _("Too many tries. Please wait a minute.")}
    words = {"email": _("This is no e-mail address."), "password": _("This is not a password of ours.")}
    return _beside(refused, words)


def _beside(refused: Refused, words: dict[str, str]) -> dict[str, str]:
    """The words for the wrong fields. Raises the refusal where it is about none of them."""
    errors = {name: text for name, text in words.items() if name in refused.fields}
    if not errors:
        raise refused
    return errors
