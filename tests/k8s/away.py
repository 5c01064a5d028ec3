"""What comes in place of a service that cannot be reached, by the route maps."""

from collections.abc import Iterator

from tests.k8s.objects import Object, Objects

ANNOTATION = "nginx.ingress.kubernetes.io/"
GATEWAYS_OWN = {"502", "504"}
"""No service answers with these. A service's 503 says what is missing, and when to try again."""


def away(objects: Objects) -> Iterator[str]:
    """In place of a service that does not answer, pods answer that are no service's; what a service says passes."""
    for one in objects.of("Ingress"):
        given = one["metadata"].get("annotations", {})
        codes = set(given.get(f"{ANNOTATION}custom-http-errors", "").split(","))
        if given.get(f"{ANNOTATION}backend-protocol") == "HTTPS":
            yield from _own(f"Ingress {one['metadata']['name']}", codes)
        else:
            yield from _replaced(f"Ingress {one['metadata']['name']}", codes)
        yield from _answered(objects, given.get(f"{ANNOTATION}default-backend", "nobody"))
    for one in objects.of("Middleware"):
        errors = one["spec"]["errors"]
        yield from _replaced(f"Middleware {one['metadata']['name']}", set(errors["status"]))
        yield from _answered(objects, errors["service"]["name"])
    if any(objects.of("Middleware")):
        for one in objects.of("HTTPRoute"):
            yield from (fault for rule in one["spec"]["rules"] if "matches" in rule for fault in _asked(objects, rule))


def _replaced(name: str, codes: set[str]) -> Iterator[str]:
    for missing in sorted(GATEWAYS_OWN - codes):
        yield f"{name} lets the gateway's own {missing} pass"
    for more in sorted(codes - GATEWAYS_OWN - {""}):
        yield f"{name} replaces the {more} of a service"


def _own(name: str, codes: set[str]) -> Iterator[str]:
    """With TLS inside, Traefik's ingress-nginx provider cannot reach what answers instead: docs/decisions/tls.md."""
    for code in sorted(codes - {""}):
        yield f"{name} replaces a {code} by a 500"


def _answered(objects: Objects, name: str) -> Iterator[str]:
    services = [one["spec"] for one in objects.of("Service") if one["metadata"]["name"] == name]
    pods = [pod for spec in services for pod in objects.pods if spec["selector"].items() <= pod.labels.items()]
    if not pods:
        yield f"{name} answers in place of others and has no pods"
    for pod in pods:
        if pod in objects.services:
            yield f"{pod.name} answers in place of others and is away itself when it does not answer"
        if objects.one(pod.kind, pod.name)["spec"].get("replicas", 1) < 2:
            yield f"{pod.name} answers in place of others and has one pod"


def _asked(objects: Objects, rule: Object) -> Iterator[str]:
    [match] = rule["matches"]
    path = match["path"]["value"]
    wanted = "api" if path.startswith("/api/") else "page"
    names = [one["extensionRef"]["name"] for one in rule.get("filters", []) if one["type"] == "ExtensionRef"]
    queries = [objects.one("Middleware", name)["spec"]["errors"]["query"] for name in names]
    if queries != [f"/{{status}}/{wanted}"]:
        yield f"{path} has {queries} and not the {wanted} in place of what does not answer"
