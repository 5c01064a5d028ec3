"""The deadlines, compared with the stream: `python -m expiration.projections expiration.deadlines --swap`."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from common.bus.connection import COMMAND_PATIENCE, Bus
from common.events import OrderPlaced
from common.projections import Difference, Projection, State, main
from common.settings import load
from expiration.deadlines import AWAY, Deadlines, milliseconds, redis_at
from expiration.settings import ExpirationSettings
from expiration.worker import READ


class Holds(Projection):
    """When each hold that is not settled ends."""

    name = "expiration.deadlines"

    def __init__(self, bus: Bus, deadlines: Deadlines) -> None:
        self._bus = bus
        self._deadlines = deadlines

    async def expected(self) -> dict[str, State]:
        held: dict[str, State] = {}
        settled: set[str] = set()
        async with aclosing(self._bus.stored_events(*READ, archived=False)) as events:
            async for event in events:
                if isinstance(event, OrderPlaced):
                    held[event.order_id] = {"due": milliseconds(event.expires_at)}
                else:
                    settled.add(event.order_id)
        return {order: due for order, due in held.items() if order not in settled}

    async def found(self) -> dict[str, State]:
        return {order: {"due": due} async for order, due in self._deadlines.all()}

    async def repair(self, differences: Sequence[Difference]) -> None:
        """Drop the deadlines without a hold. The worker does the rest: it rebuilds what is not marked complete."""
        for difference in differences:
            if difference.expected is None:
                await self._deadlines.drop(difference.key)
        await self._deadlines.distrust()


@asynccontextmanager
async def opened() -> AsyncIterator[Sequence[Projection]]:
    """The projections, and what they need."""
    settings = load(ExpirationSettings)
    async with (
        redis_at(settings.redis_url.get_secret_value()) as redis,
        Bus.of(settings, "expiration", away=AWAY, within=COMMAND_PATIENCE) as bus,
    ):
        yield [Holds(bus, Deadlines(redis))]


if __name__ == "__main__":
    raise SystemExit(main(opened, AWAY))
