"""How many units of an item are held and how many are sold. Paying changes no stock, so no stock event says it."""

from collections.abc import Sequence

from pydantic import BaseModel

from common.mongo.client import Database
from orders.domain import OrderStatus


class Units(BaseModel):
    """The units of an item that orders have: those that await payment, and those that are paid."""

    item_id: str
    held: int
    sold: int


class UnitCounter:
    """Counts units, of one moment."""

    def __init__(self, db: Database) -> None:
        self._client = db.client
        self._stock = db.stock
        self._orders = db.orders

    async def count(self, item_ids: Sequence[str]) -> list[Units]:
        """The units of each of these items that is known. It reads what is held from an index, however much is sold."""
        unpaid = {"item_id": {"$in": list(item_ids)}, "status": OrderStatus.AWAITING_PAYMENT}
        by_item = {"$group": {"_id": "$item_id", "units": {"$sum": "$quantity"}}}
        async with self._client.start_session(snapshot=True) as session:
            stock = self._stock.find({"_id": {"$in": list(item_ids)}}, {"taken": 1}, session=session)
            taken = {document["_id"]: document["taken"] async for document in stock}
            groups = await self._orders.aggregate([{"$match": unpaid}, by_item], session=session)
            held = {group["_id"]: group["units"] async for group in groups}
        return [
            Units(item_id=item_id, held=held.get(item_id, 0), sold=units - held.get(item_id, 0))
            for item_id, units in taken.items()
        ]
