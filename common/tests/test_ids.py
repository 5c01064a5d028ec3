import time

import pytest

from common.errors import Unavailable
from common.ids import AHEAD_SECONDS, RECENT_SECONDS, UNCERTAIN_SECONDS, is_recent, new_id, nothing_missed, once_arrived


def version_7(seconds: float) -> str:
    return f"{int(seconds * 1000):012x}" + new_id()[12:]


def test_an_id_just_made_is_recent() -> None:
    assert is_recent(new_id())


@pytest.mark.parametrize("ahead", [0.02, 5.0, AHEAD_SECONDS - 1])
async def test_an_id_from_a_clock_that_is_ahead_is_as_recent_as_any(ahead: float) -> None:
    identifier = version_7(time.time() + ahead)
    arrives = iter([None, None, "it"])

    async def find(_: str) -> str | None:
        return next(arrives)

    assert await once_arrived(find, identifier, nothing_missed, nothing) == "it"


async def test_an_unknown_id_from_a_clock_that_is_ahead_is_unavailable_not_unknown() -> None:
    with pytest.raises(Unavailable):
        await once_arrived(nothing, version_7(time.time() + 1), nothing_missed, nothing)


@pytest.mark.parametrize(
    "identifier",
    [
        version_7(time.time() - RECENT_SECONDS - 1),
        version_7(time.time() + 24 * 3600),
        "ffffffffffff7fffbfffffffffffffff",  # later than any calendar here goes
        "000000000000" + new_id()[12:],
        "550e8400e29b41d4a716446655440000",  # version 4
        "no id at all",
        "",
    ],
    ids=["older", "of a clock a day ahead", "of the year 10889", "of 1970", "version 4", "no id", "empty"],
)
def test_nothing_else_is_recent(identifier: str) -> None:
    assert not is_recent(identifier)


async def nothing(_: str) -> str | None:
    return None


async def test_an_unknown_id_that_may_be_on_its_way_is_unavailable_not_unknown() -> None:
    for age in (RECENT_SECONDS + 1, 15 * 60):  # A hold lasts so long, and so may an outage of the bus.
        with pytest.raises(Unavailable):
            await once_arrived(nothing, version_7(time.time() - age), nothing_missed, nothing)

    assert await once_arrived(nothing, version_7(time.time() - UNCERTAIN_SECONDS - 1), nothing_missed, nothing) is None
    assert await once_arrived(nothing, "no id at all", nothing_missed, nothing) is None
