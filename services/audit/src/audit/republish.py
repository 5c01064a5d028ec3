"""`python -m audit.republish`: publish the decisions about dead letters again, after the bus lost its streams."""

from collections.abc import Sequence

from audit.dead_letters.domain import DeadLetter
from common.mongo.client import Database
from common.republish import Stated, main


def stated(db: Database) -> Sequence[Stated]:
    """What audit owns."""
    return [Stated(db.letters, DeadLetter, "LETTERS")]


if __name__ == "__main__":
    raise SystemExit(main("audit", stated))
