"""`python -m payments.republish`: publish the payments again, after the bus lost its streams."""

from collections.abc import Sequence

from common.mongo.client import Database
from common.republish import Stated, main
from payments.domain import Payment


def stated(db: Database) -> Sequence[Stated]:
    """What payments owns."""
    return [Stated(db.payments, Payment, "PAYMENTS")]


if __name__ == "__main__":
    raise SystemExit(main("payments", stated))
