"""Partitions of a cluster whose members have a wire to each other, named `mongod-1:mongod-2` by source and target."""

from collections.abc import Iterable, Mapping

from infra.servers.nats_trio import NatsTrio
from infra.servers.process import free_port
from tests.chaos.proxy import Proxy, Wire


def wires_between(bus: NatsTrio) -> dict[str, Wire]:
    """Lay wires between the members of the bus, before they start; what they hear of each other leads nowhere else."""
    wires: dict[str, Wire] = {}
    for source in bus.members:
        source.told = free_port()
        for target in bus.members:
            if source is not target:
                wire = wires[f"{source.name}:{target.name}"] = Proxy(target.route)
                source.routes[target.name] = wire.port
    return wires


def lose(wires: Mapping[str, Wire], source: str, target: str) -> None:
    """Hold all that one member sends to another, over the connections of both; what the other sends arrives."""
    wires[f"{source}:{target}"].hold_requests()
    wires[f"{target}:{source}"].hold_answers()


def part(wires: Mapping[str, Wire], one: str, others: Iterable[str]) -> None:
    """Hold all that a member and these others send to each other."""
    for other in others:
        lose(wires, one, other)
        lose(wires, other, one)


def reunite(wires: Mapping[str, Wire], members: Iterable[str]) -> None:
    """End every partition between these members."""
    names = tuple(members)
    for source in names:
        for target in names:
            if source != target:
                wires[f"{source}:{target}"].heal()
