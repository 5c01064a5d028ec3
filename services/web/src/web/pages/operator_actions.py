"""What an operator does about an order, from its history: refund it, cancel it, write to its people."""

from fastapi import APIRouter, Response

from common.http.paging import KnownId
from web.clients import audit
from web.clients.api import Refused
from web.pages.forms import Form, errors_of, expected
from web.pages.operators import order_page
from web.pages.visitor import CurrentVisitor

router = APIRouter(prefix="/operator/orders/{order_id}")


@router.post("/refund")
async def refund(order_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Refund an order in full. If it cannot be refunded any more, its history shows why."""
    visitor.require_user()
    with expected("order_not_paid"):
        await visitor.api.refund(order_id)
        return visitor.redirect(f"/operator/orders/{order_id}?note=refund_asked")
    return visitor.redirect(f"/operator/orders/{order_id}")


@router.post("/cancel")
async def cancel(order_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Cancel an order that is not paid. If it was paid in the meantime, its history shows that."""
    visitor.require_user()
    with expected("order_already_paid"):
        await visitor.api.cancel(order_id)
        return visitor.redirect(f"/operator/orders/{order_id}?note=order_cancelled")
    return visitor.redirect(f"/operator/orders/{order_id}")


@router.post("/message")
async def message(order_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Mail the buyer, the seller or both what is typed. The same form again sends nothing more."""
    visitor.require_user()
    order = (await audit.order_history(visitor.api, order_id)).order
    people = {"buyer": order.buyer_id, "seller": order.seller_id} if order else {}
    text, to = form.text("text").strip(), [role for role in people if role in form.many("to")]
    _ = visitor.i18n.gettext
    errors = {} if to else {"to": _("Choose who gets it.")}
    try:
        for role in to:
            await visitor.api.message(people[role], order_id, text, f"{form.text('key')[:60]}-{role}")
    except Refused as refused:
        if refused.reason == "person_not_found":
            errors = {"to": _("An account is deleted: nobody reads its mails.")}
        elif refused.reason == "idempotency_key_reused":
            errors = {"text": _("This form has sent another message already. Open the page again for a new one.")}
        else:
            errors = errors_of(refused, {"text": _("Enter a message of up to 2,000 characters.")})
    if errors:
        return await order_page(visitor, order_id, status=422, errors=errors, typed=form.texts("text", "key"), to=to)
    return visitor.redirect(f"/operator/orders/{order_id}?note=message_sent")
