"""Which faults happen when. Pure: the same seed gives the same plan."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from infra.services import SERVICES

SERVERS = ("mongod", "nats", "redis")
USES = {name: service.uses for service in SERVICES for name in (service.name, f"{service.name}-2")}
"""The server that keeps the data of a replica."""

REPLICAS = tuple(USES)
WIRES = tuple(f"{name}:{server}" for name, used in USES.items() for server in ("nats", used) if server is not None)
"""The connections of a replica to a server. `people:gateway` are those of all people to the gateway."""

CLOCK_STEPS = {"clock ahead": 5.0, "clock behind": -5.0}
"""Seconds by which a fault sets the clock of a process wrong."""

PROVIDER = ("provider", "provider-mongod")
"""The provider and its disk."""

OUTER_WIRES = ("people:gateway", "payments:provider", "payments-2:provider", "provider:gateway")

PARTED = (5.0, 25.0)
"""Seconds of a partition."""

GAPS = (1.5, 4.5)
"""Seconds from one fault to the next."""


@dataclass(frozen=True)
class Fault:
    """A fault of this kind at `target`, `at` seconds after the start, for `seconds` (0: it happens once)."""

    at: float
    kind: str
    target: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Kind:
    """The targets of a kind of fault, its duration in seconds, and how often it comes while others come once."""

    targets: tuple[str, ...] = ("",)
    lasts: tuple[float, float] = (0.0, 0.0)
    often: int = 1


KINDS = {
    "kill service": Kind(REPLICAS, often=4),
    "kill mongod": Kind(("mongod",)),
    "kill nats": Kind(("nats",)),
    "kill redis": Kind(("redis",)),
    "kill gateway": Kind(("gateway",)),
    "kill provider": Kind(PROVIDER),
    "pause": Kind((*REPLICAS, *SERVERS, "gateway", *PROVIDER), (0.5, 4.0), often=2),
    "cut": Kind((*WIRES, *OUTER_WIRES), (0.0, 2.0), often=2),
    "slow": Kind((*WIRES, *OUTER_WIRES), (1.0, 4.0)),
    "hold": Kind((*WIRES, *OUTER_WIRES), (0.5, 4.0)),
    "hold requests": Kind(WIRES, (2.0, 8.0)),
    "hold answers": Kind(WIRES, (2.0, 8.0)),
    "repeat events": Kind(),
    "shuffle old events": Kind(),
    "repeat webhooks": Kind(),
    "unreadable event": Kind(("orders.placed", "payments.captured", "items.changed", "orders.stock_changed")),
    "full bus": Kind(lasts=(1.0, 3.0)),
    "full redis": Kind(lasts=(1.0, 3.0)),
    "empty redis": Kind(),
    "clock ahead": Kind(REPLICAS, (3.0, 8.0)),
    "clock behind": Kind(REPLICAS, (3.0, 8.0)),
    "rolling restart": Kind(),
    "bus outage": Kind(lasts=(8.0, 12.0)),
    "full disk": Kind(("mongod", "nats"), (1.0, 3.0)),
}
"""Every kind of fault."""


def replicated(mongods: Sequence[str], nats: Sequence[str], wired: Sequence[str]) -> dict[str, Kind]:
    """The kinds of faults where MongoDB and NATS have several members. `wired` are the mongods that have wires."""
    stores = {name: wired if used == "mongod" else () for name, used in USES.items()}
    inner = tuple(f"{name}:{member}" for name in REPLICAS for member in (*nats, *stores[name]))
    wires = (*inner, *OUTER_WIRES)
    members = (*mongods, *nats)
    ways = tuple(way for cluster in (wired, nats) for way in permutations(cluster, 2))
    more = {
        "kill mongod": Kind(tuple(mongods)),
        "kill nats": Kind(tuple(nats)),
        "pause": Kind((*REPLICAS, *members, "redis", "gateway", *PROVIDER), (0.5, 4.0), often=2),
        "long pause": Kind((*REPLICAS, *members, *PROVIDER), (20.0, 25.0)),
        "cut": Kind(wires, (0.0, 2.0), often=2),
        "slow": Kind(wires, (1.0, 4.0)),
        "hold": Kind(wires, (0.5, 4.0)),
        "hold requests": Kind(wires, (2.0, 8.0)),
        "hold answers": Kind(wires, (2.0, 8.0)),
        "black hole": Kind(wires, (20.0, 25.0)),
        "unreplicated writes": Kind(lasts=(0.5, 4.0), often=2),
        "lag": Kind(lasts=(11.0, 14.0)),
        "step down": Kind(),
        "lost disk": Kind(members),
        "full disk": Kind(tuple(nats), (1.0, 3.0)),
        "new leader": Kind(("ORDERS", "PAYMENTS", "ITEMS")),
        "partition": Kind((*(("primary", *wired) if wired else ()), *nats), PARTED, often=2),
        "partial partition": Kind(tuple(f"{one}:{other}" for one, other in ways if one < other), PARTED),
        "one-way partition": Kind(tuple(f"{one}:{other}" for one, other in ways), PARTED),
    }
    return KINDS | more


def make_plan(seed: int, seconds: float, kinds: Mapping[str, Kind] = KINDS) -> list[Fault]:
    """Return the faults of a run by their times; every kind comes before any comes more often than its share."""
    chance = random.Random(seed)
    names = _dealt(chance, kinds)
    plan = []
    at = chance.uniform(*GAPS)
    while at < seconds:
        name = next(names)
        kind = kinds[name]
        plan.append(Fault(round(at, 3), name, chance.choice(kind.targets), round(chance.uniform(*kind.lasts), 3)))
        at += chance.uniform(*GAPS)
    return plan


def _dealt(chance: random.Random, kinds: Mapping[str, Kind]) -> Iterator[str]:
    while True:
        deck = [name for name, kind in kinds.items() for _ in range(kind.often)]
        chance.shuffle(deck)
        yield from deck
