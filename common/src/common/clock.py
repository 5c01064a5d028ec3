"""The clock."""

from datetime import UTC, datetime


def now() -> datetime:
    """The time, to the millisecond, which is what Mongo keeps."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
