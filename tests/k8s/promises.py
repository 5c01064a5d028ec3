"""The promises of every pod and of the ways to it. Each check yields a sentence for each broken promise."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]

from infra.services import NAMES
from tests.k8s.code_facts import consumers_of
from tests.k8s.objects import Object, Objects, Pod

KUBERNETES = kubernetes_validate.latest_version()

OPERATORS = {
    json.loads(file.read_text())["title"]: json.loads(file.read_text())
    for file in (Path(__file__).parent / "schemas").glob("*.json")
}
"""Schemas of the operators' objects, by kind."""


def schema(objects: Objects) -> Iterator[str]:
    """The API server accepts every field of every object."""
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
    """No container is root, writes to its image, gains rights or sees the node; the namespace enforces it."""
    for namespace in objects.of("Namespace"):
        if namespace["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce") != "restricted":
            yield "the namespace accepts pods that are not restricted"
    for pod in objects.pods:
        if pod.kind == "MongoDBCommunity":
            continue  # The operator writes these containers.
        security = pod.spec.get("securityContext", {})
        if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
            yield f"{pod.name} may be root"
        if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{pod.name} may make any system call"
        if pod.spec.get("automountServiceAccountToken") is not False:
            yield f"{pod.name} has a token for the API server"
        if any("hostPath" in volume for volume in pod.spec.get("volumes", [])) or pod.spec.get("hostNetwork"):
            yield f"{pod.name} sees the node"
        for container in pod.all_containers:
            yield from _confined(f"{pod.name}/{container['name']}", container.get("securityContext", {}))


def _confined(name: str, security: Object) -> Iterator[str]:
    if security.get("readOnlyRootFilesystem") is not True:
        yield f"{name} may write to its image"
    if security.get("allowPrivilegeEscalation") is not False or security.get("privileged"):
        yield f"{name} may gain rights"
    if security.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{name} keeps capabilities"
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield f"{name} may be root"


def bounded(objects: Objects) -> Iterator[str]:
    """Every container has requests and limits of CPU and memory."""
    for pod in objects.pods:
        for container in pod.all_containers or _overridden(objects, pod):
            for kind in ("requests", "limits"):
                given = container.get("resources", {}).get(kind, {})
                for missing in sorted({"cpu", "memory"} - set(given)):
                    yield f"{pod.name}/{container['name']} has no {kind} of {missing}"


def _overridden(objects: Objects, pod: Pod) -> list[Object]:
    """The operator's containers, with what we set of them."""
    template = objects.one(pod.kind, pod.name)["spec"].get("statefulSet", {}).get("spec", {}).get("template", {})
    given: list[Object] = template.get("spec", {}).get("containers", [])
    absent = {"mongod", "mongodb-agent"} - {container["name"] for container in given}
    return given + [{"name": name} for name in sorted(absent)]


def probed(objects: Objects) -> Iterator[str]:
    """Every container has the three probes; those of Souk's services ask the right paths."""
    right = {"startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz"}
    for pod in (pod for pod in objects.pods if pod.kind not in {"Job", "CronJob"}):
        for container in pod.containers:
            ports = {port["name"] for port in container.get("ports", [])}
            for probe, path in right.items():
                name = f"{pod.name}/{container['name']} {probe}"
                given = container.get(probe)
                if given is None:
                    yield f"{name} is missing"
                    continue
                if "exec" in given and not ports:
                    continue  # Nobody can ask it over the network.
                asked: dict[str, Any] = given.get("httpGet") or given.get("tcpSocket") or {}
                if asked.get("port") not in ports:
                    yield f"{name} asks a port that is not open"
                if pod in objects.services and asked.get("path") != path:
                    yield f"{name} asks {asked.get('path')}, not {path}"


def leaves_gently(objects: Objects) -> Iterator[str]:
    """A service has 10 seconds to finish its work, after clients have learned that it leaves."""
    for pod in objects.services:
        [container] = pod.containers
        pause = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        if pause < 5:
            yield f"{pod.name} stops while it still gets requests"
        if pod.spec.get("terminationGracePeriodSeconds", 30) < pause + 15:
            yield f"{pod.name} is killed before its work is done"


def complete(objects: Objects) -> Iterator[str]:
    """Every service is deployed with all its objects, and spread over the nodes."""
    pods = {pod.name: pod for pod in objects.services}
    for name in NAMES:
        if name not in pods:
            yield f"{name} is not deployed: add infra/k8s/base/{name}, and name it in infra/k8s/base/kustomization.yaml"
            continue
        pod = pods[name]
        accounts = {one["metadata"]["name"] for one in objects.of("ServiceAccount")}
        if pod.spec.get("serviceAccountName") != name or name not in accounts:
            yield f"{name} has no account of its own"
        budgets = [one["spec"]["selector"]["matchLabels"] for one in objects.of("PodDisruptionBudget")]
        if not any(labels.items() <= pod.labels.items() for labels in budgets):
            yield f"{name} may be drained altogether"
        spread = [each["labelSelector"]["matchLabels"] for each in pod.spec.get("topologySpreadConstraints", [])]
        if not any(labels.items() <= pod.labels.items() for labels in spread):
            yield f"{name} may all be on one node"
        if not any(one["metadata"]["name"] == name for one in objects.of("Service")):
            yield f"{name} has no Service"


def services(objects: Objects) -> Iterator[str]:
    """Every Service selects pods, and leads to a port that they open."""
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
    """Each service has one scaler; one that scales by consumer lag names every consumer of the service."""
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
