"""The promises of production about staying up: copies, budgets, spread, updates. Each check yields what is broken."""

from collections.abc import Iterator
from math import ceil

from tests.k8s.objects import Object, Objects, Pod, workload

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"

INDEX_BUILD = 1800
"""Seconds that a service may take to build an index before its port opens."""


def replicated(objects: Objects) -> Iterator[str]:
    """At least two copies of each service, and more under load; three members of the bus and of each database."""
    for pod in objects.services:
        scalers = [
            one["spec"]
            for one in objects.of("HorizontalPodAutoscaler", "ScaledObject")
            if one["spec"]["scaleTargetRef"]["name"] == pod.name
        ]
        least = copies(objects, pod)
        if least < 2:
            yield f"{pod.name} may have {least} copies"
        if not any(spec.get("maxReplicas", spec.get("maxReplicaCount", 100)) > least for spec in scalers):
            yield f"{pod.name} never has more than {least} copies"
        if scalers and "replicas" in objects.one(pod.kind, pod.name)["spec"]:
            yield f"{pod.name} loses its scaled copies whenever it is applied"
    for pod in _majorities(objects):
        if copies(objects, pod) < 3:
            yield f"{pod.name} has {copies(objects, pod)} members: none may be lost"


def drained(objects: Objects) -> Iterator[str]:
    """One pod of each may leave its node at a time: never none, so that drains end, never all, never a majority."""
    budgets = list(objects.of("PodDisruptionBudget"))
    for pod in [*objects.services, *_majorities(objects)]:
        own = [one["spec"] for one in budgets if one["spec"]["selector"]["matchLabels"].items() <= pod.labels.items()]
        if len(own) != 1:
            yield f"{pod.name} has {len(own)} disruption budgets"
            continue
        there = copies(objects, pod)
        gone = _may_go(own[0], there)
        most = (there - 1) // 2 if pod in _majorities(objects) else there - 1
        if not 1 <= gone <= max(1, most):
            yield f"{gone} of {there} {pod.name} may leave at a time"


def _may_go(budget: Object, there: int) -> int:
    if "maxUnavailable" in budget:
        return _count(budget["maxUnavailable"], there)
    return there - _count(budget["minAvailable"], there)


def _count(value: int | str, of: int) -> int:
    return ceil(of * int(value.rstrip("%")) / 100) if isinstance(value, str) else value


def updated(objects: Objects) -> Iterator[str]:
    """An update starts a pod before it stops another; members leave one by one, after they have said so."""
    for pod in objects.services:
        spec = objects.one(pod.kind, pod.name)["spec"]
        strategy = spec.get("strategy", {})
        rolling = strategy.get("rollingUpdate", {})
        if strategy.get("type", "RollingUpdate") != "RollingUpdate" or rolling.get("maxUnavailable") != 0:
            yield f"an update takes {pod.name} away before its successor is ready"
        if rolling.get("maxSurge", 1) in {0, "0%"}:
            yield f"an update of {pod.name} never starts"
        probe = pod.containers[0].get("startupProbe", {})
        if probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) < INDEX_BUILD:
            yield f"{pod.name} is killed while it builds an index"
    nats = objects.one("StatefulSet", "nats")["spec"]
    if nats.get("updateStrategy", {}).get("type", "RollingUpdate") != "RollingUpdate":
        yield "an update of the bus waits for somebody"
    stop = nats["template"]["spec"]["containers"][0].get("lifecycle", {}).get("preStop", {})
    if "ldm" not in " ".join(stop.get("exec", {}).get("command", [])):
        yield "a member of the bus leaves without giving up its leaderships"
    if nats["template"]["spec"].get("terminationGracePeriodSeconds", 30) < 45:
        yield "a member of the bus is killed while it leaves"


def spread(objects: Objects) -> Iterator[str]:
    """Copies prefer different nodes and zones; members of the bus and of a database insist on them."""
    for pod in [*objects.services, *_majorities(objects)]:
        constraints = [
            one
            for one in template(objects, pod).get("topologySpreadConstraints", [])
            if one["labelSelector"].get("matchLabels", {}).items() <= pod.labels.items()
            and one["labelSelector"].get("matchLabels")
            and one["maxSkew"] == 1
        ]
        for key, over in ((HOST, "nodes"), (ZONE, "zones")):
            ways = [one["whenUnsatisfiable"] for one in constraints if one["topologyKey"] == key]
            if not ways:
                yield f"{pod.name} is not spread over {over}"
            elif pod in _majorities(objects) and ways != ["DoNotSchedule"]:
                yield f"a majority of {pod.name} may be lost with one of its {over}"


def _majorities(objects: Objects) -> list[Pod]:
    """What answers only while a majority of its members is there."""
    return [pod for pod in objects.pods if pod.name == "nats" or pod.kind == "MongoDBCommunity"]


def copies(objects: Objects, pod: Pod) -> int:
    """How many pods there are at least."""
    spec = objects.one(pod.kind, pod.name)["spec"]
    for one in objects.of("HorizontalPodAutoscaler", "ScaledObject"):
        if one["spec"]["scaleTargetRef"]["name"] == pod.name:
            default = 1 if one["kind"] == "HorizontalPodAutoscaler" else 0
            return int(one["spec"].get("minReplicas", one["spec"].get("minReplicaCount", default)))
    return int(spec.get("replicas", spec.get("members", 1)))


def template(objects: Objects, pod: Pod) -> Object:
    """The spec of the pods; of operated ones, what we set of it."""
    spec = workload(objects.one(pod.kind, pod.name))
    found: Object = spec.get("statefulSet", {}).get("spec", spec)["template"]["spec"]
    return found
