"""`python -m orders.republish`: publish the stock and orders again, after the bus lost its streams."""

from collections.abc import Sequence

from common.mongo.client import Database
from common.republish import Stated, main
from orders.domain import Order
from orders.stock import Stock


def stated(db: Database) -> Sequence[Stated]:
    """What orders owns."""
    return [
        Stated(db.stock, Stock, "ORDERS", every_version=("item_id", "stock_version")),
        Stated(db.orders, Order, "ORDERS"),
    ]


if __name__ == "__main__":
    raise SystemExit(main("orders", stated))
