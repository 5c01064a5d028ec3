"""For operators: "I paid, where is my order?", dead letters, and whether the books balance."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Response

from common.errors import NotFound
from web.clients import audit
from web.clients.audit import LetterState
from web.rendering.forms import Form
from web.rendering.history import STATUS
from web.rendering.i18n import N_
from web.rendering.timeline import timeline
from web.security.visitor import Here, Visitor

router = APIRouter(prefix="/operator")

LETTER_STATES: dict[LetterState, str] = {
    "open": N_("Open"),
    "replayed": N_("Given to their handlers again"),
    "discarded": N_("Discarded"),
}
PAYMENT_STATUS = {
    "created": N_("Begun"),
    "processing": N_("Under way"),
    "captured": N_("Captured"),
    "failed": N_("Failed"),
    "refund_due": N_("Refund under way"),
    "refunded": N_("Refunded"),
}
RULES = {
    "units_add_up": N_("Offered is free and held and sold"),
    "sold_once": N_("No unit is in two live orders"),
    "charges_end": N_("Every charge is a paid order or a refund"),
    "orders_end": N_("Every order is final or has its deadline"),
    "events_kept": N_("Every change was told"),
    "books_agree": N_("Services are as their events say"),
    "copies_agree": N_("Copies are as their owners say"),
    "everything_read": N_("Every event was read by every reader"),
    "letters_settled": N_("Every dead letter was decided"),
    "money_balances": N_("The money of each currency sums to zero"),
}
"""What a reconciliation checks."""


@router.get("")
async def overview(visitor: Here, q: str = "", cursor: str | None = None) -> Response:
    """Search, and how Souk is doing."""
    visitor.known()
    letters, books = await asyncio.gather(audit.letters(visitor.api, "open", limit=1), audit.books(visitor.api))
    found = await audit.search(visitor.api, q.strip(), cursor or None) if q.strip() else None
    return visitor.page("operator/overview.html", asked=q, found=found, letters=letters, books=books)


@router.get("/orders/{order_id}")
async def order(order_id: str, visitor: Here, at: Annotated[int | None, Query(ge=0)] = None) -> Response:
    """An order's whole story; `at` picks the entry after which order, stock and payments are shown."""
    visitor.known()
    told = await audit.order_story(visitor.api, order_id)
    last = len(told.story) - 1
    at = last if at is None else min(at, last)
    return visitor.page(
        "operator/order.html",
        id=order_id,
        order=told.order,
        lines=timeline(told.story, visitor.words),
        at=at,
        state=told.states[at],
        statuses=STATUS,
        payment_statuses=PAYMENT_STATUS,
    )


@router.get("/items/{item_id}")
async def item(item_id: str, visitor: Here, cursor: str | None = None) -> Response:
    """What happened to an item, and its orders."""
    visitor.known()
    told = await audit.item_story(visitor.api, item_id, cursor or None)
    return visitor.page("operator/item.html", told=told, lines=timeline(told.story, visitor.words))


@router.get("/payments/{payment_id}")
async def payment(payment_id: str, visitor: Here) -> Response:
    """A payment leads to its order."""
    visitor.known()
    told = await audit.payment_story(visitor.api, payment_id)
    if told.order_id is None:
        raise NotFound("no order is known of this payment")
    return visitor.go(f"/operator/orders/{told.order_id}")


@router.get("/dead-letters")
async def dead_letters(visitor: Here, state: LetterState = "open", cursor: str | None = None) -> Response:
    """Messages that handlers gave up."""
    visitor.known()
    return await _letters(visitor, state, cursor=cursor or None)


@router.post("/dead-letters")
async def decide(visitor: Here, form: Form) -> Response:
    """Give chosen messages to their handlers again, or give them up for good."""
    visitor.known()
    ids, reason = form.many("letter"), form.text("reason").strip()
    if not ids:
        return await _letters(visitor, "open", {"letter": visitor.words.gettext("Choose at least one.")}, ids, reason)
    if form.text("decision") == "replay":
        await audit.replay(visitor.api, ids)
        return visitor.go("/operator/dead-letters?note=replayed")
    if not reason:
        error = {"reason": visitor.words.gettext("Say why: others will read it.")}
        return await _letters(visitor, "open", error, ids, reason)
    await audit.discard(visitor.api, ids, reason)
    return visitor.go("/operator/dead-letters?note=discarded")


@router.get("/books")
async def books(visitor: Here) -> Response:
    """The last reconciliation."""
    visitor.known()
    return visitor.page("operator/books.html", books=await audit.books(visitor.api), rules=RULES)


async def _letters(
    visitor: Visitor,
    state: LetterState,
    errors: dict[str, str] | None = None,
    chosen: list[str] | None = None,
    reason: str = "",
    cursor: str | None = None,
) -> Response:
    found = await audit.letters(visitor.api, state, cursor)
    return visitor.page(
        "operator/dead_letters.html",
        422 if errors else 200,
        found=found,
        state=state,
        states=LETTER_STATES,
        errors=errors or {},
        chosen=chosen or [],
        typed={"reason": reason},
    )
