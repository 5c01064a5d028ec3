"""Events are contracts: one frozen JSON each. Publisher and readers use the same class; it may grow, never change."""

import json
from pathlib import Path

import pytest

from common.events import EVENTS
from infra.services import SERVICES

CONTRACTS = {file.name.removesuffix(".json"): file for file in Path(__file__).parent.glob("*.json")}


def test_every_event_has_its_frozen_message() -> None:
    assert set(CONTRACTS) == set(EVENTS)


@pytest.mark.parametrize("subject", sorted(CONTRACTS))
def test_the_frozen_message_is_still_read_and_written_as_it_was(subject: str) -> None:
    frozen = json.loads(CONTRACTS[subject].read_text())

    written = json.loads(EVENTS[subject].model_validate(frozen).model_dump_json())

    assert {name: written[name] for name in frozen} == frozen  # what is new has a default; what was stays


@pytest.mark.parametrize("subject", sorted(CONTRACTS))
def test_a_reader_ignores_what_a_newer_publisher_adds(subject: str) -> None:
    frozen = json.loads(CONTRACTS[subject].read_text())
    event = EVENTS[subject]
    assert event.model_validate(frozen | {"of_the_future": {"a": 1}}) == event.model_validate(frozen)


@pytest.mark.parametrize("subject", sorted(EVENTS))
def test_the_docstring_names_the_owner_and_leaves_the_readers_to_the_readme(subject: str) -> None:
    [owner] = [service.name for service in SERVICES if service.publishes == subject.partition(".")[0]]
    text = EVENTS[subject].__doc__ or ""
    assert f"Owner: {owner}." in text
    assert "Readers:" not in text
