"""Gates, and the devices that scan at them, in MongoDB."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from pymongo import UpdateOne
from pymongo.errors import DuplicateKeyError

from common.batching import Batcher
from common.errors import StaleWrite
from common.mongo.client import AWAY, Database, look_up, write_all
from common.outbox import retry_stale
from tickets.door.devices import Arrival, Device
from tickets.door.domain import CLOSED, MOST_GATES, Gate, GateClosed, GateNotFound, TooManyGates


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

    async def known_gate(self, gate_id: str) -> Gate:
        """A gate that is open or was. Raises `GateClosed` if there was never one."""
        if document := await self._find(gate_id):
            return Gate(**document, id=gate_id)
        raise GateClosed(CLOSED)

    async def open_gate(self, gate_id: str) -> Gate:
        """A gate that is open. Raises `GateClosed`."""
        gate = await self.known_gate(gate_id)
        gate.check_open()
        return gate

    async def of_item(self, item_id: str) -> list[Gate]:
        """The gates of an event, the oldest first."""
        found = self._gates.find({"item_id": item_id}).sort("opened_at", 1)
        return [Gate(**document, id=document["_id"]) async for document in found]

    async def of_items(self, item_ids: Sequence[str], limit: int, after: str | None) -> list[Gate]:
        """The first gates of these events, by id; those after that one."""
        wanted = {"item_id": {"$in": item_ids}, **({"_id": {"$gt": after}} if after else {})}
        found = self._gates.find(wanted).sort("_id", 1).limit(limit)
        return [Gate(**document, id=document["_id"]) async for document in found]

    async def close(self, gate_id: str, now: datetime) -> Gate:
        """Close a gate for good. Closing it twice is closing it once."""
        await self._gates.update_one({"_id": gate_id, "closed_at": None}, {"$set": {"closed_at": now}})
        return await self.get(gate_id)


class DeviceStore:
    """Stores which scans of each device have arrived: {_id: device, last, gaps, version}."""

    def __init__(self, db: Database) -> None:
        self._devices = db.devices
        self.note = Batcher(self._note, shared=AWAY)
        """Note that a scan has arrived. Devices that scan at the same time share one write."""

    async def prepare(self) -> None:
        """Create an index for each query."""
        await self._devices.create_index("gaps.item_id", name="gaps", sparse=True)

    async def with_gaps(self, item_id: str) -> list[Device]:
        """The devices that have scanned at an event, and some of whose scans before have not arrived."""
        found = self._devices.find({"gaps.item_id": item_id}).sort("_id", 1)
        return [Device(**document, id=document["_id"]) async for document in found]

    async def _note(self, arrivals: Sequence[Arrival]) -> list[None]:
        by_device = dict[str, list[Arrival]]()
        for one in arrivals:
            by_device.setdefault(one.device, []).append(one)
        alone = [group[0] for group in by_device.values() if len(group) == 1]
        next_ones = [UpdateOne({"_id": a.device, "last": a.seq - 1}, {"$set": {"last": a.seq}}) for a in alone]
        if next_ones and (await write_all(self._devices, next_ones)).matched_count == len(by_device):
            return [None] * len(arrivals)
        for device, group in by_device.items():
            await retry_stale(partial(self._arrive, device, group))
        return [None] * len(arrivals)

    async def _arrive(self, device_id: str, arrivals: Sequence[Arrival]) -> None:
        document = await self._devices.find_one({"_id": device_id}) or {}
        known = Device(**document, id=device_id)
        device = known.model_copy()
        for one in sorted(arrivals, key=lambda one: one.seq):
            device.arrived(one)
        if device == known:
            return
        seen = {"_id": device_id, "last": known.last, "version": known.version}
        state = {"last": device.last, "gaps": [gap.model_dump() for gap in device.gaps], "version": known.version + 1}
        try:
            written = await self._devices.update_one(seen, {"$set": state}, upsert=not document)
        except DuplicateKeyError as error:
            raise StaleWrite("another scan of this device has arrived") from error
        if not (written.matched_count or written.upserted_id):
            raise StaleWrite("another scan of this device has arrived")
