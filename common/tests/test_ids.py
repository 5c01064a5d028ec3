import time

import pytest

from common.errors import Unavailable
from common.ids import NEWBORN, UNHEARD, is_newborn, new_id, once_arrived


def version_7(seconds: float) -> str:
    return f"{int(seconds * 1000):012x}" + new_id()[12:]


def test_an_id_just_minted_is_newborn() -> None:
    assert is_newborn(new_id())


@pytest.mark.parametrize(
    "identifier",
    [
        version_7(time.time() - NEWBORN - 1),
        version_7(time.time() + 60),
        "ffffffffffff7fffbfffffffffffffff",  # later than any calendar here goes
        "000000000000" + new_id()[12:],
        "550e8400e29b41d4a716446655440000",  # version 4
        "no id at all",
        "",
    ],
    ids=["older", "of the future", "of the year 10889", "of 1970", "version 4", "no id", "empty"],
)
def test_nothing_else_is(identifier: str) -> None:
    assert not is_newborn(identifier)


async def nothing(_: str) -> str | None:
    return None


async def test_nobody_says_of_a_young_id_that_there_is_none() -> None:
    with pytest.raises(Unavailable):
        await once_arrived(nothing, version_7(time.time() - NEWBORN - 1))

    assert await once_arrived(nothing, version_7(time.time() - UNHEARD - 1)) is None
    assert await once_arrived(nothing, "no id at all") is None
