"""Of many cases that prove the same, `make test` runs some, and `make prove` the others."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest


def some_in_test(cases: Sequence[str], quick: Collection[str]) -> list[Any]:
    """Return the cases for `parametrize`: all but the `quick` ones are marked as long proofs."""
    return [case if case in quick else pytest.param(case, marks=pytest.mark.prove) for case in cases]
