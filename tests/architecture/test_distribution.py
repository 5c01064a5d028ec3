"""What is expensive to make is made once: tests that share it run in the same process."""

import pytest

from tests.support.distribution import groups_of


@pytest.fixture(scope="module")
def expensive() -> str:
    return "made once for this module"


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
