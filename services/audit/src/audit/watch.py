"""What waits on the bus, for Prometheus: of each consumer, and of the dead letters. Every replica says the same."""

from contextlib import AbstractAsyncContextManager

from prometheus_client import Gauge

from audit.dead_letters.store import DeadLetterStore
from common.bus.connection import Bus
from common.clock import now
from common.metrics import sampled

PENDING = Gauge(
    "souk_consumer_pending_messages", "Messages that a consumer has not acknowledged yet", ["stream", "consumer"]
)
OLDEST = Gauge(
    "souk_consumer_oldest_age_seconds",
    "Age of the oldest message that a consumer has not acknowledged, 0 if there is none",
    ["stream", "consumer"],
)
OPEN_LETTERS = Gauge("souk_dead_letters_open", "Dead letters that wait for an operator's decision")
SAMPLED = Gauge("souk_consumers_sampled_timestamp_seconds", "When the consumers were last looked at, in Unix seconds")


def watching(bus: Bus, letters: DeadLetterStore) -> AbstractAsyncContextManager[None]:
    """Look again and again."""

    async def look() -> None:
        moment, lags = now(), await bus.consumer_lags()
        PENDING.clear()  # A consumer that is gone is no longer behind.
        OLDEST.clear()
        for lag in lags:
            PENDING.labels(lag.stream, lag.consumer).set(lag.messages)
            age = max(0.0, (moment - lag.since).total_seconds()) if lag.since else 0.0
            OLDEST.labels(lag.stream, lag.consumer).set(age)
        OPEN_LETTERS.set(await letters.open())
        SAMPLED.set(moment.timestamp())

    return sampled(look)
