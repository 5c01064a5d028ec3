"""Which service gets a path: from the Ingress, the HTTPRoute and the laptop's gateway."""

import re
from collections.abc import Iterator

from infra.local.stack.gateway import read_routes
from tests.k8s.objects import Object, Objects

SAMPLES = {
    "/api/users": "auth",
    "/api/users/signin": "auth",
    "/api/users/me": "auth",
    "/api/users/me/export": "web",
    "/api/usersandmore": "web",
    "/api/items": "items",
    "/api/items/1/pictures/2": "items",
    "/api/items/": "items",
    "/api/orders/sales": "orders",
    "/api/payments/webhook": "payments",
    "/api/audit/dead-letters": "audit",
    "/api/audits": "web",
    "/api/notifications/failed": "notifications",
    "/api/docs/events": "web",
    "/api/openapi.json": "web",
    "/api/tickets/scan": "tickets",
    "/api": "web",
    "/apis/users": "web",
    "/API/users": "web",
    "/": "web",
    "/items/1": "web",
    "/healthz": "web",
}
"""Paths, and the service that they belong to."""


def routes(objects: Objects) -> Iterator[str]:
    """Every backend of a route exists; every route map sends the sample paths to the same services."""
    ways = {f"{one['kind']} {one['metadata']['name']}": _prefixes(one) for one in objects.of("Ingress", "HTTPRoute")}
    ways = {way: prefixes for way, prefixes in ways.items() if prefixes}  # One that leads to https has no backend.
    if not ways:
        yield "there is no Ingress and no HTTPRoute"
    for way, prefixes in ways.items():
        for service, port in prefixes.values():
            if not _open(objects, service, port):
                yield f"{way} leads to {service}:{port}, which does not exist"
    for path, service in SAMPLES.items():
        for way, prefixes in ways.items():
            if (there := _by_prefix(prefixes, path)) != service:
                yield f"{way} sends {path} to {there}, not to {service}"
        if (there := on_a_laptop(path)) != service:
            yield f"the laptop's gateway sends {path} to {there}, not to {service}"


def on_a_laptop(path: str) -> str | None:
    """The service that Traefik sends a path to, by the laptop's rules: the longest rule that matches wins."""
    for route in sorted(read_routes(), key=lambda route: -len(route.path)):
        for kind, value in re.findall(r"(Path|PathPrefix)\(`([^`]+)`\)", route.rule):
            if path == value or (kind == "PathPrefix" and path.startswith(value)):
                return route.service
    return None


def _prefixes(one: Object) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for rule in one["spec"]["rules"]:
        for path in rule.get("http", {}).get("paths", []):
            assert path["pathType"] == "Prefix", path
            backend = path["backend"]["service"]
            found[path["path"]] = (backend["name"], backend["port"]["number"])
        for match in rule.get("matches", []):
            assert match["path"]["type"] == "PathPrefix", match
            [backend] = rule["backendRefs"]
            found[match["path"]["value"]] = (backend["name"], backend["port"])
    return found


def _by_prefix(prefixes: dict[str, tuple[str, int]], path: str) -> str | None:
    """The longest prefix of whole path elements wins, in both APIs."""
    matching = [p for p in prefixes if f"{path.rstrip('/')}/".startswith(f"{p.rstrip('/')}/")]
    return prefixes[max(matching, key=len)][0] if matching else None


def _open(objects: Objects, service: str, port: int) -> bool:
    return any(
        one["metadata"]["name"] == service and port in {each["port"] for each in one["spec"]["ports"]}
        for one in objects.of("Service")
    )
