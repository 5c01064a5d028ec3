"""A timeline as operators read it: each entry in words, with its cause. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from web.clients.audit import TimelineEntry
from web.rendering.i18n import N_, I18n
from web.rendering.order_summary import Tone

TITLES: Mapping[str, tuple[str, Tone]] = {
    "users.registered": (N_("Signed up"), Tone.OVER),
    "users.verification_requested": (N_("Asked to prove the address"), Tone.WAITING),
    "users.verified": (N_("Address proved"), Tone.GOOD),
    "users.password_reset_requested": (N_("Asked for a new password"), Tone.WAITING),
    "users.password_changed": (N_("Password changed"), Tone.OVER),
    "users.erased": (N_("Account deleted"), Tone.OVER),
    "users.passkeys_changed": (N_("Passkeys changed"), Tone.OVER),
    "users.email_change_requested": (N_("Asked to change the address"), Tone.WAITING),
    "users.email_changed": (N_("Address changed"), Tone.OVER),
    "users.sign_up_repeated": (N_("Signed up once more"), Tone.OVER),
    "users.session_ended": (N_("Session ended"), Tone.OVER),
    "users.roles_changed": (N_("Roles changed"), Tone.OVER),
    "items.listed": (N_("Put on sale"), Tone.GOOD),
    "items.changed": (N_("Item changed"), Tone.OVER),
    "items.withdrawn": (N_("Taken off sale"), Tone.OVER),
    "orders.placed": (N_("Units held for the buyer"), Tone.WAITING),
    "orders.cancelled": (N_("Units back on sale"), Tone.OVER),
    "orders.payment_accepted": (N_("Payment accepted, it will be captured"), Tone.GOOD),
    "orders.paid": (N_("Order paid"), Tone.GOOD),
    "orders.payment_rejected": (N_("Payment rejected, it will be released or refunded"), Tone.BAD),
    "orders.refund_requested": (N_("Refund requested by the seller"), Tone.WAITING),
    "orders.stock_changed": (N_("Stock changed"), Tone.OVER),
    "expiration.elapsed": (N_("The hold ran out"), Tone.WAITING),
    "payments.processing": (N_("Payment under way"), Tone.WAITING),
    "payments.authorized": (N_("Payment authorized"), Tone.WAITING),
    "payments.captured": (N_("Payment captured"), Tone.GOOD),
    "payments.failed": (N_("Payment failed"), Tone.BAD),
    "payments.released": (N_("Authorization released, nothing was charged"), Tone.OVER),
    "payments.partly_refunded": (N_("A part went back at the payment provider"), Tone.OVER),
    "payments.refunded": (N_("Payment refunded"), Tone.OVER),
    "payments.refund_failed": (N_("Refund failed"), Tone.BAD),
    "payments.refund_retried": (N_("Refund tried again"), Tone.WAITING),
    "payments.disputed": (N_("Payment disputed"), Tone.BAD),
    "tickets.issued": (N_("Tickets issued"), Tone.GOOD),
    "tickets.revoked": (N_("Tickets revoked"), Tone.OVER),
    "tickets.transfer_offered": (N_("Ticket offered to somebody"), Tone.WAITING),
    "tickets.transferred": (N_("Ticket given to somebody"), Tone.OVER),
    "tickets.admitted": (N_("Let in at the door"), Tone.GOOD),
    "provider_call": (N_("Payment provider called"), Tone.OVER),
    "retry": (N_("Failed, will be retried"), Tone.WAITING),
    "dead_letter": (N_("Became a dead letter"), Tone.BAD),
    "replayed": (N_("Dead letter replayed"), Tone.GOOD),
    "discarded": (N_("Dead letter discarded"), Tone.OVER),
}
"""The title and colour of an event by its subject, of other entries by their kind."""


STOCK = "orders.stock_changed"


@dataclass(frozen=True)
class Line:
    """An entry in words."""

    entry: TimelineEntry
    title: str
    tone: Tone
    since: str
    """The time since the first entry, in seconds."""
    facts: list[str]
    cause: str | None
    """The title of the entry that caused this one, if it is in the same timeline."""


def lines_of(timeline: Sequence[TimelineEntry], i18n: I18n) -> list[Line]:
    """The entries of a timeline in words, in the same order."""
    titles = {entry.id: _title(entry, i18n) for entry in timeline}
    first = min((entry.time for entry in timeline), default=None)
    return [
        Line(
            entry=entry,
            title=titles[entry.id],
            tone=TITLES.get(_key(entry), ("", Tone.OVER))[1],
            since=_since(first or entry.time, entry.time),
            facts=[*_facts(entry, i18n)],
            cause=titles.get(entry.caused_by or ""),
        )
        for entry in timeline
    ]


def shown_of(timeline: Sequence[TimelineEntry], *, stock: bool) -> list[int]:
    """The numbers of the entries that are shown: all, or those that are no change of the stock, if there is one."""
    return [n for n, entry in enumerate(timeline) if stock or entry.subject != STOCK] or [*range(len(timeline))]


def _key(entry: TimelineEntry) -> str:
    return entry.subject if entry.kind == "event" else entry.kind


def _title(entry: TimelineEntry, i18n: I18n) -> str:
    known = TITLES.get(_key(entry))
    return i18n.gettext(known[0]) if known else entry.subject


def _since(first: datetime, moment: datetime) -> str:
    return f"+{(moment - first).total_seconds():.3f} s"


def _facts(entry: TimelineEntry, i18n: I18n) -> list[str]:
    """The most important fields of an entry, in short."""
    f = entry.fields
    match _key(entry):
        case "items.listed" | "items.changed" | "items.withdrawn":
            return [f"{f['quantity']} × {i18n.money(f['price'], f['currency'])}"]
        case "orders.placed":
            return [f"{f['quantity']} × {i18n.money(f['unit_price'], f['currency'])}"]
        case "orders.stock_changed":
            return [i18n.gettext("%(left)s of %(all)s left") % {"left": f["available"], "all": f["quantity"]}]
        case "provider_call":
            return [f"{f['operation']}: {f['outcome']}", f"{f['milliseconds']} ms"]
        case "retry" | "dead_letter":
            return [f"{f['handler']} ×{f['deliveries']}", str(f["error"])]
        case "replayed" | "discarded":
            return [str(f[name]) for name in ("handler", "by", "reason") if f.get(name)]
        case "payments.disputed":
            return [i18n.money(f["amount"], f["currency"]), str(f["dispute"]), *_reason(f)]
        case "payments.partly_refunded":
            part = {
                "part": i18n.money(f["refunded_amount"], f["currency"]),
                "all": i18n.money(f["amount"], f["currency"]),
            }
            failure = [f"{i18n.gettext('Refund failed')}: {f['failure']}"] if f.get("failure") else []
            return [i18n.gettext("%(part)s of %(all)s was refunded") % part, *failure]
        case subject if subject.startswith("payments."):
            who = [str(f[name]) for name in ("by", "settled_by", "settlement") if f.get(name)]
            return [i18n.money(f["amount"], f["currency"]), *_reason(f), *who]
        case _:
            return _reason(f)


def _reason(fields: Mapping[str, Any]) -> list[str]:
    return [str(fields["reason"])] if fields.get("reason") else []
