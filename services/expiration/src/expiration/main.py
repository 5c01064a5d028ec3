"""Expiration: builds its parts and serves them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter

from common.bus.connection import Bus
from common.http.app import Running, create_app, serve
from common.settings import load
from expiration.consumers import consumers
from expiration.deadlines import AWAY, Deadlines, redis_at
from expiration.records import records
from expiration.settings import ExpirationSettings
from expiration.worker import Worker


@asynccontextmanager
async def start() -> AsyncIterator[Running]:
    """Everything that runs for the life of the process."""
    settings = load(ExpirationSettings)
    async with (
        redis_at(settings.redis_url.get_secret_value()) as redis,
        Bus.of(settings, "expiration", away=AWAY) as bus,
    ):
        deadlines = Deadlines(redis)
        async with (
            Worker.working(deadlines, bus),
            records.answering(bus, [deadlines]),
            bus.consuming(consumers, [deadlines]),
        ):
            yield Running([deadlines], {"redis": redis.ping, "bus": bus.check}, serves_without=frozenset())


app = create_app("expiration", APIRouter(), start, away=AWAY)

if __name__ == "__main__":
    serve(app, ExpirationSettings, "expiration")
