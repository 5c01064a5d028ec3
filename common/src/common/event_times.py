"""When an event is over. Orders, items and the pages say the same about it."""

from datetime import datetime, timedelta

UNENDED = timedelta(hours=6)
"""How long an event is taken to last whose seller has not said when it ends: a long evening."""


def over_at(starts_at: datetime | None, ends_at: datetime | None) -> datetime | None:
    """The moment from which an event is over. None for a thing, which is never over."""
    return ends_at or (starts_at + UNENDED if starts_at else None)
