"""The timeline of an order or an item: what people did with it, and the events that services published about it."""

from collections.abc import Iterable
from dataclasses import dataclass

from tests.chaos.end_state import EndState
from tests.chaos.faults import FaultResult
from tests.chaos.history import History, Operation

MOST = 200
"""Lines of one timeline, at most."""

SHOWN = (
    "status",
    "reason",
    "payment_id",
    "quantity",
    "available",
    "amount",
    "order_version",
    "stock_version",
    "item_version",
    "version",
)
"""The fields of an event or an answer that a line shows."""


@dataclass(frozen=True)
class TimelineLine:
    """What somebody did, or a service published, `seconds` after the run began."""

    seconds: float
    who: str
    what: str


def timeline_of(
    subject: str, history: History, end: EndState, faults: Iterable[FaultResult] = ()
) -> list[TimelineLine]:
    """Return the timeline of an order, item, user or payment, with the faults of the same time."""
    lines = [_asked(o, history) for o in history.operations if _is_about(o, subject)]
    for event in end.events:
        if subject and subject in event.body.values():
            service = event.subject.partition(".")[0]
            seconds = event.at.timestamp() - history.began
            lines.append(TimelineLine(seconds, service, f"{event.subject} {_details(event.body)}"))
    if lines:
        first, last = min(line.seconds for line in lines), max(line.seconds for line in lines)
        for result in faults:
            seconds = result.began - history.began
            if first - 5 <= seconds <= last:
                lines.append(TimelineLine(seconds, "fault", f"{result.fault.kind} {result.fault.target}"))
    return sorted(lines, key=lambda line: line.seconds)[:MOST]


def _is_about(o: Operation, subject: str) -> bool:
    """Return whether an operation is about this subject; lists are about none."""
    body = o.body if isinstance(o.body, dict) else {}
    return bool(subject) and subject in (o.about.get("order_id"), o.about.get("item_id"), body.get("id"), o.who)


def _asked(o: Operation, history: History) -> TimelineLine:
    name = history.people.get(o.who, o.who).partition("@")[0]
    card = o.about.get("payment_method", "")
    details = _details(o.body) if isinstance(o.body, dict) else ""
    what = f"{o.kind} {card} -> {o.outcome} {details} after {o.answered - o.sent:.2f} s"
    return TimelineLine(o.sent - history.began, name, " ".join(what.split()))


def _details(body: dict[str, object]) -> str:
    return ", ".join(f"{name} {body[name]}" for name in SHOWN if body.get(name) is not None)
