"""The network that a client address belongs to: limits count networks, since one holder has all addresses of it."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.requests import Request

PREFIXES = {4: 24, 6: 64}
"""A household or a rented server has one IPv4 address and a whole IPv6 /64; who rents more gets them side by side."""

THIS_MACHINE = frozenset({"127.0.0.1", "::1"})


@lru_cache(maxsize=10_000)
def network_of(address: str) -> str:
    """The IPv4 /24 or IPv6 /64 of an address, such as `192.0.2.0/24`. Anything that is no address stays as it is."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ip_network((parsed, PREFIXES[parsed.version]), strict=False))


def network_of_caller(request: Request) -> str | None:
    """The network from which a request comes. None if that is this machine: a laptop has one address for everybody."""
    if request.client is None or request.client.host in THIS_MACHINE:
        return None
    return network_of(request.client.host)
