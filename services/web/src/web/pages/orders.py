"""A buyer's orders."""

import asyncio
from collections.abc import Set
from typing import Any

from fastapi import APIRouter, Response

from common.errors import NotFound, Unavailable
from common.http.paging import KnownId
from web.clients.api import Refused
from web.clients.models import Item, Order, Payment
from web.clients.tickets import Ticket, tickets
from web.pages.forms import Form, expected
from web.pages.tickets import STATUS as TICKET_STATUS
from web.pages.visitor import CurrentVisitor, Visitor
from web.rendering.i18n import N_
from web.rendering.order_summary import SETTLED, status_of, summary_of, tone_of
from web.security.headers import STRIPE_SOURCES, content_security_policy

router = APIRouter()

CARDS = {
    "pm_card_visa": N_("Visa, works at once"),
    "pm_card_slow": N_("Slow, works after two seconds"),
    "pm_card_late": N_("Late, the bank agrees after the hold is over"),
    "pm_card_lost": N_("Lost, works although the bank's answer gets lost"),
    "pm_card_duplicate": N_("Double, the bank reports it twice"),
    "pm_card_declined": N_("Declined"),
    "pm_card_capture_fails": N_("Refused, the bank agrees but then does not pay"),
    "pm_card_refund_fails": N_("No way back, works, but the first refund fails"),
    "pm_card_disputed": N_("Disputed, works, but then the bank takes the money back"),
    "pm_card_partly_refunded": N_("In part, works, but a third of it goes back after two seconds"),
    "pm_bank": N_("Bank transfer, arrives after two seconds"),
    "pm_bank_late": N_("Bank transfer, arrives after the hold is over"),
}
"""The sandbox's payment methods."""


TABS = {"": N_("All"), "open": N_("To be paid"), "upcoming": N_("Upcoming"), "past": N_("Past")}
"""The tabs of the visitor's orders."""


@router.get("/my/orders")
async def my_orders(visitor: CurrentVisitor, cursor: str | None = None, show: str = "") -> Response:
    """The visitor's orders: all, or those of a tab."""
    visitor.require_user()
    show = show if show in TABS else ""
    found = await visitor.api.orders(cursor or None, show or None)
    return visitor.render(
        "my_orders.html",
        found=found,
        first=not cursor,
        moving=False,
        status_of=status_of,
        tone_of=tone_of,
        items=await _items(visitor, {order.item_id for order in found.items}),
        tabs=TABS,
        show=show,
    )


async def _items(visitor: Visitor, item_ids: Set[str]) -> dict[str, Item]:
    """What was bought, by id. What can't be had now is left out: the list is shown without its picture."""

    async def found(item_id: str) -> Item | None:
        try:
            return await visitor.api.item(item_id)
        except (Refused, Unavailable):
            return None

    return {item.id: item for item in await asyncio.gather(*map(found, item_ids)) if item}


@router.get("/orders/{order_id}")
async def show_order(order_id: KnownId, visitor: CurrentVisitor) -> Response:
    """An order: how long it is held, how to pay it, and its status."""
    visitor.require_user()
    order, payments = await asyncio.gather(visitor.api.order(order_id), _payments(visitor, order_id))
    summary = summary_of(order, payments, visitor.i18n)
    page = visitor.render(
        "order.html",
        order=order,
        summary=summary,
        cards=CARDS,
        status_of=status_of,
        tone_of=tone_of,
        **await _tickets(order, visitor),
    )
    if visitor.settings.stripe_publishable_key:
        page.headers["Content-Security-Policy"] = content_security_policy(STRIPE_SOURCES)
    return page


@router.get("/orders/{order_id}/receipt")
async def receipt(order_id: KnownId, visitor: CurrentVisitor) -> Response:
    """What was paid, to print. An order that was never paid has none."""
    visitor.require_user()
    order = await visitor.api.order(order_id)
    if order.status not in SETTLED:
        raise NotFound("this order is not paid")
    item = (await _items(visitor, {order.item_id})).get(order.item_id)
    return visitor.render("receipt.html", order=order, item=item, status_of=status_of, tone_of=tone_of)


async def _payments(visitor: Visitor, order_id: str) -> list[Payment] | None:
    try:
        return await visitor.api.payments(order_id)
    except Unavailable:  # The order is shown without them.
        return None


async def _tickets(order: Order, visitor: Visitor) -> dict[str, Any]:
    """What the page says of an order's tickets. Without the service that has them, it says that it is away."""
    found: list[Ticket] = []
    coming = away = False
    if order.status in {"paid", "refunded"}:
        try:
            found = await tickets(visitor.api, order.id)
            coming = not found and order.status == "paid" and (await visitor.api.item(order.item_id)).is_event
        except Unavailable:
            away = True
    return {"tickets": found, "tickets_coming": coming, "tickets_away": away, "ticket_status": TICKET_STATUS}


@router.post("/orders/{order_id}/pay")
async def pay_order(order_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Pay an order. The page of the order shows the result, whatever it is."""
    visitor.require_user()
    with expected("card_declined", "order_not_payable", "idempotency_key_reused"):
        await visitor.api.pay(order_id, form.text("payment_method"), form.text("key"))
    return visitor.redirect(f"/orders/{order_id}")


@router.post("/orders/{order_id}/cancel")
async def cancel_order(order_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Cancel an order."""
    visitor.require_user()
    with expected("order_already_paid"):
        await visitor.api.cancel(order_id)
    return visitor.redirect(f"/orders/{order_id}")
