"""What names each service by hand names all of them; and a message says what to add where."""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from infra.bus import PROVISIONER
from infra.k8s.derived import derived
from infra.local.stack.ports import OFFSETS, REPLICA_STEP
from infra.services import NAMES, ROOT, SERVICES

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
MOST_REPLICAS = 8


@dataclass(frozen=True)
class Place:
    """Names of services, and what to add for one that is missing."""

    file: str
    add: str
    named: Callable[[], Iterable[str]]

    def problems(self, names: Iterable[str]) -> Iterator[str]:
        """Yield a sentence for each service that only one side knows."""
        wanted, found = set(names), set(self.named())
        for name in sorted(wanted - found):
            yield f"{name} is in infra/services.py but not in {self.file}: add {self.add.format(name=name)}"
        for name in sorted(found - wanted):
            yield f"{name} is in {self.file} but not in infra/services.py: add Service({name!r}, ...), or remove it"


def _yaml(file: str) -> Any:
    return yaml.safe_load((ROOT / file).read_text())


def _in_pyproject() -> set[str]:
    return set(PYPROJECT["importlinter"]["root_packages"]) - {"common"}


def _typed() -> list[str]:
    return re.findall(r"services/(\w+)/src", " ".join(PYPROJECT["mypy"]["mypy_path"]))


def _with_secrets() -> list[str]:
    named = [one["name"] for one in _yaml("infra/k8s/overlays/dev/kustomization.yaml")["secretGenerator"]]
    return [name for name in named if name != PROVISIONER]


def _deployed() -> set[str]:
    resources = _yaml("infra/k8s/base/kustomization.yaml")["resources"]
    return {name for name in resources if not name.endswith(".yaml")} - {"nats", "redis", "away"}


PLACES = [
    Place(
        "services/",
        "the package services/{name}",
        lambda: (f.parent.name for f in ROOT.glob("services/*/pyproject.toml")),
    ),
    Place(
        "requirements/",
        "requirements/{name}.txt with `make lock`",
        lambda: (
            f.stem
            for f in ROOT.glob("requirements/*.txt")
            if f.stem not in {"backup", "dev", "helm", "mailbox", "node", "sbom", "uv"}
        ),
    ),
    Place("pyproject.toml", '"{name}" to root_packages of tool.importlinter', _in_pyproject),
    Place("pyproject.toml", '"services/{name}/src" to mypy_path of tool.mypy', _typed),
    Place("infra/k8s/base/kustomization.yaml", "the folder infra/k8s/base/{name}, and {name} to resources", _deployed),
    Place("infra/k8s/overlays/dev/kustomization.yaml", "a Secret {name} to secretGenerator", _with_secrets),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.file} {place.add}")
def test_every_service_is_named(place: Place) -> None:
    assert list(place.problems(NAMES)) == []


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.file} {place.add}")
def test_a_service_that_is_only_registered_is_missed_and_one_that_is_not_registered_is_found(place: Place) -> None:
    [missing] = place.problems([*NAMES, "bazaar"])
    assert f"bazaar is in infra/services.py but not in {place.file}: add " in missing
    [unknown] = place.problems(set(NAMES) - {"orders"})
    assert unknown.startswith(f"orders is in {place.file} but not in infra/services.py: add Service('orders', ...)")


def test_what_the_manifests_derive_is_up_to_date() -> None:
    for file, text in derived().items():
        assert file.read_text() == text, f"{file.relative_to(ROOT)} is out of date: run `make manifests`"


def test_ports_are_different_for_every_replica() -> None:
    used = [service.port + replica * REPLICA_STEP for service in SERVICES for replica in range(MOST_REPLICAS)]
    assert len({*used, *OFFSETS.values()}) == len(used) + len(OFFSETS) - len(SERVICES), "two programs share a port"


@pytest.mark.parametrize("name", NAMES)
def test_a_service_is_one_package_of_its_own_name(name: str) -> None:
    sources = {file.name for file in (ROOT / "services" / name / "src").iterdir() if file.suffix != ".egg-info"}
    assert sources == {name}, f"services/{name}/src holds {sources}: import-linter checks the package {name} only"
    assert tomllib.loads((ROOT / "services" / name / "pyproject.toml").read_text())["project"]["name"] == f"souk-{name}"
