"""The clock."""

from datetime import UTC, datetime


def whole_milliseconds(moment: datetime) -> datetime:
    """The moment as Mongo keeps it: what is finer than a millisecond is cut off."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def now() -> datetime:
    """The time, in whole milliseconds."""
    return whole_milliseconds(datetime.now(UTC))
