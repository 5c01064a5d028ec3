"""Every overlay keeps every promise, and each check reports a broken one."""

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.services import ROOT
from tests.k8s import promises, servers
from tests.k8s.away import away
from tests.k8s.environment import environment
from tests.k8s.mutations import MUTATIONS
from tests.k8s.network import network
from tests.k8s.objects import VARIANTS, Objects
from tests.k8s.routing import routes

OPERATIONS = (ROOT / "docs/operations.md").read_text().split("## On a cluster")[1].split("\n## ")[0]

Check = Callable[[Objects, Objects], Iterator[str]]

CHECKS: dict[str, Check] = {
    "environment": environment,
    **{
        check.__name__: lambda objects, _, check=check: check(objects)  # type: ignore[misc]
        for check in (
            promises.schema,
            promises.confined,
            promises.bounded,
            promises.probed,
            promises.leaves_gently,
            promises.complete,
            promises.services,
            promises.scaling,
            servers.bus,
            servers.databases,
            network,
            routes,
            away,
        )
    },
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_overlay_keeps_its_promises(
    variant: str, check: str, rendered: dict[str, Objects], secrets: Objects
) -> None:
    assert list(CHECKS[check](rendered[variant], secrets)) == []


def test_only_development_has_a_mailbox(rendered: dict[str, Objects]) -> None:
    with_mailbox = {name for name, objects in rendered.items() if "mailbox" in json.dumps(objects)}
    assert with_mailbox == {"dev"}
    assert {name for name, objects in rendered.items() if "/dev/mail" in json.dumps(objects)} == {"dev"}
    assert not any(
        "devtraces" in (text := json.dumps(objects)) or "/dev/traces" in text for objects in rendered.values()
    )
    lean = (ROOT / "infra/docker/Dockerfile").read_text().split("FROM scratch AS service")[1].split("FROM ")[0]
    assert "mail" not in lean
    assert "devtraces" not in lean


@pytest.mark.parametrize(
    ("check", "variant", "mutate", "reported"),
    [pytest.param(*mutation, id=f"{mutation[0]}: {mutation[3]}") for mutation in MUTATIONS],
)
def test_each_check_reports_a_broken_promise(
    check: str,
    variant: str,
    mutate: Callable[[Objects], Any],
    reported: str,
    rendered: dict[str, Objects],
    secrets: Objects,
) -> None:
    objects = Objects(copy.deepcopy(rendered[variant]))
    mutate(objects)
    assert reported in "\n".join(CHECKS[check](objects, secrets))


def test_no_check_goes_without_a_mutation() -> None:
    assert {mutation[0] for mutation in MUTATIONS} == set(CHECKS)


def test_the_documentation_names_every_secret_of_production(rendered: dict[str, Objects]) -> None:
    named = set()
    for names, keys in re.findall(r"^\| (?:the ConfigMap )?([a-z, -]+) \| (`.*) \|$", OPERATIONS, re.MULTILINE):
        named |= {(name, key) for name in names.split(", ") for key in re.findall(r"`([A-Z_]+)`", keys)}

    assert named == {used for variant in set(VARIANTS) - {"dev"} for used in referred_to(rendered[variant])}


def referred_to(objects: Objects) -> Iterator[tuple[str, str]]:
    """Yield name and key of everything that a container's variable comes from."""
    for pod in objects.pods:
        for source in (entry.get("valueFrom", {}) for c in pod.all_containers for entry in c.get("env", [])):
            if reference := source.get("secretKeyRef") or source.get("configMapKeyRef"):
                yield reference["name"], reference["key"]


def test_production_holds_no_secret(rendered: dict[str, Objects]) -> None:
    for variant in set(VARIANTS) - {"dev"}:
        assert list(rendered[variant].of("Secret")) == []
