"""`python -m items.republish`: publish the items again, after the bus lost its streams."""

from collections.abc import Sequence

from common.mongo.client import Database
from common.republish import Stated, main
from items.domain import Item


def stated(db: Database) -> Sequence[Stated]:
    """What items owns."""
    return [Stated(db.items, Item, "ITEMS", every_version=("item_id", "item_version"))]


if __name__ == "__main__":
    raise SystemExit(main("items", stated))
