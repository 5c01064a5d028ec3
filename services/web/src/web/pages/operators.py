"""For operators: the history of an order, payments in trouble, dead letters, and the reconciliation."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from common.clock import now
from common.errors import NotFound
from common.http.paging import KnownId
from common.order_numbers import readable_number
from common.security_log import Kind as SecurityKind
from web.clients import audit
from web.clients.api import Refused
from web.clients.audit import DeadLetterState
from web.pages.forms import Form, errors_of, expected
from web.pages.visitor import CurrentVisitor, Visitor
from web.rendering.i18n import N_
from web.rendering.order_summary import STATUS, status_of
from web.rendering.timeline import lines_of, shown_of

router = APIRouter(prefix="/operator")

DEAD_LETTER_STATES: dict[DeadLetterState, str] = {
    "open": N_("Open"),
    "replayed": N_("Replayed"),
    "discarded": N_("Discarded"),
}
PAYMENT_STATUS = {
    "created": N_("Started"),
    "abandon_due": N_("Being given up"),
    "processing": N_("Under way"),
    "authorized": N_("Authorized"),
    "capture_due": N_("Being captured"),
    "captured": N_("Captured"),
    "failed": N_("Failed"),
    "release_due": N_("Being released"),
    "released": N_("Released"),
    "refund_due": N_("Refund under way"),
    "refunded": N_("Refunded"),
    "refund_failed": N_("Refund failed"),
    "disputed": N_("Disputed"),
}
DISPUTE_STATUS = {"open": N_("Disputed, not decided yet"), "lost": N_("Dispute lost")}
SECURITY_KINDS: dict[SecurityKind, str] = {
    "signed_in": N_("Signed in"),
    "sign_in_failed": N_("Wrong password"),
    "throttled": N_("Too many requests"),
    "denied": N_("Not allowed"),
    "forged_token": N_("Invalid token"),
    "session_ended": N_("Session ended"),
    "password_changed": N_("Password changed"),
    "email_changed": N_("Address changed"),
    "passkeys_changed": N_("Passkeys changed"),
    "roles_changed": N_("Rights changed"),
    "key_rotated": N_("Signing key changed"),
    "operator_acted": N_("Operator acted"),
    "exported": N_("Data exported"),
    "erased": N_("Account erased"),
}
PATIENCE = timedelta(minutes=5)
"""How long the page of a check that was asked for looks for it."""

RULES = {
    "units_add_up": N_("Units offered are free, held or sold"),
    "sold_once": N_("No unit is in two live orders"),
    "charges_end": N_("Every charge is a paid order or a refund"),
    "orders_end": N_("Every order is final, is being paid or has its deadline"),
    "events_kept": N_("Every change was published"),
    "events_agree": N_("Every version was published with one content"),
    "books_agree": N_("The records of every service match its events"),
    "copies_agree": N_("Copies match their owners' records"),
    "tickets_match": N_("Every paid unit of an event has one ticket"),
    "admitted_once": N_("Every ticket has let in one person, and every scan counts once"),
    "everything_read": N_("Every reader has read every event"),
    "letters_settled": N_("Every dead letter has a decision"),
    "money_balances": N_("The money of each currency adds up to zero"),
}
"""What a reconciliation checks."""


@router.get("")
async def overview(visitor: CurrentVisitor, q: str = "", cursor: str | None = None) -> Response:
    """The search, and how Souk is doing."""
    visitor.require_user()
    letters, report = await asyncio.gather(
        audit.dead_letters(visitor.api, "open", limit=1), audit.last_reconciliation(visitor.api)
    )
    found = await audit.search(visitor.api, q.strip(), cursor or None) if q.strip() else None
    return visitor.render(
        "operator/overview.html", asked=q, found=found, statuses=STATUS, letters=letters, report=report
    )


@router.get("/orders/{order_id}")
async def order(
    order_id: KnownId, visitor: CurrentVisitor, at: Annotated[int | None, Query(ge=0)] = None, stock: bool = False
) -> Response:
    """The history of an order. `at` is the number of the entry after which order, stock and payments are shown.

    Changes of the stock are entries only if `stock` says so.
    """
    visitor.require_user()
    return await order_page(visitor, order_id, at, stock=stock)


async def order_page(
    visitor: Visitor,
    order_id: str,
    at: int | None = None,
    *,
    stock: bool = False,
    status: int = 200,
    errors: dict[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
    to: Sequence[str] = ("buyer",),
) -> Response:
    """The history of an order, and what an operator can do about it. `typed` is a message to `to` that has errors."""
    history = await audit.order_history(visitor.api, order_id)
    shown = shown_of(history.timeline, stock=stock)
    last = len(shown) - 1
    at = last if at is None else min(at, last)
    return visitor.render(
        "operator/order.html",
        status,
        id=order_id,
        number=readable_number(order_id),
        order=history.order,
        lines=lines_of([history.timeline[n] for n in shown], visitor.i18n),
        at=at,
        snapshot=history.snapshots[[*shown[1:], len(history.timeline)][at] - 1],
        hidden=len(history.timeline) - len(shown),
        stock=stock,
        status_of=status_of,
        payment_statuses=PAYMENT_STATUS,
        errors=errors or {},
        typed=typed or {},
        to=to,
    )


@router.get("/items/{item_id}")
async def item(item_id: KnownId, visitor: CurrentVisitor, cursor: str | None = None, stock: bool = False) -> Response:
    """The history of an item, and its orders. Changes of the stock are entries only if `stock` says so."""
    visitor.require_user()
    history = await audit.item_history(visitor.api, item_id, cursor or None)
    shown = shown_of(history.timeline, stock=stock)
    return visitor.render(
        "operator/item.html",
        history=history,
        lines=lines_of([history.timeline[n] for n in shown], visitor.i18n),
        hidden=len(history.timeline) - len(shown),
        stock=stock,
        statuses=STATUS,
    )


@router.get("/payments")
async def payments_in_trouble(visitor: CurrentVisitor, lost: bool = False, cursor: str | None = None) -> Response:
    """Payments whose refund failed or whose dispute is open; with `lost` also those whose dispute is lost."""
    visitor.require_user()
    return await _trouble_page(visitor, lost=lost, cursor=cursor or None)


@router.post("/payments/{payment_id}/retry")
async def retry_refund(payment_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Make a failed refund once more. If it is not failed any more, the list shows that."""
    visitor.require_user()
    with expected("no_failed_refund"):
        await visitor.api.retry_refund(payment_id)
        return visitor.redirect("/operator/payments?note=refund_retried")
    return visitor.redirect("/operator/payments")


@router.post("/payments/{payment_id}/settled")
async def settle_refund(payment_id: KnownId, visitor: CurrentVisitor, form: Form) -> Response:
    """Record that a failed refund was paid by other means. If it is not failed any more, the list shows that."""
    visitor.require_user()
    reason = form.text("reason").strip()
    try:
        with expected("no_failed_refund"):
            await visitor.api.settle_refund(payment_id, reason)
            return visitor.redirect("/operator/payments?note=refund_settled")
    except Refused as refused:
        text = visitor.i18n.gettext("Enter how the money went back, in at most 500 characters.")
        [error] = errors_of(refused, {"reason": text}).values()
        wrong, typed = {f"reason-{payment_id}": error}, {f"reason-{payment_id}": reason}
        return await _trouble_page(visitor, cursor=form.text("cursor") or None, errors=wrong, typed=typed)
    return visitor.redirect("/operator/payments")


@router.get("/payments/{payment_id}")
async def payment(payment_id: KnownId, visitor: CurrentVisitor) -> Response:
    """Redirect to the order of a payment."""
    visitor.require_user()
    history = await audit.payment_history(visitor.api, payment_id)
    if history.order_id is None:
        raise NotFound("the order of this payment is not known")
    return visitor.redirect(f"/operator/orders/{history.order_id}")


@router.get("/dead-letters")
async def dead_letters(visitor: CurrentVisitor, state: DeadLetterState = "open", cursor: str | None = None) -> Response:
    """Messages that their handlers could not process."""
    visitor.require_user()
    return await _dead_letters_page(visitor, state, cursor=cursor or None)


@router.post("/dead-letters")
async def decide(visitor: CurrentVisitor, form: Form) -> Response:
    """Replay the chosen dead letters, or discard them."""
    visitor.require_user()
    ids, reason = form.many("letter"), form.text("reason").strip()
    if not ids:
        error = {"letter": visitor.i18n.gettext("Choose at least one.")}
        return await _dead_letters_page(visitor, "open", error, ids, reason)
    if form.text("decision") == "replay":
        await audit.replay(visitor.api, ids)
        return visitor.redirect("/operator/dead-letters?note=replayed")
    if not reason:
        error = {"reason": visitor.i18n.gettext("Enter a reason. Other operators will read it.")}
        return await _dead_letters_page(visitor, "open", error, ids, reason)
    await audit.discard(visitor.api, ids, reason)
    return visitor.redirect("/operator/dead-letters?note=discarded")


@router.get("/books")
async def reconciliation(visitor: CurrentVisitor, asked: Annotated[int, Query(ge=0, le=2**42)] = 0) -> Response:
    """The report of the last reconciliation. `asked` is when another one was asked for, in milliseconds (Unix time)."""
    visitor.require_user()
    report = await audit.last_reconciliation(visitor.api)
    wanted = datetime.fromtimestamp(asked / 1000, UTC)
    waiting = bool(asked) and now() - wanted < PATIENCE and (report is None or report.checked_at < wanted)
    return visitor.render("operator/reconciliation.html", report=report, rules=RULES, waiting=waiting)


@router.post("/books/check")
async def check_now(visitor: CurrentVisitor, form: Form) -> Response:  # noqa: ARG001 - checks who sent it
    """Check the records now."""
    visitor.require_user()
    asked = int(now().timestamp() * 1000)  # Before: the check may be over when this is answered.
    await audit.check_now(visitor.api)
    return visitor.redirect(f"/operator/books?asked={asked}")


@router.get("/security")
async def security_log(
    visitor: CurrentVisitor,
    kind: Literal[SecurityKind, ""] = "",
    user_id: Annotated[str, Query(max_length=64, pattern="^[0-9A-Za-z_-]*$")] = "",
    cursor: str | None = None,
) -> Response:
    """The security log: what happened, to whom, from which network."""
    visitor.require_user()
    found = await audit.security_log(visitor.api, kind or None, user_id or None, cursor or None)
    return visitor.render("operator/security.html", found=found, kind=kind, user_id=user_id, kinds=SECURITY_KINDS)


async def _trouble_page(
    visitor: Visitor,
    *,
    lost: bool = False,
    cursor: str | None = None,
    errors: dict[str, str] | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    found = await visitor.api.trouble(lost=lost, cursor=cursor)
    return visitor.render(
        "operator/payments.html",
        422 if errors else 200,
        found=found,
        lost=lost,
        cursor=cursor,
        statuses=PAYMENT_STATUS,
        disputes=DISPUTE_STATUS,
        errors=errors or {},
        typed=typed or {},
    )


async def _dead_letters_page(
    visitor: Visitor,
    state: DeadLetterState,
    errors: dict[str, str] | None = None,
    chosen: list[str] | None = None,
    reason: str = "",
    cursor: str | None = None,
) -> Response:
    found = await audit.dead_letters(visitor.api, state, cursor)
    return visitor.render(
        "operator/dead_letters.html",
        422 if errors else 200,
        found=found,
        state=state,
        states=DEAD_LETTER_STATES,
        errors=errors or {},
        chosen=chosen or [],
        typed={"reason": reason},
    )
