"""The examples for Argo CD, Flux and Terraform fit the chart, the schemas of what reads them, and each other."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml

from infra.k8s.production_secrets import STORE
from infra.services import ROOT
from tests.k8s.objects import Object, Objects
from tests.k8s.promises import schema
from tests.k8s.test_chart import run, templated

GITOPS = ROOT / "infra/gitops"
TERRAFORM = ROOT / "infra/terraform"

REFERENCE = re.compile(r"(?<![\w.])(?:(var|local|module|helm_release|aws_\w+)|data\.(\w+))\.(\w+)")


@pytest.fixture(scope="module")
def release(chart: Path) -> str:
    """The version of the chart."""
    version: str = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    return version


def objects(name: str) -> Objects:
    """The objects of a file for a tool that keeps a cluster as Git has it."""
    return Objects(yaml.safe_load_all((GITOPS / name).read_text()))


@pytest.mark.parametrize("name", [file.name for file in GITOPS.glob("[a-z]*.yaml")])
def test_each_object_is_as_its_tool_takes_it(name: str) -> None:
    assert list(schema(objects(name))) == []


@pytest.mark.prove
def test_argo_cd_has_values_of_the_chart(chart: Path, release: str) -> None:
    source = objects("argo-cd.yaml").one("Application", "souk")["spec"]["source"]
    assert source["targetRevision"] == release
    assert "Ingress/souk" in templated(chart, source["helm"]["valuesObject"])


def test_flux_has_values_of_the_chart(chart: Path, release: str) -> None:
    every = objects("flux.yaml")
    assert every.one("OCIRepository", "souk")["spec"]["ref"] == {"tag": release}
    assert "Ingress/souk" in templated(chart, every.one("HelmRelease", "souk")["spec"]["values"])


def read(value: Any) -> Any:
    """What python-hcl2 has read, without its quotes and marks."""
    if isinstance(value, dict):
        return {read(key): read(one) for key, one in value.items() if key != "__is_block__"}
    if isinstance(value, list):
        return [read(one) for one in value]
    return value.strip('"') if isinstance(value, str) else value


@pytest.fixture(scope="module")
def terraform() -> Object:
    """Blocks of all files: by kind, or by type and name."""
    found: Object = {"local": {}, "data": {}}
    for file in TERRAFORM.glob("*.tf"):
        blocks = read(hcl2.loads(file.read_text()))
        for kind, of in {"variable": "var", "module": "module", "provider": "provider", "output": "output"}.items():
            for one in blocks.get(kind, []):
                found.setdefault(of, {}).update(one)
        for one in blocks.get("locals", []):
            found["local"] |= one
        for one in blocks.get("data", []):
            _merge(found["data"], one)
        for one in blocks.get("resource", []):
            _merge(found, one)
    return found


def _merge(into: Object, one: Object) -> None:
    for kind, named in one.items():
        into.setdefault(kind, {}).update(named)


def texts(value: Any) -> Iterator[str]:
    """Yield every string in a value."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(one)


@pytest.mark.prove
def test_terraform_refers_to_what_is_there_and_declares_nothing_else(terraform: Object) -> None:
    expressions = " ".join(text for text in texts(terraform) if "${" in text)
    expressions += " ".join(
        re.findall(r"depends_on = \[(.*)\]", "".join(f.read_text() for f in TERRAFORM.glob("*.tf")))
    )
    used = {(kind or f"data {data}", name) for kind, data, name in REFERENCE.findall(expressions)}
    kinds = {"var", "local", "module", "helm_release"} | {kind for kind in terraform if kind.startswith("aws_")}
    there = {(kind, name) for kind in kinds for name in terraform[kind]}
    there |= {(f"data {kind}", name) for kind, named in terraform["data"].items() for name in named}
    assert used - there == set()
    assert {one for one in there - used if one[0] in {"var", "local", "module"} or "data" in one[0]} == set()


def test_terraform_sets_values_of_the_chart(terraform: Object, chart: Path, release: str) -> None:
    souk = terraform["helm_release"]["souk"]
    assert souk["version"] == release
    given = [f"{one['name']}={re.sub(r'[$]{.*}', 'example.com', one['value'])}" for one in souk["set"]]
    done = run("template", "souk", chart, *(word for one in given for word in ("--set", one)))
    assert done.returncode == 0, done.stderr


def test_terraform_runs_nodes_in_three_zones(terraform: Object) -> None:
    assert len(terraform["module"]["network"]["private_subnets"]) == 3
    assert terraform["local"]["zones"].endswith(", 0, 3)}")


def test_terraform_brings_what_the_chart_asks_the_cluster_for(terraform: Object, chart: Path) -> None:
    values = yaml.safe_load((chart / "values.yaml").read_text())
    given = {one["name"]: one["value"] for one in terraform["helm_release"]["souk"]["set"]}
    own = [word for one in terraform["helm_release"]["cluster"]["set"] for word in ("--set", f"{one['name']}=x")]
    done = run("template", "souk-cluster", TERRAFORM / "cluster", "--namespace", "souk", *own)
    assert done.returncode == 0, done.stderr
    made = Objects(yaml.safe_load_all(done.stdout))

    assert list(schema(made)) == []
    assert made.one("ClusterIssuer", values["issuer"]["name"])
    assert given["issuer.name"] == values["issuer"]["name"]
    assert made.one("IngressClass", values["ingressClass"])
    assert made.one("StorageClass", given["storage.class"])
    assert made.one(STORE["kind"], STORE["name"])


def test_the_cluster_chart_wants_all_its_values() -> None:
    assert "mail" in run("template", "souk-cluster", TERRAFORM / "cluster").stderr
