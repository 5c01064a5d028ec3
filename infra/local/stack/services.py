"""The services of Souk, and what each needs to run."""

import sys
from dataclasses import dataclass
from pathlib import Path

from infra.servers.nats import NatsUser

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Service:
    """What the stack has to know of a service to run it."""

    name: str
    publishes: str | None
    """The first word of the subjects of its events."""
    uses: str | None
    """The server that keeps its data."""
    asks: tuple[str, ...] = ()
    """Subjects of questions to other services."""

    def on_the_bus(self, password: str) -> NatsUser:
        """Return the service as a user of the bus."""
        return NatsUser(self.name, password, self.publishes, self.asks)


SERVICES = (
    Service("auth", publishes="users", uses="mongod"),
    Service("items", publishes="items", uses="mongod"),
    Service("orders", publishes="orders", uses="mongod"),
    Service("expiration", publishes="expiration", uses="redis"),
    Service("payments", publishes="payments", uses="mongod"),
    Service("audit", publishes="letters", uses="mongod", asks=("books.>",)),
    Service("web", publishes=None, uses=None),
)


def service_command(name: str) -> list[str]:
    """Return the command that runs a service with the Python of this process."""
    return [sys.executable, "-m", f"{name}.main"]
