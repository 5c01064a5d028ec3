"""Asks a signed-in visitor to confirm that it is them, and then goes on with what they were doing."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from common.http.problems import problem
from web.clients import passkeys
from web.clients.api import Refused
from web.pages.forms import Form
from web.pages.visitor import CurrentVisitor, Visitor, local
from web.security.csrf import FIELD

router = APIRouter()

TO, METHOD, CREDENTIAL, PASSWORD = "proof_to", "proof_method", "credential", "proof_password"
OWN = frozenset({TO, METHOD, CREDENTIAL, PASSWORD, FIELD})
"""Fields that are not those of the form that was sent first."""

WRONG = frozenset({"passkey_refused", "challenge_invalid", "passkey_invalid", "validation_failed", "bad_credentials"})
"""Why auth may not believe a proof."""


async def answer_refusal(request: Request, error: Exception) -> Response:
    """The answer where a service has refused something, and no page handles it.

    If it needs a proof, a page that asks for one; if it needs a passkey, the way to add one; else the problem.
    """
    assert isinstance(error, Refused)  # noqa: S101 - registered for this type
    match error.reason:
        case "proof_needed":
            by_password = "passkey" not in error.problem.get("by", ())
            return await _page(Visitor.of(request), request, by_password=by_password)
        case "passkey_needed":
            return Visitor.of(request).redirect("/my/security?note=passkey_needed")
    wait = error.problem.get("retry_after")
    return problem(error.status, error.reason, str(error), {"Retry-After": str(wait)} if wait else None)


@router.post("/my/prove")
async def prove(visitor: CurrentVisitor, form: Form) -> Response:
    """Go on with what the visitor was doing: the browser sends the same form again, or opens the page."""
    visitor.require_user()
    password = form.text(PASSWORD)
    try:
        if password:
            cookies = await passkeys.prove_by_password(visitor.api, password)
        else:
            cookies = await passkeys.prove(visitor.api, form.text(CREDENTIAL))
    except Refused as refused:
        if refused.reason not in {*WRONG, "too_many_requests"}:
            raise
        return await _page(visitor, visitor.request, by_password=bool(password), error=_text(refused, visitor))
    answer = RedirectResponse(local(form.text(TO)), 307 if form.text(METHOD) == "POST" else 303)
    for cookie in cookies:
        answer.headers.append("set-cookie", cookie)
    return answer


async def _page(visitor: Visitor, request: Request, *, by_password: bool, error: str = "") -> Response:
    """The page that asks. It carries the fields of the form that was sent."""
    form = await request.form() if request.method == "POST" else None
    sent = form.multi_items() if form else []
    known = {name: value for name, value in sent if name in (TO, METHOD)}
    to = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    options: Any = None if by_password else await passkeys.proof_options(visitor.api)
    return visitor.render(
        "prove.html",
        422 if error else 403,
        options=options,
        carried=[(name, value) for name, value in sent if name not in OWN and isinstance(value, str)],
        to=known.get(TO, to),
        method=known.get(METHOD, request.method),
        errors={PASSWORD if by_password else "form": error} if error else {},
        typed={},
    )


def _text(refused: Refused, visitor: Visitor) -> str:
    _ = visitor.i18n.gettext
    match refused.reason:
        case "too_many_requests":
            return _("Too many attempts. Please wait a minute.")
        case "bad_credentials":
            return _("This is not your password.")
        case "challenge_invalid":
            return _("That took too long. Please try again.")
    return _("This passkey was not accepted. Please try again.")
