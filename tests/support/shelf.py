"""An aggregate for the tests of what every aggregate shares."""

from common.aggregate import Aggregate
from common.events import StockChanged
from common.ids import new_id


class Shelf(Aggregate):
    """Counts what is put on it; no two shelves have the same name."""

    name: str
    note: str | None = None
    count: int = 0

    @classmethod
    def new(cls, name: str | None = None) -> "Shelf":
        return cls(id=(shelf := new_id()), name=name or shelf)

    def put(self) -> None:
        self.count += 1
        self.record(
            StockChanged(item_id=self.id, stock_version=self.next_version, quantity=1_000, available=self.count)
        )
