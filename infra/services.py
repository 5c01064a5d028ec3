"""The registry of Souk's services: what else names a service derives from it, or `make check` compares it with this."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.servers.nats import NatsUser

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Service:
    """A package in `services/`, and what it needs to run."""

    name: str
    port: int
    """On a laptop: how far above the gateway's port. It never changes."""
    publishes: str | None
    """The first word of the subjects of its events."""
    uses: Literal["mongod", "redis"] | None
    """The server that stores its data."""
    asks: tuple[str, ...] = ()
    """Subjects of its requests to other services."""

    def on_the_bus(self, password: str) -> NatsUser:
        """Return the service as a user of the bus."""
        return NatsUser(self.name, password, self.publishes, self.asks)


SERVICES = (
    Service("auth", 1, publishes="users", uses="mongod"),
    Service("items", 2, publishes="items", uses="mongod"),
    Service("orders", 3, publishes="orders", uses="mongod"),
    Service("expiration", 4, publishes="expiration", uses="redis"),
    Service("payments", 5, publishes="payments", uses="mongod"),
    Service("audit", 7, publishes="letters", uses="mongod", asks=("books.>",)),
    Service("web", 6, publishes=None, uses=None),
)

NAMES = tuple(service.name for service in SERVICES)


def service_command(name: str) -> list[str]:
    """Return the command that runs a service with the Python of this process."""
    return [sys.executable, "-m", f"{name}.main"]
