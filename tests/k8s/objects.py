"""What kustomize renders, and the pods in it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.k8s.make_secrets import make_secrets
from infra.k8s.rendered import Object as Object
from infra.k8s.rendered import copied, render

VARIANTS: Mapping[str, tuple[str, ...]] = {
    "dev": ("dev",),
    "prod": ("prod",),
    "prod with gateway-api": ("prod", "gateway-api"),
    "prod with gateway-api by traefik": ("prod", "gateway-api", "gateway-api-traefik"),
    "prod with observability": ("prod", "observability", "traces"),
    "prod with backup": ("prod", "backup"),
    "prod with archive": ("prod", "archive"),
}
"""By name: an overlay, and components that are added to it."""


@dataclass(frozen=True)
class Pod:
    """What a workload makes pods of. `spec` is empty where an operator writes it."""

    name: str
    kind: str
    namespace: str
    labels: Mapping[str, str]
    spec: Object
    ports: Mapping[str, int]

    @property
    def containers(self) -> list[Object]:
        """Those that run as long as the pod, with those that start before them and stay."""
        early = self.spec.get("initContainers", [])
        return [*self.spec.get("containers", []), *(c for c in early if c.get("restartPolicy") == "Always")]

    @property
    def all_containers(self) -> list[Object]:
        """Those that only prepare, too."""
        return [*self.spec.get("containers", []), *self.spec.get("initContainers", [])]


class Objects(list[Object]):
    """Every object of an overlay."""

    def of(self, *kinds: str) -> Iterator[Object]:
        """Yield the objects of these kinds."""
        yield from (one for one in self if one["kind"] in kinds)

    def one(self, kind: str, name: str) -> Object:
        """Return the object of this kind and name; of a generated one, the name goes without its hash."""
        [found] = [o for o in self.of(kind) if o["metadata"]["name"] in {name, _hashed(o, name)}]
        return found

    def service(self, name: str) -> Object:
        """Return the container of one of Souk's services."""
        found: Object = self.one("Deployment", name)["spec"]["template"]["spec"]["containers"][0]
        return found

    @property
    def pods(self) -> list[Pod]:
        """What every workload runs."""
        own = [_pod(one) for one in self.of("Deployment", "StatefulSet", "Job", "CronJob")]
        return own + [_operated(one) for one in self.of("MongoDBCommunity")]

    @property
    def services(self) -> list[Pod]:
        """The pods of Souk's own services."""
        return [pod for pod in self.pods if pod.labels.get("part") == "service"]


def _hashed(one: Object, name: str) -> str:
    own: str = one["metadata"]["name"]
    return own if own.rpartition("-")[0] == name and one["kind"] in {"ConfigMap", "Secret"} else name


def workload(one: Object) -> Object:
    """The spec with the template of the pods."""
    found: Object = one["spec"]["jobTemplate"]["spec"] if one["kind"] == "CronJob" else one["spec"]
    return found


def _pod(one: Object) -> Pod:
    template = workload(one)["template"]
    meta, spec, labels = one["metadata"], template["spec"], template["metadata"]["labels"]
    ports = {p["name"]: p["containerPort"] for c in spec["containers"] for p in c.get("ports", [])}
    return Pod(meta["name"], one["kind"], meta["namespace"], labels, spec, ports)


def _operated(one: Object) -> Pod:
    meta = one["metadata"]
    template = one["spec"].get("statefulSet", {}).get("spec", {}).get("template", {})
    labels = {**template.get("metadata", {}).get("labels", {}), "app": f"{meta['name']}-svc"}  # as the operator does it
    agent = {"prometheus": one["spec"]["prometheus"]["port"]} if "prometheus" in one["spec"] else {}
    return Pod(meta["name"], one["kind"], meta["namespace"], labels, {}, {"mongodb": 27017, **agent})


def render_all(folder: Path) -> dict[str, Objects]:
    """Render every variant out of a copy of infra/k8s in `folder`, with secrets made for it."""
    k8s = copied(folder)
    make_secrets(k8s / "overlays/dev")
    return {name: Objects(render(k8s, *chosen)) for name, chosen in VARIANTS.items()}
