"""Production keeps the promises of staying up and of what it keeps, and each check reports a broken one."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.k8s import availability, production
from tests.k8s.inside import inside
from tests.k8s.inside_http import services_inside
from tests.k8s.objects import VARIANTS, Objects
from tests.k8s.production_mutations import cases

CHECKS: dict[str, Callable[[Objects], Iterator[str]]] = {
    check.__name__: check
    for check in (
        availability.replicated,
        availability.drained,
        availability.updated,
        availability.spread,
        production.databases,
        production.kept,
        production.encrypted,
        inside,
        services_inside,
        production.released,
        production.watched,
        production.contained,
        production.hashed,
    )
}
IN_DEVELOPMENT = ("contained", "hashed")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - {"dev"}))
def test_production_keeps_its_promises(variant: str, check: str, rendered: dict[str, Objects]) -> None:
    assert list(CHECKS[check](rendered[variant])) == []


@pytest.mark.parametrize("check", IN_DEVELOPMENT)
def test_development_has_no_part_of_its_node_either(check: str, rendered: dict[str, Objects]) -> None:
    assert list(CHECKS[check](rendered["dev"])) == []


@pytest.mark.parametrize(
    ("check", "variant", "mutate", "reported"),
    [pytest.param(*case, id=f"{case[0]}: {case[3]} {number}") for number, case in enumerate(cases())],
)
def test_each_check_reports_a_broken_promise(
    check: str, variant: str, mutate: Callable[[Objects], Any], reported: str, rendered: dict[str, Objects]
) -> None:
    objects = Objects(copy.deepcopy(rendered[variant]))
    mutate(objects)
    assert reported in "\n".join(CHECKS[check](objects))


def test_no_check_goes_without_a_mutation() -> None:
    assert {case[0] for case in cases()} == set(CHECKS)
