"""A timeline: what happened to an order, item or payment in all services. No I/O."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from pydantic import ValidationError

from audit.dead_letters.domain import DeadLetter, DeadLetterState, Retry
from audit.event_log.domain import Entry, fields_in
from audit.history.snapshot import Snapshot
from common.events import (
    EVENTS,
    Event,
    OrderCancelled,
    OrderPaid,
    OrderPaymentAccepted,
    OrderPlaced,
    ProviderCalled,
    StockChanged,
)

STOCK_CHANGING = frozenset(event.subject for event in (OrderPlaced, OrderCancelled, OrderPaymentAccepted, OrderPaid))
"""Subjects of events whose write may also have changed stock. A refund's stock change names the refund as its cause."""


@dataclass(frozen=True)
class Line:
    """One thing that happened: an event, a call to the payment provider, a failure, or a decision about a dead letter.

    `caused_by` is the id of the event that caused it (of a decision: the dead letter's id). `request_id` is the HTTP
    request where it started. `place` orders lines of the same millisecond.
    """

    id: str
    kind: str
    service: str
    subject: str
    time: datetime
    caused_by: str | None
    request_id: str | None
    fields: Mapping[str, Any]
    place: tuple[str, int] = ("", 0)
    event: Event | None = None


def timeline_of(
    entries: Iterable[Entry], retries: Iterable[Retry] = (), letters: Iterable[DeadLetter] = ()
) -> list[Line]:
    """The lines by time, but every effect after its cause, even if the services' clocks differ."""
    known = {entry.id: entry for entry in entries}
    lines = [
        *map(_of_entry, known.values()),
        *(_of_retry(retry, known) for retry in retries),
        *chain.from_iterable(_of_letter(letter, known) for letter in letters),
    ]
    return sorted(lines, key=_order_of(lines))


def snapshots_of(timeline: Sequence[Line], stock: Sequence[Entry] = ()) -> list[Snapshot]:
    """The snapshot after each line of a timeline.

    `stock` are stock changes by other orders. Each applies from its time on.
    """
    changes = [(entry.time, event) for entry in stock if isinstance(event := event_in(entry), StockChanged)]
    changes.sort(key=lambda change: (change[0], change[1].stock_version))
    snapshot, found = Snapshot(), []
    for line in timeline:
        while changes and changes[0][0] <= line.time:
            snapshot = snapshot.after(changes.pop(0)[1])
        if line.event:
            snapshot = snapshot.after(line.event)
        found.append(snapshot)
    return found


def event_in(entry: Entry) -> Event | None:
    """The event in an entry; None if the body is not valid."""
    try:
        return EVENTS[entry.subject].model_validate_json(entry.body)
    except (KeyError, ValidationError):
        return None


def _of_entry(entry: Entry) -> Line:
    event = event_in(entry)
    return Line(
        id=entry.id,
        kind="provider_call" if isinstance(event, ProviderCalled) else "event",
        service=entry.source,
        subject=entry.subject,
        time=entry.time,
        caused_by=entry.caused_by,
        request_id=entry.request_id,
        fields=fields if (fields := fields_in(entry.body)) is not None else {"body": entry.body},
        place=(entry.stream, entry.sequence),
        event=event,
    )


def _of_retry(retry: Retry, known: Mapping[str, Entry]) -> Line:
    return Line(
        id=retry.id,
        kind="retry",
        service=retry.service,
        subject=retry.subject,
        time=retry.failed_at,
        caused_by=retry.about,
        request_id=_request_of(retry.about, known),
        fields={"handler": retry.handler, "error": retry.error, "deliveries": retry.deliveries},
        place=("RETRIES", retry.deliveries),
    )


def _of_letter(letter: DeadLetter, known: Mapping[str, Entry]) -> list[Line]:
    failed = Line(
        id=letter.id,
        kind="dead_letter",
        service=letter.service,
        subject=letter.subject,
        time=letter.failed_at,
        caused_by=letter.about,
        request_id=_request_of(letter.about, known),
        fields={
            "handler": letter.handler,
            "error": letter.error,
            "deliveries": letter.deliveries,
            "state": letter.state,
        },
        place=("RETRIES", letter.deliveries + 1),
    )
    if letter.state is DeadLetterState.OPEN or letter.decided_at is None:
        return [failed]
    decided = Line(
        id=f"{letter.id}:{letter.state}",
        kind=letter.state,
        service="audit",
        subject=letter.subject,
        time=letter.decided_at,
        caused_by=letter.id,
        request_id=None,
        fields={"handler": letter.handler, "by": letter.decided_by, "reason": letter.reason},
    )
    return [failed, decided]


def _request_of(event_id: str, known: Mapping[str, Entry]) -> str | None:
    return known[event_id].request_id if event_id in known else None


def _order_of(lines: Sequence[Line]) -> Callable[[Line], tuple[datetime, int, tuple[str, int]]]:
    by_id = {line.id: line for line in lines}
    ranks: dict[str, tuple[datetime, int]] = {}

    def rank(line: Line) -> tuple[datetime, int]:
        """A time no earlier than the cause's, and the number of causes before it."""
        path = [line]
        while (cause := by_id.get(path[-1].caused_by or "")) and cause.id not in ranks and cause not in path:
            path.append(cause)
        for one in reversed(path):
            time, depth = ranks.get(one.caused_by or "", (one.time, -1))
            ranks[one.id] = (max(time, one.time), depth + 1)
        return ranks[line.id]

    return lambda line: (*rank(line), line.place)
