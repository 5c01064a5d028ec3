"""The time, in the precision that the database stores."""

from datetime import UTC, datetime


def whole_milliseconds(moment: datetime) -> datetime:
    """The moment as MongoDB stores it: cut off to whole milliseconds."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def now() -> datetime:
    """The current time (UTC), in whole milliseconds."""
    return whole_milliseconds(datetime.now(UTC))
