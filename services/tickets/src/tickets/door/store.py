"""Gates in MongoDB."""

from datetime import datetime

from common.mongo.client import Database, look_up
from tickets.door.domain import MOST_GATES, Gate, GateClosed, GateNotFound, TooManyGates


class GateStore:
    """Stores the gates of each event, without the tokens in their links."""

    def __init__(self, db: Database) -> None:
        self._gates = db.gates
        self._find = look_up(db.gates)

    async def prepare(self) -> None:
        """Create an index for each query."""
        await self._gates.create_index([("item_id", 1), ("opened_at", 1)], name="of_item")

    async def add(self, gate: Gate) -> None:
        """Store a new gate. Raises `TooManyGates`."""
        if await self._gates.count_documents({"item_id": gate.item_id}, limit=MOST_GATES) >= MOST_GATES:
            raise TooManyGates(f"an event has {MOST_GATES} gates at most")
        await self._gates.insert_one({"_id": gate.id, **gate.model_dump(exclude={"id"})})

    async def get(self, gate_id: str) -> Gate:
        """A gate. Raises `GateNotFound`."""
        if document := await self._find(gate_id):
            return Gate(**document, id=gate_id)
        raise GateNotFound("there is no such gate")

    async def open_gate(self, gate_id: str) -> Gate:
        """A gate that is open. Raises `GateClosed`."""
        document = await self._find(gate_id)
        if document is None or document["closed_at"]:
            raise GateClosed("this gate is closed; ask who sent you its link for another one")
        return Gate(**document, id=gate_id)

    async def of_item(self, item_id: str) -> list[Gate]:
        """The gates of an event, the oldest first."""
        found = self._gates.find({"item_id": item_id}).sort("opened_at", 1)
        return [Gate(**document, id=document["_id"]) async for document in found]

    async def close(self, gate_id: str, now: datetime) -> Gate:
        """Close a gate for good. Closing it twice is closing it once."""
        await self._gates.update_one({"_id": gate_id, "closed_at": None}, {"$set": {"closed_at": now}})
        return await self.get(gate_id)
