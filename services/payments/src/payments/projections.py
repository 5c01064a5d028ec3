"""What payments copies from orders, compared with the stream: `python -m payments.projections payments.dues --swap`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from pymongo.errors import DuplicateKeyError

from common.bus.connection import Bus
from common.clock import whole_milliseconds
from common.events import OrderCancelled, OrderPaid, OrderPlaced
from common.mongo.client import AWAY, Database, database
from common.projections import Difference, Projection, State, main
from common.settings import load
from payments.domain import Due
from payments.settings import PaymentsSettings


class Dues(Projection):
    """What is due for each order, as orders said last."""

    name = "payments.dues"

    def __init__(self, bus: Bus, db: Database) -> None:
        self._bus = bus
        self._dues = db.dues

    async def expected(self) -> dict[str, State]:
        newest: dict[str, Due] = {}
        async for event in self._bus.stored_events(OrderPlaced, OrderCancelled, OrderPaid):
            due = Due.of(event)
            if due.id not in newest or newest[due.id].order_version < due.order_version:
                newest[due.id] = due
        return {key: _as_kept(due) for key, due in newest.items()}

    async def found(self) -> dict[str, State]:
        return {document.pop("_id"): document async for document in self._dues.find({})}

    async def repair(self, differences: Sequence[Difference]) -> None:
        """The version seen is the guard: nobody writes one again."""
        for difference in differences:
            document = {"_id": difference.key, **(difference.expected or {})}
            seen = {"_id": difference.key, "order_version": (difference.found or {}).get("order_version")}
            if difference.expected is None:
                await self._dues.delete_one(seen)
            elif difference.found is None:
                with suppress(DuplicateKeyError):  # It came meanwhile.
                    await self._dues.insert_one(document)
            else:
                await self._dues.replace_one(seen, document)


def _as_kept(due: Due) -> State:
    """The due as Mongo gives it back: it keeps whole milliseconds."""
    return {**due.model_dump(exclude={"id"}), "expires_at": whole_milliseconds(due.expires_at)}


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Projection]]:
    """The projections, and what they need."""
    settings = load(PaymentsSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.connected(
            settings.nats_url.get_secret_value(), "payments", replicas=settings.nats_replicas, away=AWAY
        ) as bus,
    ):
        yield [Dues(bus, db)]


if __name__ == "__main__":
    raise SystemExit(main(opened, AWAY))
