"""Who may talk to whom, by the network policies, and who should."""

import ipaddress
from collections.abc import Iterator, Mapping
from itertools import product

from infra.services import NAMES
from tests.k8s.code_facts import fields_of, on_the_bus, routed
from tests.k8s.objects import Object, Objects, Pod

Edge = tuple[str, str, str, int]
"""From, to, protocol, port."""

NO_PORT = 9
"""Nothing listens here, so nothing should be allowed to ask."""

CONTROLLERS = ("traefik", "ingress-nginx")


def _stranger(name: str, namespace: str, *ports: int, **labels: str) -> Pod:
    names = {label.replace("_", "-"): value for label, value in labels.items()}
    return Pod(name, "Stranger", namespace, names, {}, {str(port): port for port in ports})


def _machine(address: str, *ports: int) -> Pod:
    return Pod(address, "Machine", "", {}, {}, {str(port): port for port in ports})


API_SERVER = _machine("10.96.0.1", 443, 6443)
INTERNET = _machine("203.0.113.7", 25, 80, 443, 465, 587)
STRANGERS = [
    *(_stranger(name, name) for name in CONTROLLERS),
    _stranger("keda", "keda"),
    _stranger("collector", "monitoring", 4318, **{"app.kubernetes.io/name": "opentelemetry-collector"}),
    _stranger("prometheus", "monitoring", **{"app.kubernetes.io/name": "prometheus"}),
    _stranger("dns", "kube-system", 53, k8s_app="kube-dns"),
    _stranger("other", "other", 80),
    API_SERVER,
    INTERNET,
]


def allowed(objects: Objects) -> set[Edge]:
    """Every edge that the policies allow, between the pods of Souk and to or from strangers."""
    policies = list(objects.of("NetworkPolicy"))
    own = objects.pods
    found = set()
    for source, target in product([*own, *STRANGERS], repeat=2):
        if source not in own and target not in own:
            continue
        for protocol, port in product(("TCP", "UDP"), {*target.ports.values(), NO_PORT}):
            if _goes(policies, source, target, protocol, port):
                found.add((source.name, target.name, protocol, port))
    return found


def expected(objects: Objects) -> set[Edge]:
    """The edges that the code needs, by its routes, settings and events, and those of the cluster itself."""
    tcp = set[tuple[str, str, int]]()
    tcp |= {(controller, service, 8000) for controller in CONTROLLERS for service in (*routed(), "away")}
    tcp |= {(client, "nats", 4222) for client in (*on_the_bus(), "provision")}
    for service in NAMES:
        fields = fields_of(service)
        tcp |= {(service, other, 8000) for other in NAMES if f"{other}_url" in fields}
        tcp |= {(service, f"{service}-mongo", 27017)} if "mongo_url" in fields else set()
        tcp |= {(service, "redis", 6379)} if "redis_url" in fields else set()
    tcp |= {(pod.name, "dns", 53) for pod in objects.pods}
    if objects.one("StatefulSet", "nats")["spec"].get("replicas", 1) > 1:
        tcp |= {("nats", "nats", 6222)}
    if any(objects.of("ScaledObject")):
        tcp |= {("keda", "nats", 8222)}
    if any(e["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT" for e in objects.service("web")["env"]):
        tcp |= {(service, "collector", 4318) for service in NAMES}
    if any(objects.of("PodMonitor")):
        tcp |= {("bus-exporter", "nats", 8222), ("prometheus", "bus-exporter", 7777)}
        tcp |= {("prometheus", service, 8000) for service in NAMES}
        tcp |= {("prometheus", pod.name, 9216) for pod in objects.pods if pod.kind == "MongoDBCommunity"}
    for pod in (pod for pod in objects.pods if pod.kind == "MongoDBCommunity"):
        tcp |= {(pod.name, pod.name, 27017), *((pod.name, API_SERVER.name, port) for port in (443, 6443))}
    jobs = {one["metadata"]["name"] for one in objects.of("CronJob")}
    if "archive" in jobs:
        tcp |= {("archive", "nats", 4222), ("archive", "audit-mongo", 27017)}
    if "backup" in jobs:
        tcp |= {(job, INTERNET.name, 443) for job in ("backup", "restore", "restore-drill")}
        for job in ("backup", "restore"):
            tcp |= {(job, "nats", 4222)}
            tcp |= {(job, pod.name, 27017) for pod in objects.pods if pod.kind == "MongoDBCommunity"}
    if any(e.get("value") == "stripe" for e in objects.service("payments")["env"]):
        tcp |= {("payments", INTERNET.name, 443)}
    if any(pod.name == "mailbox" for pod in objects.pods):
        tcp |= {("notifications", "mailbox", 1025), *((controller, "mailbox", 8000) for controller in CONTROLLERS)}
    else:
        tcp |= {("notifications", INTERNET.name, port) for port in (465, 587)}
    return {(source, target, "TCP", port) for source, target, port in tcp} | {
        (pod.name, "dns", "UDP", 53) for pod in objects.pods
    }


def network(objects: Objects) -> Iterator[str]:
    """The policies allow the edges that are needed, and no other."""
    may, should = allowed(objects), expected(objects)
    for edge in sorted(should - may):
        yield f"{edge} is needed and not allowed"
    for edge in sorted(may - should):
        yield f"{edge} is allowed and not needed"


def _goes(policies: list[Object], source: Pod, target: Pod, protocol: str, port: int) -> bool:
    return all(
        _passes(policies, own, other, direction, target, protocol, port)
        for own, other, direction in ((source, target, "egress"), (target, source, "ingress"))
    )


def _passes(
    policies: list[Object], own: Pod, other: Pod, direction: str, target: Pod, protocol: str, port: int
) -> bool:
    """Whether the policies of `own` allow this. With no policy for a direction, everything is allowed."""
    relevant = [
        policy
        for policy in policies
        if policy["metadata"]["namespace"] == own.namespace
        and direction.title() in policy["spec"]["policyTypes"]
        and _selects(policy["spec"]["podSelector"], own.labels)
    ]
    peers = "to" if direction == "egress" else "from"
    return not relevant or any(
        any(_is(peer, other, own.namespace) for peer in rule.get(peers, [{}]))
        and any(_fits(allowed, target, protocol, port) for allowed in rule.get("ports", [{}]))
        for policy in relevant
        for rule in policy["spec"].get(direction, [])
    )


def _is(peer: Object, pod: Pod, namespace: str) -> bool:
    if pod.kind == "Machine":
        return not peer or ("ipBlock" in peer and _within(peer["ipBlock"], pod.name))
    if "ipBlock" in peer:
        return False  # Pods have addresses too, but no policy may rely on them.
    if "namespaceSelector" in peer:
        there = _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": pod.namespace})
    else:
        there = not peer or pod.namespace == namespace
    return there and _selects(peer.get("podSelector", {}), pod.labels)


def _within(block: Object, address: str) -> bool:
    networks = [ipaddress.ip_network(cidr) for cidr in (block["cidr"], *block.get("except", []))]
    inside, *excepted = [ipaddress.ip_address(address) in network for network in networks]
    return inside and not any(excepted)


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In", "this check knows no other operator"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def _fits(allowed: Object, target: Pod, protocol: str, port: int) -> bool:
    number = allowed.get("port", port)
    return allowed.get("protocol", "TCP") == protocol and target.ports.get(number, number) == port
