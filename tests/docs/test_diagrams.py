"""The pictures show what the code does."""

import json

import pytest

from docs.diagrams.__main__ import DRAWINGS, DRAWN, digests


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_diagram_is_up_to_date(name: str) -> None:
    assert json.loads(DRAWN.read_text())[name] == digests()[name], "run make diagrams, and look at the pictures"
