"""`python -m auth.republish`: publish the accounts again, after the bus lost its streams."""

from collections.abc import Sequence

from auth.domain import Account
from common.mongo.client import Database
from common.republish import Stated, main


def stated(db: Database) -> Sequence[Stated]:
    """What auth owns."""
    return [Stated(db.users, Account, "USERS")]


if __name__ == "__main__":
    raise SystemExit(main("auth", stated))
