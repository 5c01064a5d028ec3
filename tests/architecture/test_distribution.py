"""What is expensive to make is made once: tests that share it run in the same process."""

from collections.abc import Iterator

import pytest

from tests.support import distribution
from tests.support.distribution import end_unshared, groups_of

ENDED: list[str] = []


@pytest.fixture(scope="module")
def expensive() -> Iterator[str]:
    yield "made once for this module"
    ENDED.append("expensive")


@pytest.fixture
def dearer(expensive: str) -> str:
    return expensive


@pytest.mark.parametrize("number", [1, 2])
def test_tests_that_share_something_of_their_module_are_one_group(
    number: int, dearer: str, request: pytest.FixtureRequest
) -> None:
    assert groups_of([request.node]) == {request.node.nodeid: "tests/architecture/test_distribution.py"}


def test_a_test_that_shares_nothing_goes_to_the_process_that_is_free(request: pytest.FixtureRequest) -> None:
    assert groups_of([request.node]) == {}


def test_what_the_next_test_does_not_share_is_ended(
    dearer: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "SHARED", ("expensive",))
    ENDED.clear()

    end_unshared(request.node, request.node)
    assert ENDED == []
    end_unshared(request.node, request.node.parent)  # which shares nothing
    assert ENDED == ["expensive"]
