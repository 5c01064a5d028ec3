"""Each contract of import-linter is broken once, by a new module, and says so."""

import re
import tomllib
from pathlib import Path

import pytest

from infra.services import ROOT
from tests.architecture.copies import copy_repository, run

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

MONGO = "Only stores and the upper floor of common use MongoDB"
FRAMEWORK = "Only routes and web use the web framework"
BREACHES = [
    ("Services never import each other", "orders.planted", "payments.domain"),
    ("Services never import each other", "common.bus.planted", "items.domain"),
    ("Services import no servers, tools or tests", "auth.planted", "tests"),
    ("Services import no servers, tools or tests", "common.http.planted", "infra"),
    ("Services import no servers, tools or tests", "common.planted", "pytest"),
    ("common has floors", "common.bus.planted", "common.mongo.client"),
    ("The domain is pure", "audit.planted.domain", "socket"),
    ("The domain is pure", "orders.planted.domain", "orders.settings"),
    (MONGO, "web.planted", "bson"),
    (MONGO, "common.http.planted", "pymongo"),
    (MONGO, "items.planted.domain", "gridfs"),
    ("Only the bus uses NATS", "audit.planted", "nats"),
    ("Only its gateway uses Stripe", "payments.gateways.planted", "stripe"),
    ("Only the deadlines of expiration use Redis", "expiration.planted", "redis"),
    (FRAMEWORK, "items.planted", "starlette"),
    (FRAMEWORK, "common.bus.planted", "fastapi"),
]
"""How a contract's name starts, a new module, and the import in it that breaks the contract."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what import-linter looks at."""
    copy = tmp_path_factory.mktemp("walls")
    copy_repository(copy, "pyproject.toml", "infra/architecture.py", "common", "services")
    return copy


@pytest.fixture(scope="module")
def report(sources: Path) -> str:
    """What import-linter prints once every breach is planted."""
    planted: dict[Path, list[str]] = {}
    for _, module, imported in BREACHES:
        planted.setdefault(file_of(sources, module), []).append(f"import {imported}")
    for file, lines in planted.items():
        file.parent.mkdir(exist_ok=True)
        (file.parent / "__init__.py").touch()
        file.write_text("\n".join(lines))
    return lint(sources)


def file_of(sources: Path, module: str) -> Path:
    package = module.partition(".")[0]
    source = "common/src" if package == "common" else f"services/{package}/src"
    return sources / source / f"{module.replace('.', '/')}.py"


def lint(sources: Path) -> str:
    """The output of a run that fails."""
    done = run(sources, ".venv/bin/lint-imports", "--no-cache")
    assert done.returncode == 1, done.stdout
    return done.stdout


@pytest.mark.parametrize(("contract", "module", "imported"), BREACHES)
def test_a_breach_is_reported_by_its_contract(contract: str, module: str, imported: str, report: str) -> None:
    sections = re.split(r"^(.+)\n-+\n", report.partition("Broken contracts")[2], flags=re.MULTILINE)
    [section] = [text for name, text in zip(sections[1::2], sections[2::2], strict=True) if name.startswith(contract)]

    assert f"{module} must not import {imported}\n" in section or f"- {module} -> {imported} (" in section


def test_a_new_module_of_common_needs_a_floor(report: str) -> None:
    assert "The following modules are not listed as layers:\n\n- common.planted\n" in report


def test_no_contract_goes_without_a_breach() -> None:
    for contract in CONTRACTS:
        assert any(contract["name"].startswith(start) for start, _, _ in BREACHES), f"no breach of: {contract['name']}"


def test_a_contract_cannot_name_a_module_that_does_not_exist(sources: Path) -> None:
    settings = sources / "pyproject.toml"
    text = settings.read_text()
    settings.write_text(text.replace('"orders.group"', '"orders.groups"'))

    assert "Module 'orders.groups' does not exist" in lint(sources)
    settings.write_text(text)
