"""The registry of Souk's services: what else names a service derives from it, or `make check` compares it with this."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common import directory, papers

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
    listens: tuple[str, ...] = ("USERS",)
    """Streams whose news it hears without a durable consumer. USERS: which sessions have ended."""
    shows_records: bool = False
    """Whether audit may ask it for its records."""
    looks_up: tuple[str, ...] = ()
    """What it may ask other services about people and their tickets (`common.directory`, `common.papers`)."""
    answers: tuple[str, ...] = ()
    """What it says about them to those who may ask."""


SERVICES = (
    Service(
        "auth",
        1,
        publishes="users",
        uses="mongod",
        answers=(directory.ADDRESS_CHANGES, directory.CONTACTS, directory.IDS, directory.NAMED, directory.NAMES),
    ),
    Service(
        "items",
        2,
        publishes="items",
        uses="mongod",
        listens=("ITEMS", "ORDERS", "USERS"),
        shows_records=True,
        looks_up=(directory.NAMES,),
    ),
    Service("orders", 3, publishes="orders", uses="mongod", shows_records=True),
    Service("expiration", 4, publishes="expiration", uses="redis", listens=(), shows_records=True),
    Service("payments", 5, publishes="payments", uses="mongod", shows_records=True),
    Service("audit", 7, publishes="letters", uses="mongod", looks_up=(directory.IDS, directory.NAMED, directory.NAMES)),
    Service("web", 6, publishes=None, uses=None, listens=("ITEMS", "ORDERS", "PAYMENTS", "USERS")),
    Service(
        "notifications",
        8,
        publishes=None,
        uses="mongod",
        looks_up=(directory.ADDRESS_CHANGES, directory.CONTACTS, directory.RECIPIENTS, papers.PAPERS),
    ),
    Service(
        "tickets",
        9,
        publishes="tickets",
        uses="mongod",
        shows_records=True,
        looks_up=(directory.IDS,),
        answers=(directory.RECIPIENTS, papers.PAPERS),
    ),
)

NAMES = tuple(service.name for service in SERVICES)


def service_command(name: str) -> list[str]:
    """Return the command that runs a service with the Python of this process."""
    return [sys.executable, "-m", f"{name}.main"]
