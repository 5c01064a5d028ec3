"""What is promised of every pod and of how it is reached. Each check yields a sentence for each promise broken."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]

from tests.k8s.code_facts import NAMES, consumers_of
from tests.k8s.objects import Object, Objects, Pod

KUBERNETES = kubernetes_validate.latest_version()

OPERATORS = {
    json.loads(file.read_text())["title"]: json.loads(file.read_text())
    for file in (Path(__file__).parent / "schemas").glob("*.json")
}
"""Schemas of what is not Kubernetes' own, by kind."""


def schema(objects: Objects) -> Iterator[str]:
    """Every object is what the API server knows, to the last field."""
    for one in objects:
        if fault := _fault(json.dumps(one)):
            yield f"{one['kind']} {one['metadata']['name']}: {fault}"


@cache  # Most objects are the same in every variant.
def _fault(text: str) -> str | None:
    one = json.loads(text)
    try:
        if one["kind"] in OPERATORS:
            jsonschema.validate(one, OPERATORS[one["kind"]])
        else:
            kubernetes_validate.validate(one, KUBERNETES, strict=True)
    except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return str(getattr(error, "message", error))
    return None


def confined(objects: Objects) -> Iterator[str]:
    """No container is root, writes to its own files, gains rights or sees the machine; the namespace enforces it."""
    for namespace in objects.of("Namespace"):
        if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "the namespace lets in what is not restricted"
    for pod in objects.pods:
        if pod.kind == "MongoDBCommunity":
            continue  # The operator's own containers are what the operator makes them.
        security = pod.spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{pod.name} may be root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.name} may call the kernel as it likes"
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name} has a token of the cluster"
        if any("hostPath" in volume for volume in pod.spec.get("volumes", [])) or pod.spec.get("hostNetwork"):
            yield f"{pod.name} sees the machine"
        for container in pod.all_containers:
            yield from _confined(f"{pod.name}/{container['name']}", container.get("securityContext", {}))


def _confined(name: str, security: Object) -> Iterator[str]:
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{name} writes to its own files"
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield f"{name} may gain rights"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name} keeps capabilities"
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield f"{name} may be root"


def bounded(objects: Objects) -> Iterator[str]:
    """Every container asks for what it needs, and may have no more than a limit."""
    for pod in objects.pods:
        for container in pod.all_containers or _overridden(objects, pod):
            for kind in ("requests", "limits"):
                given = container.get("resources", {}).get(kind, {})
                for missing in sorted({"cpu", "memory"} - set(given)):
                    yield f"{pod.name}/{container['name']} has no {kind} of {missing}"


def _overridden(objects: Objects, pod: Pod) -> list[Object]:
    """Return the operator's containers, as far as we have a say in them."""
    template = objects.one(pod.kind, pod.name)["spec"].get("statefulSet", {}).get("spec", {}).get("template", {})
    given: list[Object] = template.get("spec", {}).get("containers", [])
    absent = {"mongod", "mongodb-agent"} - {container["name"] for container in given}
    return given + [{"name": name} for name in sorted(absent)]


def probed(objects: Objects) -> Iterator[str]:
    """Every container is asked whether it has started, is ready and lives; Souk's services at the right places."""
    right = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for pod in objects.pods:
        for container in pod.containers:
            ports = {port["name"] for port in container.get("ports", [])}
            for probe, path in right.items():
                name = f"{pod.name}/{container['name']} {probe}"
                given = container.get(probe)
                if given is None:
                    yield f"{name} is missing"
                    continue
                asked: dict[str, Any] = given.get("httpGet") or given.get("tcpSocket") or {}
                if asked.get("port") not in ports:
                    yield f"{name} asks at a port that is not open"
                if pod in objects.services and asked.get("path") != path:
                    yield f"{name} asks {asked.get('path')}, not {path}"


def leaves_gently(objects: Objects) -> Iterator[str]:
    """A service has time to finish what it has in hand: 10 seconds, after senders have learned that it leaves."""
    for pod in objects.services:
        [container] = pod.containers
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pause < 5:
            yield f"{pod.name} stops while requests still come"
        if pod.spec.get("terminationGracePeriodSeconds", 30) < pause + 15:
            yield f"{pod.name} is killed with work in hand"


def complete(objects: Objects) -> Iterator[str]:
    """Every service is deployed with all that belongs to it, and spread over the machines."""
    pods = {pod.name: pod for pod in objects.services}
    for name in NAMES:
        if name not in pods:
            yield f"{name} is not deployed"
            continue
        pod = pods[name]
        accounts = {one["metadata"]["name"] for one in objects.of("ServiceAccount")}
        if pod.spec.get("serviceAccountName") != name or name not in accounts:
            yield f"{name} has no account of its own"
        budgets = [one["spec"]["selector"]["matchLabels"] for one in objects.of("PodDisruptionBudget")]
        if not any(labels.items() <= pod.labels.items() for labels in budgets):
            yield f"{name} may be drained away altogether"
        spread = [each["labelSelector"]["matchLabels"] for each in pod.spec.get("topologySpreadConstraints", [])]
        if not any(labels.items() <= pod.labels.items() for labels in spread):
            yield f"{name} may all be on one machine"
        if not any(one["metadata"]["name"] == name for one in objects.of("Service")):
            yield f"{name} has no Service"


def services(objects: Objects) -> Iterator[str]:
    """Every Service finds pods, and a port that they open."""
    for one in objects.of("Service"):
        name, selector = one["metadata"]["name"], one["spec"]["selector"]
        found = [pod for pod in objects.pods if selector.items() <= pod.labels.items()]
        if not found:
            yield f"Service {name} selects no pod"
        for pod in found:
            for port in one["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in {*pod.ports, *pod.ports.values()}:
                    yield f"Service {name} leads to {target}, which {pod.name} does not open"


def scaling(objects: Objects) -> Iterator[str]:
    """Nothing is scaled by two; who scales by what waits on the bus names all that it reads there."""
    by = [(one, one["spec"]["scaleTargetRef"]["name"]) for one in objects.of("HorizontalPodAutoscaler", "ScaledObject")]
    deployed = {pod.name for pod in objects.services}
    for name in sorted(deployed | {target for _, target in by}):
        scalers = [one["kind"] for one, target in by if target == name]
        if by and len(scalers) != 1:
            yield f"{name} is scaled by {scalers}"
        if name not in deployed:
            yield f"{name} is scaled and does not exist"
    for one, name in by:
        if one["kind"] == "ScaledObject":
            triggers = [trigger["metadata"] for trigger in one["spec"]["triggers"]]
            named = {(trigger["stream"], trigger["consumer"]) for trigger in triggers}
            if named != consumers_of(name):
                yield f"{name} scales by {sorted(named)}, and reads {sorted(consumers_of(name))}"
