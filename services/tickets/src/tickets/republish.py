"""`python -m tickets.republish`: publish the tickets again, after the bus lost its streams."""

from collections.abc import Sequence

from common.mongo.client import Database
from common.republish import Stated, main
from tickets.domain import Booking


def stated(db: Database) -> Sequence[Stated]:
    """What tickets owns."""
    return [Stated(db.bookings, Booking, "TICKETS")]


if __name__ == "__main__":
    raise SystemExit(main("tickets", stated))
