"""The documentation says what the code does."""

import importlib
import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from common.bus.consumers import Consumers
from common.bus.streams import STREAMS
from common.events import EVENTS, DeadLetterReplayed
from common.http.sessions import ANNOUNCED
from infra.local.commands.republish import OWNERS
from infra.services import NAMES, ROOT, SERVICES

README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def rows(text: str, pattern: str) -> list[tuple[str, ...]]:
    return [match.groups() for match in re.finditer(pattern, text, re.MULTILINE)]


def test_the_table_of_events_is_true() -> None:
    readers: dict[str, set[str]] = {subject: set() for subject in EVENTS}
    for service in set(NAMES) - {"audit"}:
        try:
            consumers: Consumers = importlib.import_module(f"{service}.consumers").consumers
        except ModuleNotFoundError:
            continue  # auth reads no event, web only listens
        readers[DeadLetterReplayed.subject].add(service)
        for _, events in consumers.handlers:
            for event in events:
                readers[event.subject].add(service)
    for event in ANNOUNCED:
        readers[event.subject] |= {service.name for service in SERVICES if event.stream in service.listens}
    for listened in importlib.import_module("web.live.updates").LISTENED:
        for event in listened:
            readers[event.subject].add("web")

    documented = rows(README, r"^\| ([a-z]+\.[a-z_]+) \| (\w+) \| ([a-z, ]+) \|$")

    expected = {
        (subject, event.__name__, ", ".join(sorted(readers[subject])) or "audit") for subject, event in EVENTS.items()
    }
    assert set(documented) == expected


def test_audit_stores_every_stream() -> None:
    stored = {stream for _, stream in importlib.import_module("audit.consumers").consumers.stream_handlers}
    assert stored | {DeadLetterReplayed.stream} == set(STREAMS)


def test_every_setting_is_explained() -> None:
    wanted = {
        name.upper()
        for service in NAMES
        for kind in vars(importlib.import_module(f"{service}.settings")).values()
        if isinstance(kind, type) and issubclass(kind, BaseSettings)
        for name in kind.model_fields
    }
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", OPERATIONS.split("## Settings")[1].split("## ")[0]))
    assert documented - {"SECRETS_DIR", "FORWARDED_ALLOW_IPS", "NO_COLOR", "DEBUG", "INFO"} == wanted


def test_what_each_service_can_do_without_each_server_is_told() -> None:
    table = OPERATIONS.split("## Health and metrics")[1].split("\n## ")[0]
    assert set(rows(table, r"^\| (\w+) \| [^|]+ \| [^|]+ \| [^|]+ \|$")) == {(name,) for name in (*NAMES, "service")}


def test_the_runbook_of_a_lost_bus_names_every_service_that_publishes_again() -> None:
    publishing = {path.parent.name for path in ROOT.glob("services/*/src/*/republish.py")}
    assert set(OWNERS) == publishing
    [named] = re.findall(r"python -m SERVICE.republish` for ([a-z, ]+)\.", OPERATIONS)
    assert tuple(re.findall(r"\w+", named.replace(" and ", ", "))) == OWNERS


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"(?:\]\(|src(?:set)?=\")(?!https?:)([^)\"]+)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in headings(file), target


def test_every_decision_is_listed_and_its_checks_exist() -> None:
    folder = ROOT / "docs/decisions"
    listed = set(re.findall(r"\]\(([^)]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {page.name for page in folder.glob("*.md")} - {"README.md"}
    for page in folder.glob("*.md"):
        for name in re.findall(r"`((?:common|services|tests|bench)/[\w/.-]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_make_targets_in_the_documentation_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets |= {f"test-{name}" for name in NAMES}
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for named in re.findall(r"`make ([a-z0-9-]+)[^`]*`|^make ([a-z0-9-]+)", page.read_text(), re.MULTILINE):
            assert set(named) - {""} <= targets, f"{page.name} names {named}"
