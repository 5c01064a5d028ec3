"""What expiration tells Prometheus."""

from typing import TYPE_CHECKING

import pytest

from tests.support.scraping import scraped
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from .conftest import World


async def test_how_late_deadlines_are_is_scraped(world: "World") -> None:
    before = await scraped(world.client)
    await world.held(-2)
    await world.reported(1)

    async def told() -> bool:
        after = await scraped(world.client)
        count, total = (f"souk_deadline_lateness_seconds_{what}" for what in ("count", "sum"))
        assert after[count] - before[count] == 1
        return after[total] - before[total] == pytest.approx(2, abs=0.01)

    await eventually(told)
