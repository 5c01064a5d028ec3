"""The ports of everything on the laptop, at fixed offsets from the gateway's port."""

from collections.abc import Mapping

from infra.servers.process import free_port, is_free
from infra.services import SERVICES

OFFSETS = {
    "gateway": 0,
    **{service.name: service.port for service in SERVICES},
    "mongod": 90,
    "nats": 91,
    "redis": 92,
    "nats monitoring": 93,
    "mailbox": 94,
    "smtp": 95,
    "traces": 96,
}
"""Two stacks whose gateways are 100 ports apart can run side by side."""

REPLICA_STEP = 10
"""The second replica of a service listens 10 ports above the first, and so on, for up to eight replicas."""


class PortTaken(RuntimeError):
    """Another program listens on a port that the stack needs."""


class Ports:
    """The ports of one stack: fixed offsets from `first`, or any free ones where it is 0."""

    def __init__(self, first: int) -> None:
        self.first = first

    def of(self, name: str, replica: int = 0) -> int:
        """Return the port of a replica, counted from 0; without fixed offsets, a new free one each time."""
        return self.first + OFFSETS[name] + REPLICA_STEP * replica if self.first else free_port()

    def check(self, ports: Mapping[str, int]) -> None:
        """Raise `PortTaken`, naming the program that needs it, if a port is not free."""
        for name, port in ports.items():
            if not is_free(port):
                raise PortTaken(
                    f"port {port}, which {name} needs, is taken by another program: "
                    f"stop that one, or choose other ports, for example with PORT={self.first + 100}"
                )
