"""Operators see who is one, make others operators, and end that."""

from fastapi import APIRouter, Response

from common.http.paging import KnownId
from web.clients import operators
from web.clients.api import Refused
from web.pages.forms import Form, errors_of, expected
from web.pages.visitor import CurrentVisitor, Visitor

router = APIRouter(prefix="/operator/people")


@router.get("")
async def people(visitor: CurrentVisitor) -> Response:
    """Who is an operator."""
    visitor.require_user()
    return await _page(visitor)


@router.post("")
async def make_operator(visitor: CurrentVisitor, form: Form) -> Response:
    """Make somebody an operator. If they are one already, the page says so."""
    visitor.require_user()
    email = form.text("email").strip()
    try:
        new = await operators.grant(visitor.api, email)
    except Refused as refused:
        return await _page(visitor, refused.status, _errors(refused, visitor), email)
    return visitor.redirect(f"/operator/people?note={'operator_made' if new else 'operator_known'}")


@router.post("/{user_id}/end")
async def end_operator(user_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Take somebody's right away. If they are no operator any more, the list shows that."""
    user = visitor.require_user()
    try:
        with expected("person_not_found"):
            await operators.revoke(visitor.api, user_id)
            to = "/" if user_id == user.id else "/operator/people"
            return visitor.redirect(f"{to}?note=operator_ended")
    except Refused as refused:
        if refused.reason != "last_operator":
            raise
        text = visitor.i18n.gettext("You are the last operator. Make somebody else one first.")
        return await _page(visitor, refused.status, {"form": text})
    return visitor.redirect("/operator/people")


async def _page(visitor: Visitor, status: int = 200, errors: dict[str, str] | None = None, email: str = "") -> Response:
    return visitor.render(
        "operator/people.html",
        status,
        people=await operators.operators(visitor.api),
        errors=errors or {},
        typed={"email": email},
    )


def _errors(refused: Refused, visitor: Visitor) -> dict[str, str]:
    _ = visitor.i18n.gettext
    match refused.reason:
        case "person_not_found":
            return {"email": _("Nobody has signed up with this address.")}
        case "person_not_verified":
            return {"email": _("This person has not confirmed the address yet. It may not be theirs.")}
        case "person_has_no_passkey":
            return {"email": _("This person has no passkey yet, and operators need one.")}
    return errors_of(refused, {"email": _("This is not an e-mail address.")})
