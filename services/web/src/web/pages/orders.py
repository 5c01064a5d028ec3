"""The buyer's orders and the seller's sales."""

import asyncio

from fastapi import APIRouter, Response

from web.clients.api import Order, Refused
from web.rendering.error_pages import STRIPE_SOURCES, content_security_policy
from web.rendering.forms import Form
from web.rendering.history import status_of, story_of, tone_of
from web.rendering.i18n import N_
from web.security.visitor import Here

router = APIRouter()

CARDS = {
    "pm_card_visa": N_("Visa, works at once"),
    "pm_card_slow": N_("Slow, works after two seconds"),
    "pm_card_late": N_("Late, the money comes after the hold is over"),
    "pm_card_lost": N_("Lost, the answer gets lost but the money moves"),
    "pm_card_duplicate": N_("Double, the bank reports it twice"),
    "pm_card_declined": N_("Declined"),
}
"""The sandbox's test cards."""


@router.get("/my/orders")
async def my_orders(visitor: Here, cursor: str | None = None) -> Response:
    """What the visitor has ordered."""
    visitor.known()
    found = await visitor.api.orders(cursor or None)
    return visitor.page("my_orders.html", found=found, first=not cursor, status_of=status_of, tone_of=tone_of)


@router.get("/orders/{order_id}")
async def show_order(order_id: str, visitor: Here) -> Response:
    """An order: how long it is held, how to pay it, what happened."""
    visitor.known()
    order, payments = await asyncio.gather(visitor.api.order(order_id), visitor.api.payments(order_id))
    story = story_of(order, payments, visitor.words)
    page = visitor.page("order.html", order=order, story=story, cards=CARDS, status_of=status_of, tone_of=tone_of)
    if visitor.site.stripe_key:
        page.headers["Content-Security-Policy"] = content_security_policy(**STRIPE_SOURCES)
    return page


@router.post("/orders/{order_id}/pay")
async def pay_order(order_id: str, visitor: Here, form: Form) -> Response:
    """Pay an order. However it ends, the order's page tells it."""
    visitor.known()
    try:
        await visitor.api.pay(order_id, form.text("payment_method"), form.text("key"))
    except Refused as refused:
        if refused.reason not in {"card_declined", "order_not_payable", "idempotency_key_reused"}:
            raise
    return visitor.go(f"/orders/{order_id}")


@router.post("/orders/{order_id}/cancel")
async def cancel_order(order_id: str, visitor: Here, form: Form) -> Response:  # noqa: ARG001 - checks that our page sent it
    """Give the units back."""
    visitor.known()
    try:
        await visitor.api.cancel(order_id)
    except Refused as refused:
        if refused.reason != "order_already_paid":
            raise
    return visitor.go(f"/orders/{order_id}")


@router.get("/my/sales")
async def my_sales(visitor: Here, cursor: str | None = None) -> Response:
    """What others have ordered of the visitor."""
    visitor.known()
    found = await visitor.api.sales(cursor or None)
    moving = any(_refund_under_way(order) for order in found.items)
    return visitor.page(
        "my_sales.html", found=found, first=not cursor, moving=moving, status_of=status_of, tone_of=tone_of
    )


@router.post("/my/sales/{order_id}/refund")
async def refund_sale(order_id: str, visitor: Here, form: Form) -> Response:  # noqa: ARG001 - checks that our page sent it
    """Send the buyer's money back."""
    visitor.known()
    try:
        await visitor.api.refund(order_id)
    except Refused as refused:
        if refused.reason != "order_not_paid":
            raise
    return visitor.go("/my/sales")


def _refund_under_way(order: Order) -> bool:
    return order.status == "paid" and order.refund_requested
