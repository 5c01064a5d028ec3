"""What every record's rules have in common: versions that are missing, contradict each other, or are ahead. No I/O."""

from collections.abc import Iterable, Iterator

from audit.reconciliation.findings import Finding, Rule
from common.events import Event

MAX_MISSING = 20
"""Missing versions of one item that are reported one by one."""


def missing_record(kind: str, key: str, service: str) -> Finding:
    """The log has events about something that is not in the records of a service."""
    expected = f"in the records of {service}, as published"
    return Finding(rule=Rule.BOOKS_AGREE, subject={kind: key}, expected=expected, found="not there")


def contradictions(subject: dict[str, str], events: Iterable[tuple[int, Event]]) -> Iterator[Finding]:
    """Two different events of one version: one of them tells of a state that never was. Readers keep the first.

    What was stated again is left out: it may be said by an event that carries a later version than the first time.
    """
    first: dict[int, Event] = {}
    for version, event in events:
        if not event.restated and (known := first.setdefault(version, event)) != event:
            yield contradiction(subject, version, known.subject, event.subject)


def contradiction(subject: dict[str, str], version: int, known: str, other: str) -> Finding:
    """Two events with these subjects tell of one version."""
    return Finding(
        rule=Rule.EVENTS_AGREE,
        subject=subject,
        expected=f"one event of version {version}: {known}",
        found=f"another {other}",
        certain=True,
    )


def restated(changes: Iterable[tuple[int, Event]]) -> int:
    """The newest version that was stated again after the bus lost its streams: older ones may be lost for ever."""
    return max((version for version, event in changes if event.restated), default=0)


def behind(subject: dict[str, str], published: int, recorded: int) -> Finding:
    """The log has a newer version than the records."""
    expected = f"version {published} or newer, as published"
    return Finding(rule=Rule.BOOKS_AGREE, subject=subject, expected=expected, found=f"version {recorded}")


def lost(subject: dict[str, str], expected: str, found: str) -> Finding:
    """The log lacks an event."""
    return Finding(rule=Rule.EVENTS_KEPT, subject=subject, expected=f"in the log: {expected}", found=found)
