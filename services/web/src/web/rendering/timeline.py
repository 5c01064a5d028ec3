"""A story as an operator reads it: each entry in words, and what it came from. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from web.clients.audit import Entry
from web.rendering.history import Tone
from web.rendering.i18n import N_, Words

TITLES: Mapping[str, tuple[str, Tone]] = {
    "users.registered": (N_("Signed up"), Tone.OVER),
    "items.listed": (N_("Put on sale"), Tone.GOOD),
    "items.changed": (N_("Item changed"), Tone.OVER),
    "items.withdrawn": (N_("Taken off sale"), Tone.OVER),
    "orders.placed": (N_("Units held for the buyer"), Tone.WAITING),
    "orders.cancelled": (N_("Units back on sale"), Tone.OVER),
    "orders.paid": (N_("Order paid"), Tone.GOOD),
    "orders.payment_rejected": (N_("Payment can't be used, it goes back"), Tone.BAD),
    "orders.refund_requested": (N_("The seller gives the money back"), Tone.WAITING),
    "orders.stock_changed": (N_("Stock changed"), Tone.OVER),
    "expiration.elapsed": (N_("The time of the hold is over"), Tone.WAITING),
    "payments.processing": (N_("Payment under way"), Tone.WAITING),
    "payments.captured": (N_("The money is here"), Tone.GOOD),
    "payments.failed": (N_("No money moved"), Tone.BAD),
    "payments.refunded": (N_("The money went back"), Tone.OVER),
    "provider_call": (N_("The payment provider was asked"), Tone.OVER),
    "retry": (N_("Failed, and comes again"), Tone.WAITING),
    "dead_letter": (N_("Given up: a dead letter"), Tone.BAD),
    "replayed": (N_("Given to its handler again"), Tone.GOOD),
    "discarded": (N_("Dead letter discarded"), Tone.OVER),
}
"""What is said of an event by its subject, of anything else by its kind."""


@dataclass(frozen=True)
class Line:
    """An entry in words."""

    entry: Entry
    title: str
    tone: Tone
    since: str
    """Seconds after the first entry."""
    facts: list[str]
    cause: str | None
    """The title of the entry that caused this one, where it is in the same story."""


def timeline(story: Sequence[Entry], words: Words) -> list[Line]:
    """The entries of a story, in their order."""
    titles = {entry.id: _title(entry, words) for entry in story}
    first = min((entry.time for entry in story), default=None)
    return [
        Line(
            entry=entry,
            title=titles[entry.id],
            tone=TITLES.get(_key(entry), ("", Tone.OVER))[1],
            since=_since(first or entry.time, entry.time),
            facts=[*_facts(entry, words)],
            cause=titles.get(entry.caused_by or ""),
        )
        for entry in story
    ]


def _key(entry: Entry) -> str:
    return entry.subject if entry.kind == "event" else entry.kind


def _title(entry: Entry, words: Words) -> str:
    known = TITLES.get(_key(entry))
    return words.gettext(known[0]) if known else entry.subject


def _since(first: datetime, moment: datetime) -> str:
    return f"+{(moment - first).total_seconds():.3f} s"


def _facts(entry: Entry, words: Words) -> list[str]:
    """What matters most of an entry, short."""
    f = entry.fields
    match _key(entry):
        case "items.listed" | "items.changed" | "items.withdrawn":
            return [f"{f['quantity']} × {words.money(f['price'], f['currency'])}"]
        case "orders.placed":
            return [f"{f['quantity']} × {words.money(f['unit_price'], f['currency'])}"]
        case "orders.stock_changed":
            return [words.gettext("%(left)s of %(all)s left") % {"left": f["available"], "all": f["quantity"]}]
        case "provider_call":
            return [f"{f['operation']}: {f['outcome']}", f"{f['milliseconds']} ms"]
        case "retry" | "dead_letter":
            return [f"{f['handler']} ×{f['deliveries']}", str(f["error"])]
        case "replayed" | "discarded":
            return [str(f[name]) for name in ("handler", "by", "reason") if f.get(name)]
        case subject if subject.startswith("payments."):
            return [words.money(f["amount"], f["currency"]), *_reason(f)]
        case _:
            return _reason(f)


def _reason(fields: Mapping[str, Any]) -> list[str]:
    return [str(fields["reason"])] if fields.get("reason") else []
