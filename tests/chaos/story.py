"""The story of an order or an item: what people did with it and what the services said of it, on one time line."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.end_state import Final
from tests.chaos.faults import Done
from tests.chaos.history import History, Operation

MOST = 200
"""Entries of one story."""

TOLD = (
    "status",
    "reason",
    "payment_id",
    "quantity",
    "available",
    "amount",
    "order_version",
    "stock_version",
    "version",
)
"""What of an event's or an answer's body is worth a line."""


@dataclass(frozen=True)
class Entry:
    """`seconds` after the run began, `who` did or said `what`."""

    seconds: float
    who: str
    what: str


def story_of(subject: str, history: History, final: Final, faults: Iterable[Done] = ()) -> list[Entry]:
    """Return the story of an order, item, user or payment; with the faults that came while it lasted."""
    entries = [_asked(o, history) for o in history.operations if _is_about(o, subject)]
    for told in final.told:
        if subject and subject in told.body.values():
            who = f"{told.subject.partition('.')[0]} says"
            entries.append(Entry(told.at.timestamp() - history.began, who, f"{told.subject} {_details(told.body)}"))
    if entries:
        first, last = min(e.seconds for e in entries), max(e.seconds for e in entries)
        for done in faults:
            seconds = done.began - history.began
            if first - 5 <= seconds <= last:
                entries.append(Entry(seconds, "fault", f"{done.fault.kind} {done.fault.target}"))
    return sorted(entries, key=lambda entry: entry.seconds)[:MOST]


def _is_about(o: Operation, subject: str) -> bool:
    """Lists are about everything and nothing."""
    body = o.body if isinstance(o.body, dict) else {}
    return bool(subject) and subject in (o.about.get("order_id"), o.about.get("item_id"), body.get("id"), o.who)


def _asked(o: Operation, history: History) -> Entry:
    name = history.people.get(o.who, o.who).partition("@")[0]
    card = o.about.get("payment_method", "")
    details = _details(o.body) if isinstance(o.body, dict) else ""
    what = f"{o.kind} {card} -> {o.outcome} {details} after {o.answered - o.sent:.2f} s"
    return Entry(o.sent - history.began, name, " ".join(what.split()))


def _details(body: dict[str, object]) -> str:
    return ", ".join(f"{name} {body[name]}" for name in TOLD if body.get(name) is not None)
