"""The amounts due, compared with the stream of orders: `python -m payments.projections payments.dues --swap`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from common.bus.connection import COMMAND_PATIENCE, Bus
from common.clock import whole_milliseconds
from common.events import OrderCancelled, OrderPaid, OrderPaymentAccepted, OrderPlaced
from common.mongo.client import AWAY, database
from common.projections import Difference, Projection, State, main
from common.settings import load
from payments.due import Due
from payments.settings import PaymentsSettings
from payments.store import DueStore


class Dues(Projection):
    """What is due for each order, according to its newest event."""

    name = "payments.dues"

    def __init__(self, bus: Bus, dues: DueStore) -> None:
        self._bus = bus
        self._dues = dues

    async def expected(self) -> dict[str, State]:
        newest: dict[str, Due] = {}
        async for event in self._bus.stored_events(OrderPlaced, OrderCancelled, OrderPaymentAccepted, OrderPaid):
            due = Due.of(event)
            if due.id not in newest or newest[due.id].order_version < due.order_version:
                newest[due.id] = due
        return {key: _as_stored(due) for key, due in newest.items()}

    async def found(self) -> dict[str, State]:
        return {document.pop("_id"): document async for document in self._dues.all()}

    async def repair(self, differences: Sequence[Difference]) -> None:
        for difference in differences:
            await self._dues.repair(difference.key, difference.found, difference.expected)


def _as_stored(due: Due) -> State:
    """The due as Mongo returns it, with whole milliseconds."""
    return {**due.to_document(), "expires_at": whole_milliseconds(due.expires_at)}


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Projection]]:
    """The projections, and what they need."""
    settings = load(PaymentsSettings)
    async with (
        database(settings.mongo_url.get_secret_value()) as db,
        Bus.of(settings, "payments", away=AWAY, within=COMMAND_PATIENCE) as bus,
    ):
        yield [Dues(bus, DueStore(db))]


if __name__ == "__main__":
    raise SystemExit(main(opened, AWAY))
